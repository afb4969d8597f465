package doctor

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycaddyfile "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/amanycodes/pine-gate/internal/caddyfile"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/limiter"
)

// soundFile is a configuration without findings.
const soundFile = `{
	admin localhost:2019
	grace_period 30s
	shutdown_delay 5s
	log {
		format filter {
			request>headers>X-Api-Key delete
			request>headers>Api-Key delete
			request>headers>X-Goog-Api-Key delete
			request>uri query {
				delete key
			}
		}
	}
	servers {
		timeouts {
			read_header 10s
			read_body 2m
			idle 5m
		}
	}
	pinegate {
		store file
	}
}
http://localhost:8080 {
	bind 127.0.0.1
	log
	pinegate {
		key alice sha256:0000000000000000000000000000000000000000000000000000000000000001 {
			team red
			limit 25 usd/month
		}
		model gpt-* {
			price input 1 output 2
			limit 1M tokens/day
		}
		limit 60 requests/minute
		backend openai https://api.openai.com {
			models gpt-5
		}
	}
}
http://localhost:9090 {
	bind 127.0.0.1
	pinegate_admin {
		admin_key sha256:0000000000000000000000000000000000000000000000000000000000000002
	}
}
`

// ownLog is soundFile with the log's filter in the site at this address, instead
// of in the global options.
func ownLog(address string) string {
	begin, end := strings.Index(soundFile, "\tlog {"), strings.Index(soundFile, "\tservers")
	file := soundFile[:begin] + soundFile[end:]
	file = strings.Replace(file, "\tlog\n", soundFile[begin:end], 1)
	return strings.Replace(file, "http://localhost:8080", address, 1)
}

// someDay is the current time in these tests.
var someDay = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// testHandler replaces the handlers of the root package, which these tests can't
// import.
type testHandler struct {
	name   caddy.ModuleID
	config any
}

func (h testHandler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: h.name, New: func() caddy.Module { return testHandler{} }}
}
func (h testHandler) MarshalJSON() ([]byte, error)                                        { return json.Marshal(h.config) }
func (testHandler) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil }

func init() {
	httpcaddyfile.RegisterGlobalOption("pinegate", func(d *caddycaddyfile.Dispenser, _ any) (any, error) {
		app := new(config.App)
		err := caddyfile.ParseApp(d, app)
		return httpcaddyfile.App{Name: "pinegate", Value: caddyconfig.JSON(app, nil)}, err
	})
	httpcaddyfile.RegisterHandlerDirective("pinegate", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		gate, err := caddyfile.ParseGate(h)
		return testHandler{"http.handlers.pinegate", gate}, err
	})
	httpcaddyfile.RegisterHandlerDirective("pinegate_admin", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		admin := new(config.Admin)
		err := caddyfile.ParseAdmin(h.Dispenser, admin)
		return testHandler{"http.handlers.pinegate_admin", admin}, err
	})
	for _, name := range []string{"pinegate", "pinegate_admin"} {
		caddy.RegisterModule(testHandler{name: caddy.ModuleID("http.handlers." + name)})
		httpcaddyfile.RegisterDirectiveOrder(name, httpcaddyfile.Before, "reverse_proxy")
	}
}

