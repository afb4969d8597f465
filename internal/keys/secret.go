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
	// MinSecretLength is the length in bytes below which a secret is refused:
	// it could be guessed.
	MinSecretLength = 20

	// MaxSecretLength is the length in bytes above which a secret is refused,
	// so that what a caller presents can be refused unhashed above it.
	MaxSecretLength = 512

	hashPrefix = "sha256:"
)

// Hash is the SHA-256 of a secret: all that the gate keeps of it.
type Hash [sha256.Size]byte

// HashSecret returns the hash of a clear secret.
func HashSecret(secret string) Hash { return sha256.Sum256([]byte(secret)) }

// ParseHash parses `sha256:` and 64 hexadecimal digits, in either case. Its
// error doesn't hold the text: a secret may have been put in the wrong place.
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

// looksHashed tells whether a text claims to be a hash. The case of the prefix
// is ignored: were SHA256:… taken for a clear secret, then whoever has seen
// the hash could present it as the key.
func looksHashed(text string) bool {
	return len(text) >= len(hashPrefix) && strings.EqualFold(text[:len(hashPrefix)], hashPrefix)
}

// String writes the hash as ParseHash reads it.
func (h Hash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// Equal compares in constant time.
func (h Hash) Equal(other Hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// SealSecret puts a secret as it stands in a Caddyfile into the form in which
// a JSON config may hold it: hashes and placeholders stay as they are, a clear
// secret becomes its hash. It fails for what a config would be refused for;
// the error doesn't hold the secret.
func SealSecret(word string) (string, error) {
	spec, err := parseSpec(word, true)
	if err != nil {
		return "", err
	}
	if spec.placeholder != "" {
		return spec.placeholder, nil
	}
	return spec.hash.String(), nil
}

// spec is a parsed specification of a secret: a placeholder or a hash.
type spec struct {
	placeholder string // as written, with its braces; empty: hash holds
	hash        Hash
	clear       bool // hash was made of a clear secret
}

// file returns the path that a placeholder reads, or "".
func (s spec) file() string {
	path, isFile := strings.CutPrefix(strings.Trim(s.placeholder, "{}"), "file.")
	if !isFile {
		return ""
	}
	return path
}

// parseSpec parses what a config says of a secret. Clear secrets are taken
// only where nobody is shown them.
func parseSpec(text string, clear bool) (spec, error) {
	switch {
	case looksHashed(text):
		h, err := ParseHash(text)
		return spec{hash: h}, err
	case strings.HasPrefix(text, "{"):
		return parsePlaceholder(text)
	case !clear:
		return spec{}, errors.New("it is in clear: write its hash, sha256:<64 hex digits> (caddy pinegate hash makes it), or a placeholder, {env.NAME} or {file./path}")
	}
	if err := checkClear(text); err != nil {
		return spec{}, err
	}
	return spec{hash: HashSecret(text), clear: true}, nil
}

// parsePlaceholder takes {env.NAME} and {file./path}. Caddy knows others, but a
// secret made of the time or of the host's name is a mistake.
func parsePlaceholder(text string) (spec, error) {
	name := strings.TrimSuffix(text[1:], "}")
	_, value, _ := strings.Cut(name, ".")
	known := strings.HasPrefix(name, "env.") || strings.HasPrefix(name, "file.")
	if !known || value == "" || len(name) != len(text)-2 || strings.ContainsAny(value, "{}\r\n\x00") {
		// Not quoted: it may be a secret that begins with a brace.
		return spec{}, errors.New("a placeholder is {env.NAME} or {file./path}")
	}
	return spec{placeholder: text}, nil
}

// parseResolved parses what a placeholder stood for: a hash or a clear secret.
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

// checkClear refuses a clear secret that can be guessed, that no header can
// carry, or that is a typing error. The error never holds the secret.
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
