package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// awayFromMidnight waits until no daily quota is about to turn.
func awayFromMidnight(t *testing.T) (untilMidnight func() time.Duration) {
	t.Helper()
	const day = 24 * time.Hour
	until := func() time.Duration { return time.Until(time.Now().UTC().Truncate(day).Add(day)) }
	if d := until(); d < time.Minute {
		time.Sleep(d)
	}
	return until
}

// isSpent looks at a refusal by a quota or budget that is used up.
func isSpent(t *testing.T, a answer, until time.Duration) {
	t.Helper()
	if a.status != 429 || a.header.Get("X-Should-Retry") != "false" ||
		!strings.Contains(a.body, `"type":"insufficient_quota","param":null,"code":"insufficient_quota"`) {
		t.Errorf("got %d %v %s\nwant the quota used up", a.status, a.header, a.body)
	}
	if wait := time.Duration(retryAfter(t, a)) * time.Second; wait < until-time.Minute || wait > until+time.Minute {
		t.Errorf("asked to come back in %v, want %v", wait, until)
	}
}

// uses is a backend that answers chats with the usage that X-Title names, as
// "input output".
func uses(w http.ResponseWriter, r *http.Request) {
	var input, output int
	if _, err := fmt.Sscan(r.Header.Get("X-Title"), &input, &output); err != nil {
		input, output = 1, 1
	}
	if r.URL.Path == "/v1/messages" {
		answers(200, fmt.Sprintf(`{"id":"m","type":"message","model":"m","content":[],"usage":{"input_tokens":%d,"output_tokens":%d}}`, input, output))(w, r)
		return
	}
	answers(200, chatAnswer("ok", input, output))(w, r)
}

// hi is what a chat with this prompt is estimated at, in tokens: its role and
// content, quoted, and 4 for the message.
const hi = 9

func TestQuotasAreSpentToTheirEndAndNotBeyond(t *testing.T) {
	untilMidnight := awayFromMidnight(t)
	b := newBackend(t, uses)
	var keys strings.Builder
	lowered := []struct{ key, limit, path, extra, want string }{
		{"put-in", "500 tokens", "/v1/chat/completions", ``, `max_tokens:491`},
		{"legacy", "500 tokens", "/v1/chat/completions", `,"max_tokens":2000`, `max_tokens:491`},
		{"modern", "500 tokens", "/v1/chat/completions", `,"max_completion_tokens":2000`, `max_completion_tokens:491`},
		{"enough", "500 tokens", "/v1/chat/completions", `,"max_tokens":491`, `max_tokens:491`},
		{"shared-over-n", "500 tokens", "/v1/chat/completions", `,"n":2`, `max_tokens:245`},
		{"output-only", "500 output_tokens", "/v1/chat/completions", ``, `max_tokens:500`},
		{"input-only", "500 input_tokens", "/v1/chat/completions", ``, ``},
		{"roomy", "5k tokens", "/v1/chat/completions", ``, ``},
		{"responses", "500 tokens", "/v1/responses", ``, `max_output_tokens:495`},
		{"messages", "14 tokens", "/v1/messages", ``, `max_tokens:5`},
	}
	for _, c := range lowered {
		keys.WriteString(keyWith(c.key, "limit "+c.limit+"/month"))
	}
	g := startGate(t, bothDialects(b, keys.String()+
		keyWith("daily", "limit 1000 tokens/day")+
		keyWith("counted", "limit 2 requests/week")))

	for _, c := range lowered {
		t.Run("the cap is lowered to what is left: "+c.key, func(t *testing.T) {
			a := g.do("POST", c.path, secretOf(c.key), strings.TrimSuffix(dialectBodies[c.path], "}")+c.extra+"}")
			if a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
			if got := capsSent(t, b.last(t)); got != c.want {
				t.Errorf("the backend was sent %q, want %q", got, c.want)
			}
		})
	}
	t.Run("request by request", func(t *testing.T) {
		send := func(title string) answer {
			return g.do("POST", "/v1/chat/completions", secretOf("daily"), chatBody("m", "hi", `"max_tokens":700`), "X-Title", title)
		}
		for i, c := range []struct {
			uses string
			cap  string
		}{{"10 590", "max_tokens:700"}, {"10 381", "max_tokens:391"}} {
			if a := send(c.uses); a.status != 200 {
				t.Fatalf("request %d: %d %s", i+1, a.status, a.body)
			}
			if got := capsSent(t, b.last(t)); got != c.cap {
				t.Errorf("request %d was sent with %s, want %s", i+1, got, c.cap)
			}
		}
		seen := len(b.seen())
		a := send("1 1") // 9 are left: the input alone
		isSpent(t, a, untilMidnight())
		if !strings.Contains(a.body, "You exceeded your daily token quota: Limit 1000, Used 991, Requested 10.") {
			t.Errorf("got %s", a.body)
		}
		if len(b.seen()) != seen {
			t.Error("the backend was sent what was refused")
		}
	})
	t.Run("requests", func(t *testing.T) {
		a := atMost(t, 2, func(int) answer { return g.chat(secretOf("counted"), "m", "hi") })
		if a.status != 429 || a.header.Get("X-Should-Retry") != "false" || !strings.Contains(a.body, "weekly request quota") {
			t.Errorf("got %d %v %s", a.status, a.header, a.body)
		}
	})
}