// adapted returns the instance of a Caddyfile.
func adapted(t *testing.T, text string) *Instance {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	p, err := New(config, someDay)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// running sets the state of a gate without findings.
func running(p *Instance) {
	up := true
	p.status = &control.Status{Store: control.Store{Type: "file", Up: true}}
	p.backends = []control.Backend{{Name: "openai", Up: &up, Credentials: control.Credentials{Total: 2}}}
	p.keys = []control.Key{{Key: registry.Key{ID: "alice"}}}
}

func TestTheDoctorFindsWhatIsWrongWithAConfiguration(t *testing.T) {
	if found := adapted(t, soundFile).Check(); len(found) > 0 {
		t.Fatalf("a sound one: %+v", found)
	}
	for name, c := range map[string]struct {
		old, new string
		serious  bool
		want     string // part of a finding; empty: no finding
	}{
		"admin everywhere":         {"admin localhost:2019", "admin :2019", true, "admin endpoint listens on :2019"},
		"admin by its address":     {"admin localhost:2019", "admin 10.0.0.7:2019", true, "10.0.0.7:2019"},
		"admin on IPv6's loopback": {"admin localhost:2019", "admin [::1]:2019", false, ""},
		"admin at a socket":        {"admin localhost:2019", "admin unix//run/caddy.sock", false, ""},
		"admin off":                {"admin localhost:2019", "admin off", false, ""},
		"admin site everywhere":    {"http://localhost:9090 {\n\tbind 127.0.0.1", "http://localhost:9090 {", false, "pinegate_admin is served on :9090 without TLS"},
		"admin site over TLS":      {"http://localhost:9090 {\n\tbind 127.0.0.1", "gate.example.com {", false, "pinegate_admin is served on :443, which"},
		"no grace period":          {"grace_period 30s", "", false, "no grace_period"},
		"no shutdown delay":        {"shutdown_delay 5s", "", false, "no shutdown_delay"},
		"no timeout of bodies":     {"read_body 2m", "", false, "no timeout read_body:"},
		"a timeout of answers":     {"idle 5m", "idle 5m\nwrite 1m", true, "cuts every answer that takes longer than 1m0s"},
		"a store in memory":        {"store file", "store memory", false, "the store is memory"},
		"no throttle":              {"\t\tmodel", "throttle off\nmodel", false, "no throttle"},
		"a header in the log":      {"request>headers>Api-Key delete", "", true, `the log "default" takes access logs and hides no request>headers>Api-Key: `},
		"URLs in the log":          {"request>uri query {\n\t\t\t\tdelete key\n\t\t\t}", "", true, "hides no request>uri"},
		"no headers in the log":    {"request>headers>Api-Key delete\n\t\t\trequest>headers>X-Goog-Api-Key delete", "request>headers delete", false, ""},
		"a format of the site":     {"\tlog\n", "\tlog {\noutput stdout\nformat json\n}\n", true, `the log "log0" takes`},
		"a filter for one host":    {ownLog("http://localhost:8080"), "", true, `the log "default" takes`}, // the default log receives what is for other hosts
		"a filter for all hosts":   {ownLog("http://:8080"), "", false, ""},
		"a log that is dropped":    {"\tlog\n", "\tlog {\noutput discard\n}\n", false, ""},
		"no access log":            {"\tlog\n\tpinegate", "\tpinegate", false, ""},
		"credentials in the log":   {"\t\ttimeouts {", "\t\tlog_credentials\n\t\ttimeouts {", true, "holds the credentials of callers"},
		"debug":                    {"grace_period", "debug\ngrace_period", false, "level DEBUG"},
		"proxies everywhere":       {"\t\ttimeouts {", "\t\ttrusted_proxies static 0.0.0.0/0\n\t\ttimeouts {", true, "trusted_proxies has 0.0.0.0/0"},
		"proxies that are known":   {"\t\ttimeouts {", "\t\ttrusted_proxies static private_ranges\n\t\ttimeouts {", false, ""},
		"no price":                 {"price input 1 output 2", "", false, "no price of gpt-5:"},
		"no price and no budget":   {"limit 25 usd/month\n\t\t}\n\t\tmodel gpt-* {\n\t\t\tprice input 1 output 2", "}\nmodel gpt-* {\n", false, ""},
		"no price of a pattern":    {"models gpt-5", "models gpt-5 claude-*", false, "no price of claude-*:"},
		"price files not there":    {"store file", "prices /nowhere/prices.json", false, "can't be read from here"},
		"no limit":                 {"limit 25 usd/month\n\t\t}\n\t\tmodel gpt-* {\n\t\t\tprice input 1 output 2\n\t\t\tlimit 1M tokens/day\n\t\t}\n\t\tlimit 60 requests/minute", "}", false, "nothing limits 1 of the keys: alice"},
		"a limit of the team":      {"limit 25 usd/month\n\t\t}\n\t\tmodel gpt-* {\n\t\t\tprice input 1 output 2\n\t\t\tlimit 1M tokens/day\n\t\t}\n\t\tlimit 60 requests/minute", "}\nteam red {\nlimit 5 concurrent\n}", false, ""},
		"no gate":                  {soundFile[strings.Index(soundFile, "\tlog\n"):strings.Index(soundFile, "http://localhost:9090")], "respond ok\n}\n", true, "has no gate"},
	} {
		file := strings.Replace(soundFile, c.old, c.new, 1)
		switch {
		case strings.HasPrefix(c.old, "{"): // a complete file
			file = c.old
		case !strings.Contains(soundFile, c.old):
			t.Fatalf("%s: no %q", name, c.old)
		}
		found := adapted(t, file).Check()
		if c.want == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Serious != c.serious || !strings.Contains(found[0].What, c.want) || found[0].Do == "" {
			t.Errorf("%s: %+v, want %s", name, found, c.want)
		}
	}
}

func TestTheDoctorFindsWhatIsWrongWithAGate(t *testing.T) {
	word := func(s string) *string { return &s }
	no, model := false, "gpt-5"
	revoked := someDay
	key := func(id string, change func(*control.Key)) control.Key {
		k := control.Key{Key: registry.Key{ID: id}}
		change(&k)
		return k
	}
	for name, c := range map[string]struct {
		change  func(*Instance)
		serious bool
		want    string
	}{
		"all is well":              {func(*Instance) {}, false, ""},
		"the store is unavailable": {func(p *Instance) { p.status.Store.Up = false }, true, "unavailable or full"},
		"Redis is unavailable":     {func(p *Instance) { p.status.Store = control.Store{Type: "redis", Mode: word("allow")} }, true, "limits go by `outage allow`"},
		"Redis evicts": {func(p *Instance) {
			p.status.Store = control.Store{Type: "redis", Up: true, Eviction: word("allkeys-lru")}
		}, true, "maxmemory-policy allkeys-lru"},
		"Redis keeps all": {func(p *Instance) {
			p.status.Store = control.Store{Type: "redis", Up: true, Eviction: word("noeviction")}
		}, false, ""},
		"Redis has no log":         {func(p *Instance) { p.status.Store = control.Store{Type: "redis", Up: true, AppendOnly: &no} }, false, "append-only"},
		"the only backend is down": {func(p *Instance) { p.backends[0].Up = &no }, true, `"openai" is down`},
		"one of two is down": {func(p *Instance) {
			p.backends = append(p.backends, control.Backend{Name: "spare", Up: &no})
		}, false, `"spare" is down`},
		"a backend cools down":    {func(p *Instance) { p.backends[0].Cooldowns = []control.Cooldown{{}} }, false, "is cooling down"},
		"a model cools down":      {func(p *Instance) { p.backends[0].Cooldowns = []control.Cooldown{{Model: &model}} }, false, "some of its models"},
		"a credential is refused": {func(p *Instance) { p.backends[0].Credentials.Cooling = 1 }, false, "1 of its 2 credentials"},
		"all are refused":         {func(p *Instance) { p.backends[0].Credentials.Cooling = 2 }, true, "all of its 2 credentials"},
		"a proxy is not trusted":  {func(p *Instance) { p.status.UntrustedProxy = true }, false, "trusted_proxies"},
		"a model has no price":    {func(p *Instance) { p.backends[0].Discovered = []string{"gpt-5", "other"} }, false, ""},
		"a key ends in a week": {func(p *Instance) {
			p.keys = []control.Key{key("soon", func(k *control.Key) { k.Expires = someDay.Add(7 * 24 * time.Hour).Format(time.RFC3339) })}
		}, false, "1 of the keys end: soon"},
		"a key ends later": {func(p *Instance) {
			p.keys = []control.Key{key("later", func(k *control.Key) { k.Expires = someDay.Add(7*24*time.Hour + time.Second).Format(time.RFC3339) })}
		}, false, ""},
		"a key works today yet": {func(p *Instance) {
			p.keys = []control.Key{key("today", func(k *control.Key) { k.Expires = someDay.Format(time.DateOnly) })}
		}, false, "end: today"},
		"a key has ended": {func(p *Instance) {
			p.keys = []control.Key{key("over", func(k *control.Key) { k.Expires = someDay.AddDate(0, 0, -1).Format(time.DateOnly) })}
		}, false, "have ended and are refused: over"},
		"a key that nobody can use ends": {func(p *Instance) {
			p.keys = []control.Key{
				key("a", func(k *control.Key) { k.Expires, k.Disabled = someDay.Format(time.DateOnly), true }),
				key("b", func(k *control.Key) { k.Expires, k.Revoked = someDay.Format(time.DateOnly), &revoked }),
			}
		}, false, ""},
		"nothing limits some keys": {func(p *Instance) {
			p.gates[0].Limits = nil
			limit, err := limiter.ParseLimit([]string{"5", "concurrent"})
			if err != nil {
				t.Fatal(err)
			}
			p.teams.Data = []*registry.Team{{ID: "blue", TeamSpec: registry.TeamSpec{Limits: []limiter.Limit{limit}}}}
			p.keys = []control.Key{
				key("own", func(k *control.Key) { k.Limits = []limiter.Limit{limit} }),
				key("blue", func(k *control.Key) { k.Team = "blue" }),
				key("red", func(k *control.Key) { k.Team = "red" }),
				key("none", func(*control.Key) {}),
			}
		}, false, "nothing limits 2 of the keys: red, none"},
	} {
		p := adapted(t, soundFile)
		running(p)
		c.change(p)
		found := p.Check()
		if c.want == "" {
			if len(found) > 0 {
				t.Errorf("%s: %+v", name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Serious != c.serious || !strings.Contains(found[0].What, c.want) {
			t.Errorf("%s: %+v, want %s", name, found, c.want)
		}
	}
}

// The shipped Caddyfiles have no serious findings.
func TestNothingSeriousIsWrongWithWhatShips(t *testing.T) {
	files, err := filepath.Glob("../../examples/*/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, "../../Caddyfile") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(file, func(t *testing.T) {
			for _, f := range adapted(t, string(text)).Check() {
				if f.Serious {
					t.Errorf("%+v", f)
				} else {
					t.Logf("%+v", f)
				}
			}
		})
	}
}

func TestWhatIsSeriousComesFirstAndDecides(t *testing.T) {
	p := adapted(t, soundFile)
	running(p)
	p.app.Store.Type, p.status.Store.Up, p.backends[0].Credentials.Cooling = "memory", false, 2
	found := p.Check()
	if len(found) != 3 || !found[0].Serious || !found[1].Serious || found[2].Serious {
		t.Errorf("%+v", found)
	}
}
