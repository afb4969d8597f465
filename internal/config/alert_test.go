package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// JSON passes no parser of the Caddyfile: what that refuses is refused here too,
// and so is what is behind a placeholder. No error shows it.
func TestAWebhookIsChecked(t *testing.T) {
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + path + "}"
	}
	secret := file("secret", "hush-hush-hush-hush\n")
	for name, c := range map[string]struct{ url, secret, want string }{
		"a clear URL":          {"https://example.com/x", secret, ""},
		"this machine":         {"http://127.0.0.1:9000", secret, ""},
		"a URL in a file":      {file("url", "https://user:hush@example.com/hush\n"), secret, ""},
		"nothing":              {"", secret, "webhook: the url: it is no URL: expected https://"},
		"no TLS":               {"http://example.com", secret, "alerts go over TLS"},
		"no TLS in a file":     {file("url", "http://hush.example.com"), secret, "alerts go over TLS"},
		"no URL in a file":     {file("url", "hush"), secret, "it is no URL"},
		"a credential":         {"https://user:hush@example.com", secret, "a URL with a credential"},
		"no secret":            {"https://example.com", "", "webhook: it lacks its secret"},
		"a clear secret":       {"https://example.com", "hush-hush-hush-hush", "secret: a credential in clear"},
		"a short secret":       {"https://example.com", file("secret", "hush"), "shorter than 16 bytes"},
		"a secret of nothing":  {"https://example.com", file("secret", "\n"), "is empty"},
		"a secret that is not": {"https://example.com", "{env.PINEGATE_TEST_UNSET}", "webhook: secret: "},
	} {
		err := (&Webhook{URL: c.url, Secret: c.secret}).Check()
		switch {
		case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case err != nil && strings.Contains(err.Error(), "hush"):
			t.Errorf("%s: the error shows it: %v", name, err)
		}
	}
}

func TestPercentsAreChecked(t *testing.T) {
	for _, bad := range [][]int{{0}, {101}, {-1}, {50, 80, 50}} {
		if err := checkPercents(bad); err == nil {
			t.Errorf("%v passes", bad)
		}
	}
	if err := checkPercents([]int{100, 1, 50}); err != nil {
		t.Error(err)
	}
}
