package keys

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/big"
	"strings"
)

// The layout of a key that pine-gate makes, 65 characters in all:
//
//	pg_live_  XXXXXXXX  YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY  ZZZZZZ
//	prefix    id (8)    secret (43): 256 random bits                 checksum (6)
//
// The checksum is the CRC-32 (IEEE) of everything before it; id, secret and
// checksum are base62 (0-9 A-Z a-z), most significant digit first and padded
// with zeros to their width.
//
// The fixed prefix, width and alphabet let secret scanners find a leaked key
// with one regular expression, `pg_(live|test)_[0-9A-Za-z]{57}`, and the
// checksum lets them, and the gate, tell a key from what merely looks like one
// without asking anybody. The prefix tells a test key from a live one at a
// glance. The id is random, not secret, and the part to name a key by in a
// ticket. Base62 survives a double click, a URL and a shell.
const (
	livePrefix = "pg_live_"
	testPrefix = "pg_test_"

	idWidth       = 8
	secretWidth   = 43 // 62^43 > 2^256
	checksumWidth = 6  // 62^6 > 2^32
	keyLength     = len(livePrefix) + idWidth + secretWidth + checksumWidth
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ErrMalformed is what CheckFormat's errors wrap.
var ErrMalformed = errors.New("malformed key")

// They are made once because callers present malformed keys at will.
var (
	errLength   = fmt.Errorf("%w: wrong length", ErrMalformed)
	errAlphabet = fmt.Errorf("%w: a character outside of base62", ErrMalformed)
	errChecksum = fmt.Errorf("%w: wrong checksum", ErrMalformed)
)

// Generate makes a new key for an environment, `live` or `test`, out of the
// randomness of r, which is crypto/rand.Reader but in tests. It fails for
// another environment and where r does.
func Generate(env string, r io.Reader) (string, error) {
	if env != "live" && env != "test" {
		return "", fmt.Errorf("environment %q: expected live or test", env)
	}
	var random [8 + 32]byte
	if _, err := io.ReadFull(r, random[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	// 2^64 is so much more than 62^8 that the remainder's bias is nothing, and
	// the id is no secret.
	id := new(big.Int).SetUint64(binary.BigEndian.Uint64(random[:8]))
	id.Mod(id, new(big.Int).Exp(big.NewInt(62), big.NewInt(idWidth), nil))
	key := "pg_" + env + "_" + encode(id, idWidth) + encode(new(big.Int).SetBytes(random[8:]), secretWidth)
	return key + checksum(key), nil
}

// CheckFormat tells whether a secret that claims to be one of pine-gate's
// own, by its prefix pg_live_ or pg_test_, has their length, alphabet and
// checksum. It returns an ErrMalformed that says what is wrong, never the
// secret. What claims nothing passes: people bring the keys that they have.
func CheckFormat(secret string) error {
	if !strings.HasPrefix(secret, livePrefix) && !strings.HasPrefix(secret, testPrefix) {
		return nil
	}
	if len(secret) != keyLength {
		return errLength
	}
	for i := len(livePrefix); i < len(secret); i++ {
		if !isBase62(secret[i]) {
			return errAlphabet
		}
	}
	if cut := keyLength - checksumWidth; checksum(secret[:cut]) != secret[cut:] {
		return errChecksum
	}
	return nil
}

// PublicID returns the id within a key that Generate made: the part that may
// be shown. It is empty for any other secret.
func PublicID(secret string) string {
	if len(secret) != keyLength || CheckFormat(secret) != nil {
		return ""
	}
	if !strings.HasPrefix(secret, livePrefix) && !strings.HasPrefix(secret, testPrefix) {
		return ""
	}
	return secret[len(livePrefix) : len(livePrefix)+idWidth]
}

// checksum returns the checksum of what stands before it in a key.
func checksum(text string) string {
	var digits [checksumWidth]byte
	sum := crc32.ChecksumIEEE([]byte(text))
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

// encode writes a number, which must fit, in base62 of a fixed width.
func encode(n *big.Int, width int) string {
	digits := make([]byte, width)
	radix, digit := big.NewInt(62), new(big.Int)
	for i := width - 1; i >= 0; i-- {
		n.DivMod(n, radix, digit)
		digits[i] = base62[digit.Int64()]
	}
	return string(digits)
}

func isBase62(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}
