package integration

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// alertSecret is what the webhook's posts are signed with. It is a canary, too.
const alertSecret = "webhook-secret-000000000001"

// hook receives alerts; the first try of each is answered with 500.
type hook struct {
	*httptest.Server

	mu    sync.Mutex
	seen  map[string]bool
	posts []map[string]any // that were taken
	bad   []string         // posts without a signature
}

func newHook(t *testing.T) *hook {
	h := &hook{seen: make(map[string]bool)}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	id := r.Header.Get("webhook-id")
	mac := hmac.New(sha256.New, []byte(alertSecret))
	fmt.Fprintf(mac, "%s.%s.%s", id, r.Header.Get("webhook-timestamp"), body)

	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Header.Get("webhook-signature") != "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		h.bad = append(h.bad, fmt.Sprint(r.Header, string(body)))
	}
	if !h.seen[id] {
		h.seen[id] = true
		w.WriteHeader(500)
		return
	}
	var members map[string]any
	_ = json.Unmarshal(body, &members)
	h.posts = append(h.posts, members)
}

// taken are the alerts that were taken, as `id unit percent used/limit`.
func (h *hook) taken() map[string]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make(map[string]int)
	for _, m := range h.posts {
		all[fmt.Sprint(m["scope"], " ", m["id"], " ", m["unit"], " ", m["percent"], " ", m["used"], "/", m["limit"])]++
	}
	return all
}

// alertLines are the log's lines about alerts, in the same form.
func (g *gate) alertLines() map[string]int {
	all := make(map[string]int)
	for lines := bufio.NewScanner(strings.NewReader(g.Logs.String())); lines.Scan(); {
		var m map[string]any
		if json.Unmarshal(lines.Bytes(), &m) == nil && m["msg"] == "quota or budget partly used" {
			all[fmt.Sprint(m["scope"], " ", m["id"], " ", m["unit"], " ", m["percent"], " ", m["used"], "/", m["limit"])]++
		}
	}
	return all
}

// A quota that passes 50 % and 80 % is announced once each, over a reload too: in
// the log, in the metrics and to the webhook.
func TestAlertsAreToldOnceEach(t *testing.T) {
	awayFromMidnight(t)
	b, h := newBackend(t, uses), newHook(t)
	g := newGate(t)
	secret := filepath.Join(g.dir, "webhook-secret")
	if err := os.WriteFile(secret, []byte(alertSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	global := fmt.Sprintf("pinegate {\nwebhook %s/alerts?token=hush-hush {\nsecret {file.%s}\n}\n}", h.URL, secret)
	site := func(extra string) string {
		return g.caddyfile(global, bothDialects(b, "alert 50% 80\n"+extra+keyWith("daily", "limit 1000 tokens/day", "limit 100k tokens/minute")+
			keyWith("spender", "limit 1 usd/month")+"model m {\nprice input 1000 output 1000\n}"))
	}
	g.start(site(""))
	send := func(key, title string) {
		t.Helper()
		if a := g.do("POST", "/v1/chat/completions", secretOf(key), chatBody("m", "hi", `"max_tokens":300`), "X-Title", title); a.status != 200 {
			t.Fatalf("%s: got %d %s", key, a.status, a.body)
		}
	}
	send("daily", "100 300") // and 309 were reserved before that
	if got := g.alertLines(); len(got) != 0 {
		t.Errorf("announced %v at 40 %%", got)
	}
	send("daily", "100 50") // 550
	send("daily", "10 40")  // 600
	if status := g.reload(site("max_body 1MB\n")); status != 200 {
		t.Fatalf("the reload has status %d", status)
	}
	send("daily", "10 40")    // 650
	send("daily", "10 150")   // 810
	send("daily", "10 10")    // 830
	send("spender", "100 90") // 0.19 USD
	send("spender", "600 50") // 0.84: both at once

	want := map[string]int{
		"key daily tokens 50 550/1000": 1, "key daily tokens 80 810/1000": 1,
		"key spender usd 50 0.84/1": 1, "key spender usd 80 0.84/1": 1,
	}
	eventually(t, "the webhook has taken all", func() bool { return len(h.taken()) >= len(want) })
	for name, got := range map[string]map[string]int{"the webhook": h.taken(), "the log": g.alertLines()} {
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s has\n%v\nwant\n%v", name, got, want)
		}
	}
	if len(h.bad) > 0 {
		t.Errorf("without a signature: %v", h.bad)
	}
	checkSeries(t, g.counted(), map[string]float64{
		`pinegate_alerts_total{percent="50",scope="key",unit="tokens",window="day"}`: 1,
		`pinegate_alerts_total{percent="80",scope="key",unit="tokens",window="day"}`: 1,
		`pinegate_alerts_total{percent="50",scope="key",unit="usd",window="month"}`:  1,
		`pinegate_alerts_total{percent="80",scope="key",unit="usd",window="month"}`:  1,
		`pinegate_webhook_total{outcome="retried"}`:                                  4,
		`pinegate_webhook_total{outcome="delivered"}`:                                4,
	})
	g.Stop(syscall.SIGTERM)
	for line := range strings.Lines(g.Logs.String()) {
		// The URL stands in the config, which Caddy logs while debugging.
		if strings.Contains(line, alertSecret) || strings.Contains(line, "webhook,") && strings.Contains(line, "hush-hush") {
			t.Errorf("the log has %s", line)
		}
	}
}
