// Package examples_test holds the shipped Caddyfiles to what they promise: they
// are valid, formatted, and set what a gate on the open internet needs.
package examples_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/amanycodes/pine-gate"
)

// secrets are the variables that the Caddyfiles read.
var secrets = []string{
	"PINEGATE_KEY", "PINEGATE_ADMIN_KEY", "APP_KEY", "BROWSER_KEY",
	"ADA_KEY", "CI_KEY", "GRACE_KEY", "SHOP_KEY", "SHOP_KEY_OLD", "INTERN_KEY",
	"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "VLLM_API_KEY",
	"OPENAI_KEY_1", "OPENAI_KEY_2", "AZURE_EU_KEY_1", "AZURE_EU_KEY_2", "AZURE_US_KEY",
}

func TestCaddyfiles(t *testing.T) {
	files, err := filepath.Glob("*/Caddyfile")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples found: %v", err)
	}
	setSecrets(t)
	for _, file := range append(files, "../Caddyfile") {
		t.Run(file, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if formatted(string(text)) != string(text) {
				t.Error("`caddy fmt` would change it")
			}
			config := adapt(t, file, text)
			checkAdmin(t, config)
			checkShutdown(t, config)
			checkServers(t, config)
			checkLogs(t, config)
			// Last, for it takes the configuration apart.
			if err := caddy.Validate(config); err != nil {
				t.Fatalf("validating: %v", err)
			}
		})
	}
}

// What the README and the docs show is valid too. It leaves out what a trial can
// do without. A block marked `caddyfile gate` stands within the braces of
// `pinegate`, and is tried in one that has what every gate needs.
func TestDocs(t *testing.T) {
	setSecrets(t)
	files, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := regexp.MustCompile("(?ms)^```caddyfile( gate)?\n(.*?)^```")
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range shown.FindAllStringSubmatch(string(text), -1) {
			config := block[2]
			if formatted(config) != config {
				t.Errorf("%s: `caddy fmt` would change\n%s", file, config)
			}
			if block[1] != "" {
				config = formatted("http://127.0.0.1:0 {\npinegate {\nkey any {env.APP_KEY}\nbackend openai {\napi echo\n}\nbackend vllm {\napi echo\n}\n" + config + "}\n}\n")
			}
			config = keysFile.ReplaceAllStringFunc(config, func(string) string {
				return "keys " + writeKeysFile(t, string(text))
			})
			// Files of secrets exist where the gate runs.
			config = secretFiles.ReplaceAllStringFunc(config, func(string) string {
				secret := filepath.Join(t.TempDir(), "secret")
				if err := os.WriteFile(secret, []byte("a-secret-of-the-documentation"), 0o600); err != nil {
					t.Fatal(err)
				}
				return "{file." + secret + "}"
			})
			if err := caddy.Validate(adapt(t, file, []byte(config))); err != nil {
				t.Errorf("%s: validating: %v\n%s", file, err, config)
			}
		}
	}
}

// keysFile matches a line that names a keys file, which exists where the gate runs.
var keysFile = regexp.MustCompile(`(?m)\bkeys \S+\.json$`)

