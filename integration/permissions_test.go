package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestKeysMayDoWhatTheirBlocksSay(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := newGate(t)
	ends := time.Now().Add(3 * time.Second).Truncate(time.Second)
	g.start(g.caddyfile("servers {\ntrusted_proxies static 127.0.0.1/32\n}", block(b,
		keyWith("narrow", "models gpt-* exact", "endpoints chat moderations")+
			keyWith("none", "models none")+
			keyWith("away", "allow_ip 10.0.0.0/8 2001:db8::/32")+
			keyWith("home", "allow_ip 127.0.0.1")+
			keyWith("past", "expires 2020-01-01")+
			keyWith("future", "expires 2999-01-01T00:00:00Z")+
			keyWith("soon", "expires "+ends.UTC().Format(time.RFC3339))+
			keyWith("off", "disabled")+
			keyWith("red", "team red", "models gpt-*")+
			keyWith("red2", "team red")+
			keyWith("stray", "team undeclared")+
			"team red {\nmodels gpt-5 other-*\n}\n"+
			fmt.Sprintf("key pair %s %s {\nlimit 3 requests/hour\n}\n", secretOf("old"), secretOf("new")))))
	if a := g.chat(secretOf("soon"), "m", "x"); time.Now().Before(ends) && a.status != 200 {
		t.Errorf("before its end: %d %s", a.status, a.body)
	}

	const ok, noModel, noEndpoint, noAddress = "", "model_not_allowed", "may not use this endpoint", "may not be used from this address"
	chat := func(id, model string, header ...string) answer {
		return g.do("POST", "/v1/chat/completions", secretOf(id), chatBody(model, "x"), header...)
	}
	for name, c := range map[string]struct {
		got  answer
		want string
	}{
		"a model of a pattern":               {chat("narrow", "gpt-5"), ok},
		"a model by its name":                {chat("narrow", "exact"), ok},
		"a model beside the pattern":         {chat("narrow", "xgpt-5"), noModel},
		"a model in another case":            {chat("narrow", "GPT-5"), noModel},
		"an endpoint that is not listed":     {g.do("POST", "/v1/embeddings", secretOf("narrow"), `{"model":"gpt-5","input":"x"}`), noEndpoint},
		"no endpoint is needed for the list": {g.do("GET", "/v1/models", secretOf("narrow"), ""), ok},
		"no endpoint is needed for the key":  {g.do("GET", "/v1/key", secretOf("narrow"), ""), ok},
		"another dialect's endpoint":         {g.do("POST", "/v1/messages", secretOf("narrow"), dialectBodies["/v1/messages"]), noEndpoint},
		"the unnamed model is none of these": {g.do("POST", "/v1/moderations", secretOf("narrow"), `{"input":"x"}`), noModel},
		"models none":                        {chat("none", "gpt-5"), noModel},
		"the wrong network":                  {chat("away", "m"), noAddress},
		"the right network behind a proxy":   {chat("away", "m", "X-Forwarded-For", "10.1.2.3"), ok},
		"the right network in IPv6":          {chat("away", "m", "X-Forwarded-For", "2001:db8::1"), ok},
		"the wrong one behind a proxy":       {chat("home", "m", "X-Forwarded-For", "10.1.2.3"), noAddress},
		"the right address":                  {chat("home", "m"), ok},
		"an end to come":                     {chat("future", "m"), ok},
		"what both key and team allow":       {chat("red", "gpt-5"), ok},
		"what only the key allows":           {chat("red", "gpt-6"), noModel},
		"what only the team allows":          {chat("red", "other-1"), noModel},
		"what the team allows":               {chat("red2", "other-1"), ok},
		"what the team does not allow":       {chat("red2", "gpt-6"), noModel},
		"a team that nobody declared":        {chat("stray", "m"), ok},
		"one of two secrets":                 {chat("old", "m"), ok},
		"the other of two secrets":           {chat("new", "m"), ok},
	} {
		if c.want == ok && c.got.status != 200 || c.want != ok && (c.got.status != 403 || !strings.Contains(c.got.body, c.want)) {
			t.Errorf("%s: %d %s", name, c.got.status, c.got.body)
		}
	}
	seen := len(b.seen())
	if a := chat("new", "m"); a.status != 200 {
		t.Errorf("third request of two secrets: %d", a.status)
	}
	isRate(t, chat("old", "m"), "requests") // the fourth: they share one quota
	if n := len(b.seen()) - seen; n != 1 {
		t.Errorf("the backend was sent %d, want 1", n)
	}

	unknown := g.chat("no-such-secret-00000000001", "m", "x")
	eventually(t, "the key ends", func() bool { return chat("soon", "m").status != 200 })
	for _, id := range []string{"past", "off", "soon"} {
		a := chat(id, "m")
		for _, h := range []answer{a, unknown} {
			h.header.Del("X-Request-Id")
			h.header.Del("Date")
		}
		if a.status != 401 || a.body != unknown.body || fmt.Sprint(a.header) != fmt.Sprint(unknown.header) {
			t.Errorf("%s differs from an unknown one: %d %v %s", id, a.status, a.header, a.body)
		}
	}
}

