package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// What JSON brings past the Caddyfile's parser is refused while provisioning, and
// no error contains a secret.
func TestRedissThatAreRefused(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(secret, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PINEGATE_TEST_URL", "http://u:hunter2@r")
	url := []string{"redis://r:6379"}
	for want, c := range map[string]Redis{
		"lacks a URL":                  {},
		"a password in a URL":          {URLs: []string{"redis://u:hunter2@r"}},
		`unknown scheme "http"`:        {URLs: []string{"{env.PINEGATE_TEST_URL}"}},
		"unknown word \"open\"":        {URLs: url, Outage: "open"},
		"password: a credential":       {URLs: url, Password: "hunter2"},
		"sentinel_password: a cred":    {URLs: url, Sentinel: "m", SentinelPassword: "hunter2"},
		"is empty":                     {URLs: url, Password: "{file." + secret + "}"},
		"replicas -1":                  {URLs: url, Replicas: -1},
		"timeout -1s":                  {URLs: url, Timeout: caddy.Duration(-time.Second)},
		"braces":                       {URLs: url, Prefix: "{a}"},
		"reading an authority":         {URLs: url, TLS: &RedisTLS{CA: []string{"/nowhere.pem"}}},
		"holds no certificate":         {URLs: url, TLS: &RedisTLS{CA: []string{secret}}},
		"reading the certificate":      {URLs: url, TLS: &RedisTLS{Cert: secret, Key: secret}},
		"user, password, database and": {URLs: []string{"redis://a", "rediss://b"}},
	} {
		_, err := c.Opener()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

// The key follows what is configured, and holds no secret.
func TestRedisKeyIdentifiesTheConfig(t *testing.T) {
	t.Setenv("PINEGATE_TEST_SECRET", "hunter2")
	one := Redis{URLs: []string{"redis://r"}, Password: "{env.PINEGATE_TEST_SECRET}"}
	opts, err := one.clientOptions()
	if err != nil || opts.Password != "hunter2" {
		t.Fatalf("%v, %v", opts.Password, err)
	}
	other := one
	other.Outage = "deny"
	if a, b, again := one.Key(), other.Key(), one.Key(); a != again || a == b || strings.Contains(a, "hunter2") {
		t.Error(a, b, again)
	}
}

// What is behind a placeholder may change while the store is open.
func TestRedisPasswordsAreReadAnew(t *testing.T) {
	dir := t.TempDir()
	secret, address := filepath.Join(dir, "secret"), filepath.Join(dir, "url")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(secret, "one")
	write(address, "redis://gate:one@r")
	for name, c := range map[string]Redis{
		"password": {URLs: []string{"redis://r"}, Username: "gate", Password: "{file." + secret + "}"},
		"URL":      {URLs: []string{"{file." + address + "}"}},
		"both":     {URLs: []string{"{file." + address + "}"}, Username: "gate", Password: "{file." + secret + "}"},
	} {
		write(secret, "one")
		write(address, "redis://gate:one@r")
		opts, err := c.clientOptions()
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"one", "two"} {
			write(secret, want)
			write(address, "redis://gate:"+want+"@r")
			if username, password, err := opts.Credentials(); username != "gate" || password != want || err != nil {
				t.Errorf("%s: %q, %q, %v, want %q", name, username, password, err, want)
			}
		}
		write(secret, "")
		write(address, "")
		if _, _, err := opts.Credentials(); err == nil || strings.Contains(err.Error(), "two") {
			t.Errorf("%s: nothing is behind it: %v", name, err)
		}
	}
	fixed := Redis{URLs: []string{"redis://r"}, Username: "gate"}
	if opts, err := fixed.clientOptions(); err != nil || opts.Credentials != nil {
		t.Errorf("a store without a placeholder reads credentials: %v", err)
	}
}