// writeKeysFile writes the keys file that a page shows and returns its path.
func writeKeysFile(t *testing.T, page string) string {
	t.Helper()
	shown := regexp.MustCompile("(?ms)^```json\n(\\[.*?)^```").FindStringSubmatch(page)
	if shown == nil {
		t.Fatal("the page names a keys file and shows none")
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, []byte(shown[1]), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

var secretFiles = regexp.MustCompile(`\{file\.[^}]+\}`)

func formatted(config string) string { return string(caddyfile.Format([]byte(config))) }

// setSecrets gives the variables that the Caddyfiles read a value of their own.
func setSecrets(t *testing.T) {
	t.Helper()
	for _, name := range secrets {
		t.Setenv(name, "secret-of-an-example:"+name)
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("PINEGATE_LOG_DIR", t.TempDir()) // validating opens logs
}

// adapt turns a Caddyfile into a configuration. Warnings count as failures.
func adapt(t *testing.T, file string, text []byte) *caddy.Config {
	t.Helper()
	result, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": file})
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	for _, warning := range warnings {
		t.Errorf("warning: %s", warning)
	}
	for _, name := range secrets {
		if strings.Contains(string(result), "secret-of-an-example:"+name) {
			t.Errorf("the value of %s stands in the configuration", name)
		}
	}
	config := new(caddy.Config)
	if err := json.Unmarshal(result, config); err != nil {
		t.Fatalf("reading the adapted configuration: %v", err)
	}
	return config
}

func checkAdmin(t *testing.T, config *caddy.Config) {
	t.Helper()
	if config.Admin == nil || config.Admin.Config == nil || config.Admin.Config.Persist == nil || *config.Admin.Config.Persist {
		t.Error("the configuration is persisted; its file outlives it")
	}
	if config.Admin == nil {
		return
	}
	host, _, err := net.SplitHostPort(config.Admin.Listen)
	if err != nil || host != "localhost" {
		t.Errorf("the admin endpoint listens on %q, expected localhost", config.Admin.Listen)
	}
}

func checkShutdown(t *testing.T, config *caddy.Config) {
	t.Helper()
	app := httpApp(t, config)
	if app.GracePeriod <= 0 {
		t.Error("no grace_period: a stop would wait for ever")
	}
	if app.ShutdownDelay <= 0 {
		t.Error("no shutdown_delay: a balancer would still send requests to a stopped gate")
	}
}

func checkServers(t *testing.T, config *caddy.Config) {
	t.Helper()
	for name, server := range httpApp(t, config).Servers {
		for what, set := range map[string]bool{
			"read_header":     server.ReadHeaderTimeout > 0,
			"read_body":       server.ReadTimeout > 0,
			"read_body_idle":  server.ReadIdleTimeout > 0,
			"write_idle":      server.WriteIdleTimeout > 0,
			"idle":            server.IdleTimeout > 0,
			"max_header_size": server.MaxHeaderBytes > 0,
			"0rtt off":        server.Allow0RTT != nil && !*server.Allow0RTT,
		} {
			if !set {
				t.Errorf("server %s: %s is not set", name, what)
			}
		}
		if server.WriteTimeout != 0 {
			t.Errorf("server %s: a write timeout cuts long streams", name)
		}
	}
}

// checkLogs wants the credentials that Caddy doesn't know filtered out of every
// log: a site's own format replaces the global one.
func checkLogs(t *testing.T, config *caddy.Config) {
	t.Helper()
	if config.Logging == nil || config.Logging.Logs["default"] == nil {
		t.Fatal("no global log format")
	}
	for name, log := range config.Logging.Logs {
		for _, field := range []string{"X-Api-Key", "Api-Key", "X-Goog-Api-Key"} {
			if !strings.Contains(string(log.EncoderRaw), `"request\u003eheaders\u003e`+field+`":{"filter":"delete"}`) {
				t.Errorf("log %s keeps %s", name, field)
			}
		}
		var encoder struct {
			Fields map[string]struct{ Regexp, Value string }
		}
		if err := json.Unmarshal(log.EncoderRaw, &encoder); err != nil {
			t.Fatal(err)
		}
		uri := encoder.Fields["request>uri"]
		query, err := regexp.Compile(uri.Regexp)
		if err != nil || uri.Regexp == "" {
			t.Fatalf("log %s keeps queries that hold keys: %v", name, err)
		}
		const carrying = "/v1/models?key=SECRET&API_KEY=SECRET&a=1&access_token=SECRET;x-api-key=SECRET&Authorization=SECRET&api_%6bey=SECRET&%74%6F%6b%65n=SECRET"
		if got := query.ReplaceAllString(carrying, uri.Value); strings.Contains(got, "SECRET") || !strings.Contains(got, "a=1") {
			t.Errorf("log %s writes %s", name, got)
		}
	}
}

func httpApp(t *testing.T, config *caddy.Config) *caddyhttp.App {
	t.Helper()
	app := new(caddyhttp.App)
	if err := json.Unmarshal(config.AppsRaw["http"], app); err != nil {
		t.Fatalf("reading the http app: %v", err)
	}
	return app
}