func TestBudgets(t *testing.T) {
	untilMidnight := awayFromMidnight(t)
	b := newBackend(t, uses)
	block := bothDialects(b, keyWith("payer", "limit 1 usd/day")+keyWith("claudes", "limit 1 usd/day")+`
		model gpt-* {
			price input 1000 output 1000
		}`)
	g := startGate(t, block)

	t.Run("are spent to their end", func(t *testing.T) {
		send := func(title string) answer {
			return g.do("POST", "/v1/chat/completions", secretOf("payer"), chatBody("gpt-5", "hi", `"max_tokens":5000`), "X-Title", title)
		}
		for i, c := range []struct{ uses, cap string }{{"10 590", "max_tokens:991"}, {"10 381", "max_tokens:391"}} {
			if a := send(c.uses); a.status != 200 {
				t.Fatalf("request %d: %d %s", i+1, a.status, a.body)
			}
			if got := capsSent(t, b.last(t)); got != c.cap {
				t.Errorf("request %d was sent with %s, want %s", i+1, got, c.cap)
			}
		}
		a := send("1 1")
		isSpent(t, a, untilMidnight())
		if !strings.Contains(a.body, "You exceeded your daily budget: Limit $1, Used $0.991, Requested $0.01.") {
			t.Errorf("got %s", a.body)
		}
		info := g.keyInfo(secretOf("payer"))
		if used := info.Usage["day"]; used.Cost == nil || *used.Cost != 0.991 || info.limit("usd", "day").Remaining != 0.009 {
			t.Errorf("the key has %+v", info)
		}
	})
	t.Run("in the Anthropic dialect", func(t *testing.T) {
		body := strings.Replace(dialectBodies["/v1/messages"], `"m"`, `"gpt-5"`, 1)
		if a := g.do("POST", "/v1/messages", secretOf("claudes"), body, "X-Title", "10 2000"); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		a := g.do("POST", "/v1/messages", secretOf("claudes"), body)
		if a.status != 429 || a.header.Get("X-Should-Retry") != "false" || !strings.Contains(a.body, `"type":"rate_limit_error"`) ||
			!strings.Contains(a.body, `"details":{"error_code":"enforced_spend_limit_reached"}`) {
			t.Errorf("got %d %v %s", a.status, a.header, a.body)
		}
	})
	t.Run("need a price", func(t *testing.T) {
		seen := len(b.seen())
		a := g.chat(secretOf("payer"), "unpriced", "hi")
		if a.status != 403 || !strings.Contains(a.body, `"type":"permission_error","param":"model","code":"model_not_priced"`) {
			t.Errorf("got %d %s", a.status, a.body)
		}
		a = g.do("POST", "/v1/messages", secretOf("claudes"), dialectBodies["/v1/messages"])
		if a.status != 403 || !strings.Contains(a.body, `"type":"permission_error"`) {
			t.Errorf("got %d %s", a.status, a.body)
		}
		if len(b.seen()) != seen {
			t.Error("the backend was sent a request that nobody can charge")
		}
		if a := g.chat(callerKey, "unpriced", "hi"); a.status != 200 {
			t.Errorf("a key without a budget: %d %s", a.status, a.body)
		}
	})
	t.Run("survive a restart", func(t *testing.T) {
		g.Stop(syscall.SIGTERM)
		again := newGate(t)
		again.dir = g.dir
		again.start(again.caddyfile("", block))
		if left := again.keyInfo(secretOf("payer")).limit("usd", "day").Remaining; left != 0.009 {
			t.Errorf("%v USD are left, want 0.009", left)
		}
		isSpent(t, again.chat(secretOf("payer"), "gpt-5", "hi"), untilMidnight())
	})
}

// What is reserved and may come back is no quota that is used up.
func TestQuotaHeldByARequestInFlightIsToldAsSuch(t *testing.T) {
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	defer letGo()
	wait := func(*http.Request) { <-release }
	b := newBackend(t, byTitle(map[string]http.HandlerFunc{
		"held": streams(wait, chunk("begun"), usageChunk(5, 2)+done),
		"":     answers(200, chatAnswer("ok", 5, 2)),
	}))
	g := startGate(t, block(b, keyWith("carol", "limit 1000 tokens/month")))
	res := g.open(context.Background(), "POST", "/v1/chat/completions", secretOf("carol"), chatBody("m", "hi", `"stream":true`, `"max_tokens":991`), "X-Title", "held")
	if _, err := io.ReadFull(res.Body, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	a := g.chat(secretOf("carol"), "m", "hi", `"max_tokens":10`)
	if a.status != 429 || !strings.Contains(a.body, `"code":"slow_down"`) || a.header.Get("X-Should-Retry") != "" || retryAfter(t, a) < 1 || retryAfter(t, a) > 60 {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
	letGo()
	if readAll([]*http.Response{res}) != 1 {
		t.Error("the stream was cut")
	}
	if a := g.chat(secretOf("carol"), "m", "hi", `"max_tokens":10`); a.status != 200 {
		t.Errorf("after it has settled: %d %s", a.status, a.body)
	}
	if left := g.keyInfo(secretOf("carol")).limit("tokens", "month").Remaining; left != 1000-2*7 {
		t.Errorf("%v tokens are left, want what the two requests of 7 left", left)
	}
}
