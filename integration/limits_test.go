package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// secretOf is the secret of a test's key.
func secretOf(id string) string { return "secret-of-" + id + "-00000000000001" }

// keyWith is the block of a key.
func keyWith(id string, lines ...string) string {
	return fmt.Sprintf("key %s %s {\n%s\n}\n", id, secretOf(id), strings.Join(lines, "\n"))
}

// isRate looks at a refusal by a rate.
func isRate(t *testing.T, a answer, unit string) {
	t.Helper()
	if a.status != 429 || !strings.Contains(a.body, `"type":"`+unit+`","param":null,"code":"rate_limit_exceeded"`) ||
		a.header.Get("X-Should-Retry") != "" || retryAfter(t, a) <= 0 {
		t.Errorf("got %d %v %s\nwant a refusal by a rate of %s", a.status, a.header, a.body, unit)
	}
	if !regexp.MustCompile(`^\{"error":\{"message":"Rate limit reached for [^ ]+ on .*Please try again in \d+(\.\d+)?(ms|s)\.`).MatchString(a.body) {
		t.Errorf("clients can't read the time to wait off %s", a.body)
	}
}

// retryAfter reads the seconds to wait; 0 where an answer names none.
func retryAfter(t *testing.T, a answer) int {
	t.Helper()
	text, ms := a.header.Get("Retry-After"), a.header.Get("Retry-After-Ms")
	if text == "" && ms == "" {
		return 0
	}
	seconds, err := strconv.Atoi(text)
	millis, msErr := strconv.Atoi(ms)
	if err != nil || msErr != nil || (millis+999)/1000 != seconds {
		t.Errorf("retry-after %q and retry-after-ms %q do not fit", text, ms)
	}
	return seconds
}

// atMost sends a request n+1 times and wants the last one refused.
func atMost(t *testing.T, n int, send func(i int) answer) (refused answer) {
	t.Helper()
	for i := range n {
		if a := send(i); a.status != 200 {
			t.Fatalf("request %d of %d: %d %s", i+1, n, a.status, a.body)
		}
	}
	return send(n)
}

