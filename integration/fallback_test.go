package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// outcome is what a caller got of one request.
type outcome struct {
	status int
	began  bool // a byte of the answer came
	whole  bool
}

// ask sends a chat that may stream and reads its answer.
func (g *gate) ask(stream bool) outcome {
	body := chatBody("m", "hi")
	if stream {
		body = chatBody("m", "hi", `"stream":true`)
	}
	req, err := http.NewRequest("POST", g.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return outcome{}
	}
	req.Header.Set("Content-Type", jsonType)
	req.Header.Set("Authorization", "Bearer "+callerKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return outcome{}
	}
	defer res.Body.Close()
	got := outcome{status: res.StatusCode, began: true}
	if !stream {
		text, err := io.ReadAll(res.Body)
		got.whole = err == nil && strings.Contains(string(text), `"total_tokens"`)
		return got
	}
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		got.whole = got.whole || lines.Text() == "data: [DONE]"
	}
	return got
}

// startBackend runs a backend in a process of its own: another gate, whose echo
// backend has the limits given, and which counts what it is asked.
func startBackend(t *testing.T, limits string) *gate {
	t.Helper()
	g := newGate(t)
	g.start(quiet(g.caddyfile("", fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key front {env.BACKEND_KEY}
		backend echo {
			api echo
			%s
		}`, limits))))
	return g
}

// quiet has a gate log what goes wrong and nothing else: of thousands of requests
// the rest is what takes the time.
func quiet(caddyfile string) string {
	return strings.NewReplacer("\tdebug\n", "", "\tlog\n", "", "\tlog {\n", "\tlog {\n\t\tlevel WARN\n").Replace(caddyfile)
}

// Of three backends, each a process, one is killed, one says that it wants to be
// left alone, and one serves.
func TestNoRequestIsLostWhileABackendServes(t *testing.T) {
	const (
		callers  = 8
		requests = 10_000
		enough   = 1500 // for the busy one: it takes ten an hour beyond, so that its Retry-After is six minutes
	)
	start := time.Now()
	killed, busy, serves := startBackend(t, ""), startBackend(t, fmt.Sprintf("limit 10 requests/hour burst %d", enough)), startBackend(t, "")
	g := newGate(t)
	config := `
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		dial_allow loopback
		route m killed/echo busy/echo serves/echo {
			policy round_robin
		}`
	for name, b := range map[string]*gate{"killed": killed, "busy": busy, "serves": serves} {
		config += fmt.Sprintf("\nbackend %s %s {\napi_key {env.BACKEND_KEY}\n}", name, b.url)
	}
	g.start(quiet(g.caddyfile("", config)))

	var next, lost, cut atomic.Int64
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for i := next.Add(1); i <= requests; i = next.Add(1) {
				if i == requests/2 {
					killed.Stop(syscall.SIGKILL)
				}
				switch got := g.ask(i%2 == 0); {
				case got.status == 200 && got.whole:
				case got.status == 200 && got.began:
					cut.Add(1)
				default:
					lost.Add(1)
					t.Errorf("request %d: %+v", i, got)
				}
			}
		})
	}
	running.Wait()

	if cut.Load() > callers {
		t.Errorf("%d answers were cut, by %d callers at once", cut.Load(), callers)
	}
	eventually(t, "every request is recorded once", func() bool { return g.usageOf("alice").Requests == requests })
	if got := g.usageOf("alice"); got.Errors > int(cut.Load()) {
		t.Errorf("usage %+v, with %d answers that were cut", got, cut.Load())
	}

	// What the backends counted is what the gate recorded of them: none was sent a
	// request that another one answered, but for those that they refused or died of.
	by := g.usageBy("backend")
	for name, b := range map[string]*gate{"busy": busy, "serves": serves} {
		if saw := b.usageOf("front").Requests; saw != by[name].Requests || saw < enough {
			t.Errorf("%s counted %d requests, the gate recorded %d of it", name, saw, by[name].Requests)
		}
	}
	if by["killed"].Requests < enough || by["killed"].Requests > requests/2+callers {
		t.Errorf("of the killed one %d requests are recorded", by["killed"].Requests)
	}
	// Refused were those that were on their way when it said so first. It is left
	// alone for five minutes, the longest that any backend is.
	pauses := 1 + int(time.Since(start)/(5*time.Minute))
	if n := busy.refused(); n == 0 || n > callers*pauses {
		t.Errorf("the one that asked to be left alone was sent %d requests", n)
	}
	t.Logf("%d requests in %v, %d of them cut", requests, time.Since(start).Round(time.Second), cut.Load())
}

// refused is how many requests a gate refused for a limit of its backend.
func (g *gate) refused() (n int) {
	_, _ = fmt.Sscan(g.metric(`pinegate_rejected_total{reason="rate_limit",scope="backend"}`), &n)
	return n
}

// A backend is asked again when the time is over that it asked for, and not
// before.
func TestABackendIsAskedAgainWhenItsTimeIsOver(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var times []time.Time
	busy := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if times = append(times, time.Now()); len(times) == 1 {
			w.Header().Set("Retry-After", "1")
			answers(429, `{}`)(w, r)
			return
		}
		answers(200, chatAnswer("back", 1, 1))(w, r)
	})
	other := newBackend(t, answers(200, chatAnswer("other", 1, 1)))
	g := startGate(t, fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		dial_allow loopback
		backend busy %s
		backend other %s`, busy.URL, other.URL))
	eventually(t, "it is asked again", func() bool { return strings.Contains(g.chat(callerKey, "m", "hi").body, "back") })
	mu.Lock()
	defer mu.Unlock()
	if waited := times[1].Sub(times[0]); waited < time.Second {
		t.Errorf("it was asked again after %v", waited)
	}
	g.logsTimes(t, "backend cooling down", 1)
}

// What a backend refuses counts as a request there, and costs nobody tokens.
func TestWhatABackendRefusesIsReturned(t *testing.T) {
	first := newBackend(t, refuses(500, jsonType, "{}"))
	second := newBackend(t, refuses(503, jsonType, "{}"))
	third := newBackend(t, answers(200, chatAnswer("ok", 5, 5)))
	alone := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "70")
		answers(429, `{"error":{"message":"slow down"}}`)(w, r)
	})
	g := startGate(t, fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		%s
		dial_allow loopback
		backend first %s {
			models m
			limit 1 requests/day
		}
		backend second %s {
			models m
			limit 1000 tokens/day
		}
		backend third %s {
			models m
		}
		backend alone %s {
			models lone both
		}
		backend again %s {
			models both
		}`, keyWith("carol", "limit 1000 tokens/day", "limit 10 requests/day"), first.URL, second.URL, third.URL, alone.URL, alone.URL))
	key := secretOf("carol")
	for range 2 { // each reserves most of the tokens of the key and of the second backend
		if a := g.chat(key, "m", "hi", `"max_tokens":900`); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	if n := len(first.seen()); n != 1 {
		t.Errorf("the first backend, which takes one request, was sent %d", n)
	}
	if n := len(second.seen()); n != 2 {
		t.Errorf("the second backend, whose tokens were returned, was sent %d requests", n)
	}
	if got, want := g.usageOf("carol"), (result{Requests: 2, Input: 10, Output: 10}); got != want {
		t.Errorf("usage %+v, want %+v: one record a request", got, want)
	}

	before := g.keyInfo(key)
	a := g.chat(key, "lone", "hi", `"max_tokens":900`)
	if a.status != 429 || a.header.Get("Retry-After") != "70" || !strings.Contains(a.body, "slow down") {
		t.Errorf("the backend's refusal came as %d %v %s", a.status, a.header, a.body)
	}
	after := g.keyInfo(key)
	if got, want := after.limit("tokens", "day").Remaining, before.limit("tokens", "day").Remaining; got != want {
		t.Errorf("%v tokens are left, %v before", got, want)
	}
	if a := g.chat(key, "lone", "hi"); a.status != 429 || len(alone.seen()) != 2 {
		t.Errorf("a request that can go nowhere else: %d %s, and the backend was sent %d", a.status, a.body, len(alone.seen()))
	}

	// Of two backends that want to be left alone each is sent a request a second.
	var sent int
	for range 10 {
		before, sent = g.keyInfo(key), len(alone.seen())
		if a = g.chat(key, "both", "hi"); len(alone.seen()) == sent {
			break
		}
	}
	if a.status != 429 || retryAfter(t, a) <= 0 || retryAfter(t, a) > 70 || !strings.Contains(a.body, `"code":"slow_down"`) {
		t.Errorf("while both are left alone: %d %v %s", a.status, a.header, a.body)
	}
	if n := len(alone.seen()); n != sent {
		t.Errorf("they were sent %d requests more", n-sent)
	}
	if got, want := g.keyInfo(key).limit("requests", "day").Remaining, before.limit("requests", "day").Remaining; got != want {
		t.Errorf("what never left the gate was counted: %v requests are left, %v before", got, want)
	}
	if got, want := g.usageOf("carol").Requests, 2+len(alone.seen())-1; got != want {
		t.Errorf("%d records, want %d: what never left the gate has none", got, want)
	}
}
