package keys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The expected keys were computed with another implementation of the layout.
func TestGenerateWritesTheDocumentedLayout(t *testing.T) {
	counting := make([]byte, 40)
	for i := range counting {
		counting[i] = byte(i)
	}
	for _, c := range []struct {
		env    string
		random []byte
		want   string
	}{
		{"live", make([]byte, 40), "pg_live_00000000000000000000000000000000000000000000000000024Iu5V"},
		{"test", bytes.Repeat([]byte{0xff}, 40), "pg_test_Ha16AHYFyhjskwdA6OZ1AL1YmHWZWm8LLG7HjnuCA2j5rOw8Xp11CPkhm"},
		{"live", counting, "pg_live_IYT0XLWR1u8QmlquE1rQpeqoulx6MZVGVGgufeog3UsDEHmrG2p04cQQA"},
	} {
		got, err := Generate(c.env, bytes.NewReader(c.random))
		if err != nil || got != c.want {
			t.Errorf("Generate(%s) = %s, %v; want %s", c.env, got, err, c.want)
		}
	}
}

func TestGeneratedKeysPassTheirOwnCheck(t *testing.T) {
	scanner := regexp.MustCompile(`^pg_(live|test)_[0-9A-Za-z]{57}$`)
	seen := make(map[string]bool)
	for _, env := range []string{"live", "test"} {
		for range 200 {
			key, err := Generate(env, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if !scanner.MatchString(key) || !strings.HasPrefix(key, "pg_"+env+"_") {
				t.Fatalf("%s is not what scanners look for", key)
			}
			if err := CheckFormat(key); err != nil {
				t.Fatalf("CheckFormat(%s): %v", key, err)
			}
			if id := PublicID(key); len(id) != 8 || !strings.HasPrefix(key, "pg_"+env+"_"+id) || CheckID(id) != nil {
				t.Fatalf("PublicID(%s) = %q", key, id)
			}
			if seen[key] {
				t.Fatalf("%s came twice", key)
			}
			seen[key] = true
		}
	}
}

func TestGenerateFails(t *testing.T) {
	for _, env := range []string{"", "prod", "LIVE", "live_"} {
		if key, err := Generate(env, rand.Reader); err == nil || key != "" {
			t.Errorf("Generate(%q) = %q, %v", env, key, err)
		}
	}
	key, err := Generate("live", bytes.NewReader(make([]byte, 39)))
	if !errors.Is(err, io.ErrUnexpectedEOF) || key != "" {
		t.Errorf("with too little randomness: %q, %v", key, err)
	}
}

const validKey = "pg_live_IYT0XLWR1u8QmlquE1rQpeqoulx6MZVGVGgufeog3UsDEHmrG2p04cQQA"

func TestCheckFormat(t *testing.T) {
	for name, c := range map[string]struct {
		secret string
		want   error
	}{
		"whole":                {validKey, nil},
		"cut":                  {validKey[:64], errLength},
		"too long":             {validKey + "0", errLength},
		"prefix alone":         {"pg_live_", errLength},
		"quote":                {validKey[:20] + "'" + validKey[21:], errAlphabet},
		"not ASCII":            {validKey[:20] + "é" + validKey[22:], errAlphabet},
		"checksum":             {validKey[:64] + "x", errChecksum},
		"other environment":    {"pg_test_" + validKey[8:], errChecksum},
		"two exchanged":        {validKey[:30] + validKey[31:32] + validKey[30:31] + validKey[32:], errChecksum},
		"other prefix":         {"sk-proj-abc", nil},
		"prefix of no kind":    {"pg_prod_abc", nil},
		"prefix in capitals":   {"PG_LIVE_abc", nil},
		"empty":                {"", nil},
		"hash":                 {"sha256:" + strings.Repeat("0", 64), nil},
		"prefix in the middle": {"x" + validKey, nil},
	} {
		err := CheckFormat(c.secret)
		if err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v is no ErrMalformed", name, err)
		}
	}
}

func TestCheckFormatFindsEachWrongCharacter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key, err := Generate("live", bytes.NewReader(rapid.SliceOfN(rapid.Byte(), 40, 40).Draw(t, "random")))
		if err != nil {
			t.Fatal(err)
		}
		i := rapid.IntRange(len(livePrefix), keyLength-1).Draw(t, "place")
		c := rapid.SampledFrom([]byte(base62)).Draw(t, "character")
		if key[i] == c {
			t.Skip()
		}
		if changed := key[:i] + string(c) + key[i+1:]; CheckFormat(changed) == nil {
			t.Fatalf("%s passes for %s", changed, key)
		}
	})
}

func TestPublicIDIsEmptyForOtherSecrets(t *testing.T) {
	for _, secret := range []string{"", "pg_live_", validKey[:64], validKey[:64] + "x", strings.Repeat("a", keyLength)} {
		if id := PublicID(secret); id != "" {
			t.Errorf("PublicID(%q) = %q", secret, id)
		}
	}
}

func FuzzCheckFormat(f *testing.F) {
	for _, seed := range []string{"", "pg_live_", validKey, validKey[:64], validKey + "\n", "pg_test_" + strings.Repeat("\xff", 57), "sk-x"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, secret string) {
		claims := strings.HasPrefix(secret, livePrefix) || strings.HasPrefix(secret, testPrefix)
		err := CheckFormat(secret)
		if err != nil && (!claims || strings.Contains(err.Error(), secret)) {
			t.Fatalf("CheckFormat(%q) = %v", secret, err)
		}
		if err == nil && claims && len(secret) != keyLength {
			t.Fatalf("CheckFormat(%q) passes", secret)
		}
	})
}