func TestRates(t *testing.T) {
	b := newBackend(t, byTitle(map[string]http.HandlerFunc{
		"":     says(jsonType, chatAnswer("ok", 10, 10)),
		"huge": says(jsonType, chatAnswer("ok", 10, 25_000)),
	}))
	spare := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	claude := newBackend(t, answers(200, messagesAnswer))
	g := startGate(t, keyWith("debtor", "limit 10k tokens/hour")+
		keyWith("frugal", "limit 10k tokens/hour")+
		keyWith("wordy", "limit 100 input_tokens/minute")+
		keyWith("wordy2", "limit 100 tokens/day")+
		keyWith("red1", "team red")+keyWith("red2", "team red", "limit 50 requests/hour")+
		keyWith("any1")+keyWith("any2")+
		keyWith("headers", "limit 100 requests/minute", "limit 60k tokens/hour", "limit 50k input_tokens/hour", "limit 40k output_tokens/hour")+
		keyWith("bursty", "limit 1 requests/hour burst 5")+
		fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		team red {
			limit 3 requests/hour
		}
		model shared-* {
			limit 3 requests/hour
		}
		dial_allow loopback
		backend small %[1]s {
			models routed
			limit 2 requests/hour
		}
		backend full1 %[1]s {
			models full
			limit 1 requests/hour
		}
		backend full2 %[2]s {
			models full
			limit 1 requests/hour
		}
		backend mock %[1]s {
			models m shared-*
		}
		backend spare %[2]s {
			models routed
		}
		backend claude %[3]s {
			api anthropic
		}`, b.URL, spare.URL, claude.URL))

	t.Run("what is used beyond the reservation is owed", func(t *testing.T) {
		if a := g.do("POST", "/v1/chat/completions", secretOf("debtor"), chatBody("m", "x", `"max_tokens":100`), "X-Title", "huge"); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
		a := g.chat(secretOf("debtor"), "m", "x", `"max_tokens":100`)
		isRate(t, a, "tokens")
		// 10,000 an hour and 15,010 owed, beside the 108 of this request.
		if wait := retryAfter(t, a); wait < 5400 || wait > 5450 {
			t.Errorf("asked to come back in %d s, want about 5443", wait)
		}
	})
	t.Run("what was reserved and not used returns", func(t *testing.T) {
		for range 30 {
			if a := g.chat(secretOf("frugal"), "m", "x", `"max_tokens":9000`); a.status != 200 {
				t.Fatalf("got %d %s", a.status, a.body)
			}
		}
		if left := g.keyInfo(secretOf("frugal")).limit("tokens", "hour").Remaining; left < 9400 || left > 9500 {
			t.Errorf("%v tokens are left, want 9400 and a few of refill", left)
		}
	})
	t.Run("an input that can never pass is not worth a retry", func(t *testing.T) {
		seen := len(b.seen())
		for _, key := range []string{"wordy", "wordy2"} {
			a := g.chat(secretOf(key), "m", strings.Repeat("long ", 200))
			if a.status != 429 || a.header.Get("X-Should-Retry") != "false" || retryAfter(t, a) != 0 || !strings.Contains(a.body, "Request too large") {
				t.Errorf("%s: got %d %v %s", key, a.status, a.header, a.body)
			}
		}
		if len(b.seen()) != seen {
			t.Error("the backend was sent something")
		}
	})
	t.Run("a team's keys share its limit", func(t *testing.T) {
		a := atMost(t, 3, func(i int) answer { return g.chat(secretOf(fmt.Sprintf("red%d", i%2+1)), "m", "x") })
		isRate(t, a, "requests")
		if !strings.Contains(a.body, "shared by your team") {
			t.Errorf("got %s", a.body)
		}
		if left := g.keyInfo(secretOf("red2")).limit("requests", "hour").Remaining; left != 49 {
			t.Errorf("the refused request left %v of the key's own limit, want 49", left)
		}
	})
	t.Run("a model's limit is shared by all keys and by all models it matches", func(t *testing.T) {
		isRate(t, atMost(t, 3, func(i int) answer {
			return g.chat(secretOf(fmt.Sprintf("any%d", i%2+1)), fmt.Sprintf("shared-%d", i%2), "x")
		}), "requests")
	})
	t.Run("a full backend is passed over", func(t *testing.T) {
		before := len(spare.seen())
		for i := range 4 {
			if a := g.chat(secretOf("any1"), "routed", "x"); a.status != 200 {
				t.Fatalf("request %d: %d %s", i+1, a.status, a.body)
			}
		}
		if n := len(spare.seen()) - before; n != 2 {
			t.Errorf("the next backend was sent %d of 4, want 2", n)
		}
		a := atMost(t, 2, func(int) answer { return g.chat(secretOf("any1"), "full", "x") })
		isRate(t, a, "requests")
		if !strings.Contains(a.body, "backend capacity") || strings.Contains(a.body, "full1") || strings.Contains(a.body, "full2") || a.header.Get("X-Ratelimit-Limit-Requests") != "" {
			t.Errorf("got %v %s", a.header, a.body)
		}
	})
	t.Run("a burst is the capacity", func(t *testing.T) {
		isRate(t, atMost(t, 5, func(int) answer { return g.chat(secretOf("bursty"), "m", "x") }), "requests")
	})
	t.Run("headers have what is left", func(t *testing.T) {
		a := g.chat(secretOf("headers"), "m", "x", `"max_tokens":992`)
		for name, want := range map[string]string{
			"X-Ratelimit-Limit-Requests": "100", "X-Ratelimit-Remaining-Requests": "99", "X-Ratelimit-Reset-Requests": "600ms",
			"X-Ratelimit-Limit-Tokens": "60000", "X-Ratelimit-Remaining-Tokens": "59000", "X-Ratelimit-Reset-Tokens": "1m0s",
			"Anthropic-Ratelimit-Requests-Limit": "",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		a = g.do("POST", "/v1/messages", secretOf("headers"), dialectBodies["/v1/messages"])
		for name, want := range map[string]string{
			"Anthropic-Ratelimit-Requests-Limit": "^100$", "Anthropic-Ratelimit-Requests-Remaining": "^9[89]$",
			"Anthropic-Ratelimit-Tokens-Limit": "^60000$", "Anthropic-Ratelimit-Tokens-Remaining": "^599[0-9]{2}$",
			"Anthropic-Ratelimit-Input-Tokens-Limit": "^50000$", "Anthropic-Ratelimit-Output-Tokens-Limit": "^40000$",
			"Anthropic-Ratelimit-Output-Tokens-Remaining": "^399[0-9]{2}$", "X-Ratelimit-Limit-Requests": "^$",
		} {
			if got := a.header.Get(name); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%s: %q, want %s", name, got, want)
			}
		}
		reset, err := time.Parse(time.RFC3339, a.header.Get("Anthropic-Ratelimit-Tokens-Reset"))
		if err != nil || time.Until(reset) > time.Minute || time.Until(reset) < -time.Minute {
			t.Errorf("reset at %v (%v)", reset, err)
		}
	})
}

// messagesAnswer is a whole answer of the Anthropic dialect: 10 tokens for 10.
const messagesAnswer = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":"end_turn","usage":{"input_tokens":10,"output_tokens":10}}`

func TestBackendsRateHeadersPassWhereTheGateHasNone(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Ratelimit-Limit-Requests", "77")
		w.Header().Set("X-Ratelimit-Limit-Tokens", "7777")
		answers(200, chatAnswer("ok", 1, 1))(w, r)
	})
	g := startGate(t, keyWith("free")+keyWith("bound", "limit 5 requests/hour")+"dial_allow loopback\nbackend mock "+b.URL+" {\nlimit 90 requests/hour\n}")
	for key, want := range map[string][2]string{"free": {"77", "7777"}, "bound": {"5", ""}} {
		h := g.chat(secretOf(key), "m", "x").header
		if got := [2]string{h.Get("X-Ratelimit-Limit-Requests"), h.Get("X-Ratelimit-Limit-Tokens")}; got != want {
			t.Errorf("%s is answered %q, want %q", key, got, want)
		}
	}
}

