package keys

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

const (
	clearSecret = "canary-0123456789-canary"
	otherSecret = "another-0123456789-secret"
)

func TestHashSecretIsSHA256(t *testing.T) {
	// FIPS 180-2, appendix B.1.
	const want = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
	if got := HashSecret("abc").String(); got != want {
		t.Errorf("HashSecret(abc) = %s, want %s", got, want)
	}
}

func TestParseHash(t *testing.T) {
	h := HashSecret(clearSecret)
	digits := hex.EncodeToString(h[:])
	for text, ok := range map[string]bool{
		"sha256:" + digits:                  true,
		"sha256:" + strings.ToUpper(digits): true,
		"SHA256:" + digits:                  true,
		digits:                              false,
		"sha256:" + digits[1:]:              false,
		"sha256:" + digits + "0":            false,
		"sha256:" + digits[1:] + "g":        false,
		"sha256: " + digits:                 false,
		"sha512:" + digits:                  false,
		"sha256:":                           false,
		"":                                  false,
		HashSecret("").String():             false,
		"sha256:" + digits[:62] + "é":       false,
	} {
		got, err := ParseHash(text)
		if (err == nil) != ok {
			t.Errorf("ParseHash(%q): %v", text, err)
		}
		if ok && !got.Equal(h) || !ok && got != (Hash{}) {
			t.Errorf("ParseHash(%q) = %v", text, got)
		}
		if err != nil && strings.Contains(err.Error(), digits[1:]) {
			t.Errorf("ParseHash(%q) tells what it was given: %v", text, err)
		}
	}
}

func TestEqualLooksAtEachByte(t *testing.T) {
	h := HashSecret(clearSecret)
	if !h.Equal(h) {
		t.Error("a hash differs from itself")
	}
	for i := range h {
		other := h
		other[i] ^= 1
		if h.Equal(other) {
			t.Errorf("byte %d makes no difference", i)
		}
	}
}

func TestParseSpec(t *testing.T) {
	hash := HashSecret(clearSecret)
	for _, c := range []struct {
		text  string
		clear bool
		want  secretText
		err   string // a part of the message; empty: none
	}{
		{text: hash.String(), want: secretText{hash: hash}},
		{text: "{env.KEY}", want: secretText{placeholder: "{env.KEY}"}},
		{text: "{file./run/secrets/key}", want: secretText{placeholder: "{file./run/secrets/key}"}},
		{text: "{file.relative.txt}", want: secretText{placeholder: "{file.relative.txt}"}},
		{text: clearSecret, clear: true, want: secretText{hash: hash, clear: true}},
		{text: clearSecret, err: "in clear"},
		{text: "", err: "in clear"},
		{text: "", clear: true, err: "empty"},
		{text: "nineteen-characters", clear: true, err: "shorter than 20"},
		{text: "twenty-characters-ok", clear: true, want: secretText{hash: HashSecret("twenty-characters-ok"), clear: true}},
		{text: strings.Repeat("x", 512), clear: true, want: secretText{hash: HashSecret(strings.Repeat("x", 512)), clear: true}},
		{text: strings.Repeat("x", 513), clear: true, err: "longer than 512"},
		{text: "canary canary canary canary", clear: true, err: "white space"},
		{text: clearSecret + "\n", clear: true, err: "white space"},
		{text: clearSecret + "\u00a0", clear: true, err: "ASCII"},
		{text: clearSecret + "\x00", clear: true, err: "ASCII"},
		{text: validKey, clear: true, want: secretText{hash: HashSecret(validKey), clear: true}},
		{text: validKey[:64] + "x", clear: true, err: "checksum"},
		{text: "sha256:canary", clear: true, err: "64 hexadecimal"},
		{text: "SHA256:canary-canary-canary", clear: true, err: "64 hexadecimal"},
		{text: "{canary-0123456789-canary}", clear: true, err: "placeholder is"},
		{text: "{env.}", err: "placeholder is"},
		{text: "{file.}", err: "placeholder is"},
		{text: "{env.KEY", err: "placeholder is"},
		{text: "{env.KEY}x", err: "placeholder is"},
		{text: "{env.A}{env.B}", err: "placeholder is"},
		{text: "{system.hostname}", err: "placeholder is"},
		{text: "{$KEY}", err: "placeholder is"},
		{text: "{", err: "placeholder is"},
		{text: "{}", err: "placeholder is"},
	} {
		got, err := parseSecret(c.text, c.clear)
		switch {
		case c.err == "" && (err != nil || got != c.want):
			t.Errorf("parseSecret(%q) = %+v, %v; want %+v", c.text, got, err, c.want)
		case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("parseSecret(%q): %v, want one with %q", c.text, err, c.err)
		case err != nil && strings.Contains(err.Error(), "canary"):
			t.Errorf("parseSecret(%q) tells the secret: %v", c.text, err)
		}
	}
}

func TestPlaceholderNamesItsFile(t *testing.T) {
	for text, want := range map[string]string{
		"{file./run/secrets/x}": "/run/secrets/x",
		"{file.a.b}":            "a.b",
		"{env.file./x}":         "",
	} {
		s, err := parseSecret(text, false)
		if err != nil || s.file() != want {
			t.Errorf("file of %s = %q, %v; want %q", text, s.file(), err, want)
		}
	}
}

func TestWhatAPlaceholderStandsForMayBeClearOrAHash(t *testing.T) {
	hash := HashSecret(clearSecret)
	for text, ok := range map[string]bool{
		clearSecret:                 true,
		clearSecret + "\n":          true,
		clearSecret + "\r\n":        true,
		hash.String() + "\n":        true,
		clearSecret + "\n\n":        false,
		" " + clearSecret:           false,
		clearSecret + "\nsecond":    false,
		"":                          false,
		"\n":                        false,
		"short":                     false,
		"sha256:0123":               false,
		"{env.ANOTHER_ENVIRONMENT}": false, // not replaced, and guessable
	} {
		got, err := parseResolved(text)
		if ok && (err != nil || got != hash) || !ok && (err == nil || got != Hash{}) {
			t.Errorf("parseResolved(%q) = %v, %v", text, got, err)
		}
	}
}

func TestSealSecretLeavesNothingClear(t *testing.T) {
	hash := HashSecret(clearSecret).String()
	for word, want := range map[string]string{
		clearSecret:  hash,
		hash:         hash,
		"{env.KEY}":  "{env.KEY}",
		"{file./x}":  "{file./x}",
		"short":      "",
		"":           "",
		"{time.now}": "",
		"sha256:00":  "",
	} {
		got, err := SealSecret(word)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("SealSecret(%q) = %q, %v; want %q", word, got, err, want)
		}
	}
}

func FuzzParseHash(f *testing.F) {
	for _, seed := range []string{"", "sha256:", HashSecret(clearSecret).String(), HashSecret("").String(), "SHA256:" + strings.Repeat("A", 64), "sha256:" + strings.Repeat("g", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		h, err := ParseHash(text)
		if err != nil {
			if h != (Hash{}) {
				t.Fatalf("ParseHash(%q) = %v and an error", text, h)
			}
			return
		}
		if !strings.EqualFold(h.String(), text) || len(text) != len("sha256:")+2*sha256.Size {
			t.Fatalf("ParseHash(%q) = %v", text, h)
		}
	})
}

func BenchmarkHashSecret(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		HashSecret(validKey)
	}
}
