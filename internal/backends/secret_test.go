package backends

import "testing"

func TestASecretIsNotAWord(t *testing.T) {
	for value, want := range map[string]bool{
		"lm-studio": false, "not-needed": false, "token-abc123": false, "EMPTY": false, "none": false, "ollama": false, "dummy": false,
		"sk-no-key-required": false, "test": false, "sk-xxxxxxxxxxxx": false, "xxxxxxxxxxxx": false, "Placeholder": false, "sk-dummy": false,
		"sk-1234567890": false, "no-key-required": false, "some-local-server": false,

		canary: true, "sk-proj-abcdefghijkl": true, "hunter2hunter2": true, "AbCdEfGhIjKlMnOpQr": true, "0123456789abcdef": true,
		"qwertzuiopasdfghjklyxcvbnm": true, "eyJhbGciOiJub25lIn0.e30.c2ln": true, "gsk_abcdefgh": true,
	} {
		if got := isSecret(value); got != want {
			t.Errorf("%s: %t", value, got)
		}
	}
}
