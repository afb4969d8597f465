package integration

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Secrets that a Caddyfile holds in clear.
const (
	clearKey      = "clear-secret-in-caddyfile-01"
	clearAdminKey = "clear-admin-in-caddyfile-001"
)

func TestConfigsShowNoSecret(t *testing.T) {
	v := attack(t, setup{gate: "admin_key " + clearAdminKey + "\nkey clear " + clearKey})
	if a := v.ask("POST", "/v1/chat/completions", clearKey, chatBody("m", promptCanary)); a.status != 200 {
		t.Fatalf("the clear key does not work: %d %s", a.status, a.body)
	}
	status, text := v.load(strings.Replace(v.config(setup{
		gate: "admin_key " + clearAdminKey + "\nkey clear " + clearKey + "\nmax_body 5MB",
	}), "persist_config off", "", 1))
	if status != 200 {
		t.Fatalf("loading: %d %s", status, text)
	}
	res, err := http.Get("http://" + v.admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	shown, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := os.ReadFile(filepath.Join(v.dir, "caddy", "autosave.json"))
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"/config/": string(shown), "autosave.json": string(saved)} {
		search(t, where, text, []string{clearKey, clearAdminKey, callerKey, adminKey, backendKey})
		for _, want := range append(hashes([]string{clearKey, clearAdminKey}), "{env.CALLER_KEY}", "{env.BACKEND_KEY}") {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s", where, want)
			}
		}
	}
}

func TestUnsafeConfigsAreRefusedAndTheRunningOneStays(t *testing.T) {
	v := attack(t, setup{})
	const secret = "s3cret-in-a-url-000000001"
	to := func(upstream string) setup {
		return setup{gate: "backend other " + upstream + "\n"}
	}
	for name, c := range map[string]struct {
		setup setup
		want  string
	}{
		"empty secret":              {setup{gate: `key bob ""`}, "a secret"},
		"short secret":              {setup{gate: `key bob nineteen-characters`}, "shorter than 20"},
		"hash of nothing":           {setup{gate: "key bob sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, "empty secret"},
		"hash that is too short":    {setup{gate: "key bob sha256:abcd"}, "64 hexadecimal digits"},
		"one secret for two keys":   {setup{gate: "key bob {env.CALLER_KEY}"}, "a secret stands here already"},
		"one secret, clear and not": {setup{gate: "key bob " + callerKey}, ""},
		"link-local":                {to("169.254.169.254:80"), "outside dial_allow"},
		"link-local IPv6":           {to("[fe80::1]:80"), "outside dial_allow"},
		"mapped":                    {to("[::ffff:169.254.169.254]:80"), "outside dial_allow"},
		"mapped, in hex":            {to("[::ffff:a9fe:a9fe]:80"), "outside dial_allow"},
		"NAT64":                     {to("[64:ff9b::a9fe:a9fe]:80"), "outside dial_allow"},
		"6to4":                      {to("[2002:a9fe:a9fe::1]:80"), "outside dial_allow"},
		"Teredo":                    {to("[2001:0:a9fe:a9fe::1]:80"), "outside dial_allow"},
		"unspecified":               {to("0.0.0.0:80"), "outside dial_allow"},
		"unspecified IPv6":          {to("[::]:80"), "outside dial_allow"},
		"multicast":                 {to("224.0.0.1:80"), "outside dial_allow"},
		"private":                   {to("10.0.0.1:80"), "outside dial_allow"},
		"public":                    {to("https://192.0.2.1"), "outside dial_allow"},
		"decimal":                   {to("2852039166:80"), "four decimal numbers"},
		"octal":                     {to("0251.0376.0251.0376:80"), "four decimal numbers"},
		"octal loopback":            {to("http://0177.0.0.1:80"), "four decimal numbers"},
		"hexadecimal":               {to("0xa9fea9fe:80"), "four decimal numbers"},
		"short":                     {to("127.1:80"), "four decimal numbers"},
		"trailing dot":              {to("169.254.169.254.:80"), "dial_allow"},
		"credential in a URL":       {to("http://user:" + secret + "@127.0.0.1:1"), "expected http://host:port"},
		"credential in a query":     {to("http://127.0.0.1:1/v1?key=" + secret), "plain path"},
		"credential in clear":       {setup{backend: "api_key " + secret}, "api_key"},
	} {
		t.Run(name, func(t *testing.T) {
			status, text := v.load(v.config(c.setup))
			if status != 400 || !strings.Contains(text, c.want) {
				t.Errorf("got %d %s", status, text)
			}
			search(t, "the message", text, []string{secret, callerKey, "nineteen-characters"})
		})
	}
	search(t, "the log", v.Logs.String(), []string{secret, "nineteen-characters"})
	if a := v.ask("POST", "/v1/chat/completions", callerKey, chatBody("m", promptCanary)); a.status != 200 {
		t.Errorf("the running gate answers %d", a.status)
	}
}