// capsSent returns the caps in a request that a backend was sent, as in
// "max_tokens:100".
func capsSent(t *testing.T, sent received) string {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal([]byte(sent.body), &members); err != nil {
		t.Fatalf("the backend was sent %s: %v", sent.body, err)
	}
	var caps []string
	for _, name := range []string{"max_completion_tokens", "max_output_tokens", "max_tokens"} {
		if value, ok := members[name]; ok {
			caps = append(caps, name+":"+string(value))
		}
	}
	return strings.Join(caps, " ")
}

func TestMaxOutputTokensIsPutInOrLowered(t *testing.T) {
	b := newBackend(t, byPath(map[string]string{"/v1/chat/completions": chatAnswer("ok", 1, 1), "/v1/completions": chatAnswer("ok", 1, 1),
		"/v1/responses": chatAnswer("ok", 1, 1), "/v1/messages": messagesAnswer, "/v1/embeddings": chatAnswer("ok", 1, 0)}))
	g := startGate(t, bothDialects(b, "max_output_tokens 100"))
	for _, c := range []struct{ path, extra, want string }{
		{"/v1/chat/completions", ``, `max_tokens:100`},
		{"/v1/chat/completions", `,"max_tokens":50`, `max_tokens:50`},
		{"/v1/chat/completions", `,"max_completion_tokens":500`, `max_completion_tokens:100`},
		{"/v1/chat/completions", `,"max_tokens":50,"max_completion_tokens":500`, `max_completion_tokens:100 max_tokens:50`},
		{"/v1/chat/completions", `,"max_tokens":null`, `max_tokens:100`},
		{"/v1/completions", ``, `max_tokens:100`},
		{"/v1/responses", ``, `max_output_tokens:100`},
		{"/v1/responses", `,"max_output_tokens":101`, `max_output_tokens:100`},
		{"/v1/messages", ``, `max_tokens:9`},
		{"/v1/messages", `,"max_output_tokens":500`, `max_output_tokens:100 max_tokens:9`},
		{"/v1/embeddings", `,"dimensions":500`, ``},
	} {
		body := dialectBodies[c.path]
		if body == "" {
			body = `{"model":"m","input":"hi"}`
		}
		if a := g.do("POST", c.path, callerKey, strings.TrimSuffix(body, "}")+c.extra+"}"); a.status != 200 {
			t.Errorf("%s %s: %d %s", c.path, c.extra, a.status, a.body)
			continue
		}
		if got := capsSent(t, b.last(t)); got != c.want {
			t.Errorf("%s with %q: the backend was sent %q, want %q", c.path, c.extra, got, c.want)
		}
	}
}
