package backends

import (
	"slices"
	"strings"
	"unicode"
)

// minSecret is the least length of a secret.
const minSecret = 8

// marks are prefixes of real keys.
var marks = []string{"sk-", "sk_", "pk-", "gsk_", "hf_", "xai-", "nvapi-", "r8_", "aiza", "eyj", "key-", "pplx-", "csk-", "fw_", "tgp_"}

// dummies are what servers without authentication are given as a key, without a
// mark.
var dummies = []string{
	"lm-studio", "lmstudio", "not-needed", "notneeded", "not-used", "not-required", "token-abc123", "abc123", "abcdef123456", "empty", "none", "null",
	"ollama", "vllm", "llama.cpp", "localai", "sglang", "dummy", "dummy-key", "no-key", "no-key-required", "nokey", "test", "test-key", "test123",
	"fake", "fake-key", "anything", "whatever", "placeholder", "changeme", "your-api-key", "your_api_key", "api-key", "apikey", "local", "local-key",
	"secret", "password", "1234", "12345678", "123456789", "1234567890",
}

// isSecret reports whether a credential is one that a response must not reveal. A
// word or a known dummy is not: it may be in any answer.
func isSecret(value string) bool {
	lower := strings.ToLower(value)
	bare, marked := lower, false
	for _, mark := range marks {
		if rest, ok := strings.CutPrefix(lower, mark); ok {
			bare, marked = rest, true
			break
		}
	}
	if len(value) < minSecret || slices.Contains(dummies, lower) || slices.Contains(dummies, bare) || strings.Trim(bare, bare[:min(1, len(bare))]) == "" {
		return false
	}
	digit := strings.ContainsFunc(value, unicode.IsDigit)
	letter := strings.ContainsFunc(value, unicode.IsLetter)
	mixed := lower != value && strings.ToUpper(value) != value && strings.IndexFunc(value[1:], unicode.IsUpper) >= 0
	switch {
	case marked, digit && letter, mixed && len(value) >= 16:
		return true
	}
	return len(value) >= 24 && !strings.ContainsAny(value, "-_. ") // a long word is none
}
