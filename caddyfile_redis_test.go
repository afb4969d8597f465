package pinegate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestRedisMistakes(t *testing.T) {
	const aPassword = "a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too)"
	store := func(rest string) string { return "{\n\tpinegate {\n\t\tstore redis " + rest + "\n\t}\n}\n" }
	in := func(lines string) string { return store("redis://r:6379 {\n" + lines + "\n}") }
	for name, c := range map[string]struct{ input, want string }{
		"no URL":           {store(""), `"redis" lacks its arguments: expected redis://host:port, rediss://host:port or unix:///path, or a placeholder for all of it, at Caddyfile:3`},
		"no scheme":        {store("r:6379"), `redis: redis URL 1 of 1: unknown scheme "r": expected redis, rediss or unix, at Caddyfile:3`},
		"another scheme":   {store("http://r:6379"), `redis: redis URL 1 of 1: unknown scheme "http": expected redis, rediss or unix, at Caddyfile:3`},
		"parameter":        {store("redis://r:6379?protocol=3"), `redis: redis URL 1 of 1: unknown parameter "protocol": expected db, or none, at Caddyfile:3`},
		"URL twice":        {store("redis://r:6379 redis://r:6379"), `redis: "redis://r:6379" stands here already, at Caddyfile:3`},
		"password in URL":  {store("redis://u:hunter2@r:6379"), `redis: a password in a URL would stand in the config, which is stored and shown: write it as password {env.NAME}, or the whole URL as {env.NAME}, at Caddyfile:3`},
		"part of a URL":    {store("redis://u:{env.P}@r:6379"), `redis: a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it, at Caddyfile:3`},
		"clear password":   {in("password hunter2"), `password: ` + aPassword + `, at Caddyfile:4`},
		"hashed password":  {in("password sha256:" + strings.Repeat("0", 64)), `password: ` + aPassword + `, at Caddyfile:4`},
		"sentinel's":       {in("sentinel m\nsentinel_password hunter2"), `sentinel_password: ` + aPassword + `, at Caddyfile:5`},
		"no password":      {in("password"), `"password" lacks its argument: expected {env.NAME} or {file./path}, at Caddyfile:4`},
		"no sentinel":      {in("sentinel_username u"), `store redis: a user of sentinels without sentinel <master>, at Caddyfile:3`},
		"outage":           {in("outage open"), `outage: unknown word "open": expected allow, deny or shadow, at Caddyfile:4`},
		"no replicas":      {in("replicas 0"), `replicas: "0" is no positive whole number: expected a positive number, at Caddyfile:4`},
		"many replicas":    {in("replicas 9G"), `replicas: 9G is too large: expected a positive number, at Caddyfile:4`},
		"slices":           {in("slices none"), `slices: unknown word "none": expected off or on, at Caddyfile:4`},
		"timeout":          {in("timeout soon"), `timeout: "soon" is no positive duration: expected a duration, as in 30m or 400d, at Caddyfile:4`},
		"half a key":       {in("tls {\ncert a.pem\n}"), `store redis: tls: expected both cert and key, or neither, at Caddyfile:3`},
		"insecure":         {in("tls {\ninsecure\n}"), `unknown word "insecure": expected one of ca, cert, key, server_name, at Caddyfile:5`},
		"a word of file's": {in("sync always"), `unknown word "sync": expected one of journal, outage, password, prefix, replicas, retention, sentinel, sentinel_password, sentinel_username, slices, timeout, tls, username, at Caddyfile:4`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := mistake(t, c.input); got != c.want {
				t.Errorf("%s\ngives\n%s\nwant\n%s", c.input, got, c.want)
			}
		})
	}
}

// What JSON brings past the Caddyfile's parser is refused while provisioning, and
// no error tells a secret.
func TestRedisConfigsThatAreRefused(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(secret, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PINEGATE_TEST_URL", "http://u:hunter2@r")
	url := []string{"redis://r:6379"}
	for want, c := range map[string]RedisConfig{
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
		"reading an authority":         {URLs: url, TLS: &RedisTLSConfig{CA: []string{"/nowhere.pem"}}},
		"holds no certificate":         {URLs: url, TLS: &RedisTLSConfig{CA: []string{secret}}},
		"reading the certificate":      {URLs: url, TLS: &RedisTLSConfig{Cert: secret, Key: secret}},
		"user, password, database and": {URLs: []string{"redis://a", "rediss://b"}},
	} {
		_, err := c.options()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

// The pool's key follows what is configured, and holds no secret.
func TestRedisStoresAreToldApartByTheirConfig(t *testing.T) {
	t.Setenv("PINEGATE_TEST_SECRET", "hunter2")
	one := RedisConfig{URLs: []string{"redis://r"}, Password: "{env.PINEGATE_TEST_SECRET}"}
	opts, err := one.options()
	if err != nil || opts.Password != "hunter2" {
		t.Fatalf("%v, %v", opts.Password, err)
	}
	other := one
	other.Outage = "deny"
	a, _ := one.key("file /a")
	b, _ := one.key("file /b")
	c, _ := other.key("file /a")
	again, _ := one.key("file /a")
	if a != again || a == b || a == c || strings.Contains(a, "hunter2") {
		t.Error(a, b, c, again)
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
	for name, c := range map[string]RedisConfig{
		"password": {URLs: []string{"redis://r"}, Username: "gate", Password: "{file." + secret + "}"},
		"URL":      {URLs: []string{"{file." + address + "}"}},
		"both":     {URLs: []string{"{file." + address + "}"}, Username: "gate", Password: "{file." + secret + "}"},
	} {
		write(secret, "one")
		write(address, "redis://gate:one@r")
		opts, err := c.options()
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
	fixed := RedisConfig{URLs: []string{"redis://r"}, Username: "gate"}
	if opts, err := fixed.options(); err != nil || opts.Credentials != nil {
		t.Errorf("a store without a placeholder reads credentials: %v", err)
	}
}
