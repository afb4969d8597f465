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

// The layout of a key that pine-gate generates, 65 characters in all:
//
//	pg_live_  XXXXXXXX  YYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYYY  ZZZZZZ
//	prefix    id (8)    secret (43): 256 random bits                 checksum (6)
//
// The checksum is the CRC-32 (IEEE) of everything before it; id, secret and
// checksum are base62 (0-9 A-Z a-z), most significant digit first and padded
// with zeros to their width.
//
// The fixed prefix, width and alphabet let secret scanners find a leaked key with
// one regular expression, `pg_(live|test)_[0-9A-Za-z]{57}`. The checksum lets
// them, and the gate, validate a key without a look-up. The prefix distinguishes
// test keys from live ones. The id is random but not secret; it identifies a key
// in a ticket. A double click selects base62 as one word, and neither URLs nor
// shells need it escaped.
const (
	livePrefix = "pg_live_"
	testPrefix = "pg_test_"

	idWidth       = 8
	secretWidth   = 43 // 62^43 > 2^256
	checksumWidth = 6  // 62^6 > 2^32
	keyLength     = len(livePrefix) + idWidth + secretWidth + checksumWidth
)

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ErrMalformed is wrapped by the errors of CheckFormat.
var ErrMalformed = errors.New("malformed key")

// Allocated once, because callers may present malformed keys at any rate.
var (
	errLength   = fmt.Errorf("%w: wrong length", ErrMalformed)
	errAlphabet = fmt.Errorf("%w: a character outside of base62", ErrMalformed)
	errChecksum = fmt.Errorf("%w: wrong checksum", ErrMalformed)
)

// Generate returns a new key for env, `live` or `test`, from the randomness of r,
// which is crypto/rand.Reader except in tests. It fails for any other env, and if
// r fails.
func Generate(env string, r io.Reader) (string, error) {
	if env != "live" && env != "test" {
		return "", fmt.Errorf("environment %q: expected live or test", env)
	}
	var random [8 + 32]byte
	if _, err := io.ReadFull(r, random[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	// The bias of the remainder is negligible, since 2^64 is much more than 62^8,
	// and the id is not secret.
	id := new(big.Int).SetUint64(binary.BigEndian.Uint64(random[:8]))
	id.Mod(id, new(big.Int).Exp(big.NewInt(62), big.NewInt(idWidth), nil))
	key := "pg_" + env + "_" + encode(id, idWidth) + encode(new(big.Int).SetBytes(random[8:]), secretWidth)
	return key + checksum(key), nil
}

// CheckFormat returns an error if secret has the prefix of pine-gate's own keys,
// pg_live_ or pg_test_, but not their length, alphabet and checksum. The error
// wraps ErrMalformed and never contains the secret. A secret without the prefix
// passes: keys from elsewhere are allowed.
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

// PublicID returns the id within a key that Generate returned. The id is not
// secret. PublicID returns "" for any other secret.
func PublicID(secret string) string {
	if len(secret) != keyLength || CheckFormat(secret) != nil {
		return ""
	}
	if !strings.HasPrefix(secret, livePrefix) && !strings.HasPrefix(secret, testPrefix) {
		return ""
	}
	return secret[len(livePrefix) : len(livePrefix)+idWidth]
}

// checksum returns the checksum of text, which is all of a key that precedes it.
func checksum(text string) string {
	var digits [checksumWidth]byte
	sum := crc32.ChecksumIEEE([]byte(text))
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

// encode returns n, which must fit, in base62 with a fixed width.
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
