package keys

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const (
	// MinSecretLength is the least length of a secret, in bytes: a shorter one could
	// be guessed.
	MinSecretLength = 20

	// MaxSecretLength is the greatest length of a secret, in bytes: a longer one that
	// a caller presents is refused without hashing it.
	MaxSecretLength = 512

	hashPrefix = "sha256:"
)

// Hash is the SHA-256 of a secret. The gate stores no other part of the secret.
type Hash [sha256.Size]byte

// HashSecret returns the hash of a clear secret.
func HashSecret(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// ParseHash parses `sha256:` and 64 hexadecimal digits, in either case. Its error
// does not contain the text, which may be a secret.
func ParseHash(text string) (Hash, error) {
	var h Hash
	if !looksHashed(text) {
		return h, errors.New("expected sha256: and 64 hexadecimal digits")
	}
	digits := text[len(hashPrefix):]
	if len(digits) != hex.EncodedLen(len(h)) {
		return h, fmt.Errorf("expected 64 hexadecimal digits after sha256:, found %d characters", len(digits))
	}
	if _, err := hex.Decode(h[:], []byte(digits)); err != nil {
		return Hash{}, errors.New("expected hexadecimal digits after sha256:")
	}
	if h == hashOfNothing {
		return Hash{}, errors.New("it is the hash of an empty secret")
	}
	return h, nil
}

var hashOfNothing = HashSecret("")

// looksHashed reports whether text has the prefix of a hash, in any case. If
// SHA256:… passed as a clear secret, callers could present the hash itself as the
// key.
func looksHashed(text string) bool {
	return len(text) >= len(hashPrefix) && strings.EqualFold(text[:len(hashPrefix)], hashPrefix)
}

// String returns the hash as ParseHash parses it.
func (h Hash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// Equal reports whether the hashes are equal, in constant time.
func (h Hash) Equal(other Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// SealSecret returns a secret of a Caddyfile in the form that a JSON config may
// hold: hashes and placeholders are unchanged, a clear secret is replaced by its
// hash. Its error does not contain the secret.
func SealSecret(word string) (string, error) {
	spec, err := parseSecret(word, true)
	if err != nil {
		return "", err
	}
	if spec.placeholder != "" {
		return spec.placeholder, nil
	}
	return spec.hash.String(), nil
}

// secretText is a parsed secret of a config: a placeholder or a hash.
type secretText struct {
	placeholder string // as written, with its braces; empty if hash is set
	hash        Hash
	clear       bool // hash was computed from a clear secret
}

// file returns the path that a placeholder reads, or "".
func (s secretText) file() string {
	path, isFile := strings.CutPrefix(strings.Trim(s.placeholder, "{}"), "file.")
	if !isFile {
		return ""
	}
	return path
}

// parseSecret parses a secret of a config. A clear one is an error unless clear is
// true.
func parseSecret(text string, clear bool) (secretText, error) {
	switch {
	case looksHashed(text):
		h, err := ParseHash(text)
		return secretText{hash: h}, err
	case strings.HasPrefix(text, "{"):
		return parsePlaceholder(text)
	case !clear:
		return secretText{}, errors.New("it is in clear: write its hash, sha256:<64 hex digits> (caddy pinegate hash makes it), or a placeholder, {env.NAME} or {file./path}")
	}
	if err := checkClear(text); err != nil {
		return secretText{}, err
	}
	return secretText{hash: HashSecret(text), clear: true}, nil
}

// parsePlaceholder parses {env.NAME} and {file./path}. Caddy has others, but a
// secret made of the time or of the host's name is a mistake.
func parsePlaceholder(text string) (secretText, error) {
	name := strings.TrimSuffix(text[1:], "}")
	_, value, _ := strings.Cut(name, ".")
	known := strings.HasPrefix(name, "env.") || strings.HasPrefix(name, "file.")
	if !known || value == "" || len(name) != len(text)-2 || strings.ContainsAny(value, "{}\r\n\x00") {
		// Not quoted: it may be a secret that begins with a brace.
		return secretText{}, errors.New("a placeholder is {env.NAME} or {file./path}")
	}
	return secretText{placeholder: text}, nil
}

// parseResolved parses the content of a placeholder: a hash or a clear secret.
func parseResolved(text string) (Hash, error) {
	// Editors and `kubectl create secret` end files with a newline.
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if looksHashed(text) {
		return ParseHash(text)
	}
	if err := checkClear(text); err != nil {
		return Hash{}, err
	}
	return HashSecret(text), nil
}

// checkClear returns an error for a clear secret that can be guessed, does not fit
// into a header, or is a typing error. The error never contains the secret.
func checkClear(secret string) error {
	switch {
	case secret == "":
		return errors.New("it is empty")
	case slices.ContainsFunc([]byte(secret), func(c byte) bool { return c <= ' ' || c >= 0x7f }):
		return errors.New("it holds white space or a character other than printable ASCII")
	case len(secret) < MinSecretLength:
		return fmt.Errorf("it is shorter than %d characters", MinSecretLength)
	case len(secret) > MaxSecretLength:
		return fmt.Errorf("it is longer than %d characters", MaxSecretLength)
	case secret[0] == '{' && secret[len(secret)-1] == '}':
		return errors.New("it looks like a placeholder that was not replaced")
	}
	return CheckFormat(secret)
}