func TestSecretInAFileIsFollowed(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := newGate(t)
	path := filepath.Join(g.dir, "secret")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(secretOf("first") + "\n")
	g.start(g.caddyfile("", block(b, "key filed {file."+path+"} "+secretOf("fixed")+" {\nlimit 4 requests/hour\n}")))
	if a := g.chat(secretOf("first"), "m", "x"); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	write(secretOf("second"))
	eventually(t, "the new secret works", func() bool { return g.chat(secretOf("second"), "m", "x").status == 200 })
	if a := g.chat(secretOf("first"), "m", "x"); a.status != 401 {
		t.Errorf("the old secret: %d", a.status)
	}
	if a := g.chat(secretOf("fixed"), "m", "x"); a.status != 200 {
		t.Errorf("the secret that stands in the config: %d", a.status)
	}
	if left := g.keyInfo(secretOf("second")).limit("requests", "hour").Remaining; left != 1 {
		t.Errorf("%v of 4 requests are left after three: the counter must follow the id", left)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the missing file is logged", func() bool { return strings.Contains(g.Logs.String(), "keys not changed") })
	if a := g.chat(secretOf("second"), "m", "x"); a.status != 200 {
		t.Errorf("with its file gone: %d", a.status)
	}
	if strings.Contains(g.Logs.String(), "secret-of-") {
		t.Error("a secret stands in the log")
	}
}

// secondSite is another site of the gate's Caddyfile.
func secondSite(port int, block string) string {
	return fmt.Sprintf("http://127.0.0.1:%d {\n\tpinegate {\n%s\n\t}\n}\n", port, block)
}

func TestOneKeyInTwoSitesIsOneKey(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := newGate(t)
	other := newGate(t) // its port and address only: one process has both sites
	backend := "admin_key {env.ADMIN_KEY}\nthrottle off\ndial_allow loopback\nbackend mock " + b.URL + "\n"
	carol := keyWith("carol", "limit 3 requests/hour", "team red")
	both := func(first, second string) string {
		return g.caddyfile("", backend+first) + secondSite(other.port, backend+second)
	}
	g.start(both(carol, carol+keyWith("dave")))

	isRate(t, atMost(t, 3, func(i int) answer { return []*gate{g, other}[i%2].chat(secretOf("carol"), "m", "x") }), "requests")
	if a := g.chat(secretOf("dave"), "m", "x"); a.status != 401 {
		t.Errorf("the key of one site in the other: %d", a.status)
	}
	if got := other.usageOf("carol"); got.Requests != 3 {
		t.Errorf("usage %+v", got)
	}

	for name, config := range map[string]string{
		`key \"carol\"`:   both(carol, keyWith("carol", "limit 4 requests/hour", "team red")),
		`team \"red\"`:    both(carol+"team red {\nlimit 1 concurrent\n}", carol+"team red {\nlimit 2 concurrent\n}"),
		`model \"m\"`:     both(carol+"model m {\nlimit 1 concurrent\n}", carol+"model m {\nlimit 2 concurrent\n}"),
		`backend \"two\"`: both(carol+"backend two 127.0.0.1:1", carol+"backend two 127.0.0.1:2"),
	} {
		if status := g.reload(config); status != 400 {
			t.Errorf("%s, defined differently by two sites, loads: %d", name, status)
		}
		want := name + ` is defined twice, and differently`
		eventually(t, "the log has "+want, func() bool {
			return strings.Contains(strings.ReplaceAll(g.Logs.String(), `\\\"`, `\"`), want)
		})
	}
	if a := other.chat(secretOf("dave"), "m", "x"); a.status != 200 {
		t.Errorf("a config that does not load has changed the running one: %d %s", a.status, a.body)
	}
	for i := range 300 { // the throttle's burst is 100
		if a := g.chat("no-such-secret-00000000001", "m", "x"); a.status != 401 {
			t.Fatalf("bad key %d with the throttle off: %d %s", i+1, a.status, a.body)
		}
	}
}
