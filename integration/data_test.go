package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// usageOf asks the gate for the usage since ever, in one bucket a day, grouped
// by key, and returns the sums of a key.
func (g *gate) usageOf(key string) result {
	g.t.Helper()
	a := g.do("GET", "/v1/usage?group_by[]=key&keys[]="+key, adminKey, "")
	if a.status != http.StatusOK {
		g.t.Fatalf("usage: %d %s", a.status, a.body)
	}
	var page struct {
		Data []struct{ Results []result }
	}
	if err := json.Unmarshal([]byte(a.body), &page); err != nil {
		g.t.Fatal(err)
	}
	var sum result
	for _, bucket := range page.Data {
		for _, r := range bucket.Results {
			sum.Requests += r.Requests
			sum.Errors += r.Errors
			sum.Input += r.Input
			sum.Output += r.Output
			sum.Cached += r.Cached
			sum.Estimated += r.Estimated
		}
	}
	return sum
}

type result struct {
	Requests  int `json:"requests"`
	Errors    int `json:"errors"`
	Input     int `json:"input_tokens"`
	Cached    int `json:"input_cached_tokens"`
	Output    int `json:"output_tokens"`
	Estimated int `json:"estimated_requests"`
}

func TestChatIsForwardedWithTheBackendsCredentialAndMetered(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("hi", 11, 7)))
	g := startGate(t, block(b, ""))

	body := chatBody("m-1", "hello", `"temperature": 0.5`, `"unknown":{"a":[1,  2]}`)
	a := g.do("POST", "/v1/chat/completions", callerKey, body, "Cookie", "c=1", "X-Forwarded-For", "1.2.3.4", "OpenAI-Beta", "x")
	if a.status != 200 || a.body != chatAnswer("hi", 11, 7) {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	sent := b.last(t)
	if sent.body != body {
		t.Errorf("the body was changed:\n%s\n%s", sent.body, body)
	}
	if sent.path != "/v1/chat/completions" || sent.header.Get("Authorization") != "Bearer "+backendKey {
		t.Errorf("sent %s with %q", sent.path, sent.header.Get("Authorization"))
	}
	for _, name := range []string{"Cookie", "X-Forwarded-For", "X-Forwarded-Host", "Via", "Forwarded"} {
		if v := sent.header.Get(name); v != "" {
			t.Errorf("%s: %s left the gate", name, v)
		}
	}
	if sent.header.Get("Openai-Beta") != "x" {
		t.Error("openai-beta did not reach the backend")
	}
	if got, want := g.usageOf("alice"), (result{Requests: 1, Input: 11, Output: 7}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}

func TestStreamArrivesAsItIsSentAndIsMetered(t *testing.T) {
	t.Parallel()
	const gap = 150 * time.Millisecond
	b := newBackend(t, streams(func(r *http.Request) {
		select {
		case <-time.After(gap):
		case <-r.Context().Done():
		}
	}, chunk("one "), chunk("two "), chunk("three "), chunk("four "), chunk("five"), usageChunk(9, 5)+done))
	g := startGate(t, block(b, ""))

	for name, c := range map[string]struct {
		extra []string
		want  string
	}{
		"usage asked for": {[]string{`"stream":true`, `"stream_options":{"include_usage":true}`},
			chunk("one ") + chunk("two ") + chunk("three ") + chunk("four ") + chunk("five") + usageChunk(9, 5) + done},
		"usage not asked for": {[]string{`"stream":true`},
			strings.ReplaceAll(chunk("one ")+chunk("two ")+chunk("three ")+chunk("four ")+chunk("five")+done, `,"usage":null`, "")},
	} {
		t.Run(name, func(t *testing.T) {
			before := g.usageOf("alice")
			res := g.open(context.Background(), "POST", "/v1/chat/completions", callerKey, chatBody("m-1", "count", c.extra...))
			defer res.Body.Close()
			var got strings.Builder
			var arrivals []time.Time
			in := bufio.NewReader(res.Body)
			for {
				line, err := in.ReadString('\n')
				got.WriteString(line)
				if strings.HasPrefix(line, "data: {") {
					arrivals = append(arrivals, time.Now())
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if got.String() != c.want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), c.want)
			}
			// The first five come one by one: none waits for the next.
			for i := 1; i < 5; i++ {
				if d := arrivals[i].Sub(arrivals[i-1]); d < gap/2 || d > 3*gap {
					t.Errorf("event %d came %v after the one before, want about %v", i, d, gap)
				}
			}
			var asked struct {
				Stream  bool `json:"stream"`
				Options struct {
					Include bool `json:"include_usage"`
				} `json:"stream_options"`
			}
			if err := json.Unmarshal([]byte(b.last(t).body), &asked); err != nil || !asked.Stream || !asked.Options.Include {
				t.Errorf("the backend was sent %s", b.last(t).body)
			}
			after := g.usageOf("alice")
			if after.Requests-before.Requests != 1 || after.Input-before.Input != 9 || after.Output-before.Output != 5 || after.Estimated != 0 {
				t.Errorf("usage went from %+v to %+v", before, after)
			}
			if strings.Contains(g.Logs.String(), `"flagged":true`) {
				t.Error("a good answer is flagged")
			}
		})
	}
}

func TestRefusedRequestsAreKnownInTheAccessLog(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := startGate(t, block(b, "limit 1 requests/hour"))
	g.chat(callerKey, "m", "x")
	id := g.chat(callerKey, "m", "x").header.Get("X-Request-Id")
	eventually(t, "the access log has the refused request's id and key", func() bool {
		for line := range strings.Lines(g.Logs.String()) {
			if strings.Contains(line, "http.log.access") && strings.Contains(line, id) && strings.Contains(line, `"key":"alice"`) {
				return true
			}
		}
		return false
	})
}

func TestEveryAnswerHasAnID(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := startGate(t, block(b, ""))
	seen := make(map[string]bool)
	for _, path := range []string{"/healthz", "/readyz", "/v1/models", "/v1/key", "/v1/usage", "/nowhere"} {
		seen[g.do("GET", path, callerKey, "").header.Get("X-Request-Id")] = true
	}
	seen[g.chat(callerKey, "m", "x").header.Get("X-Request-Id")] = true
	if seen[""] || len(seen) != 7 {
		t.Errorf("ids %v: want one for each answer", seen)
	}
	if a := g.do("POST", "/v1/messages", "", "{}"); a.header.Get("Request-Id") == "" || a.header.Get("Request-Id") != a.header.Get("X-Request-Id") {
		t.Errorf("in Anthropic's dialect: %v", a.header)
	}
}

// Whoever has seen the end of an answer finds it in the usage.
func TestUsageIsRecordedBeforeTheEndOfAnAnswerIsReleased(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		streams(nil, chunk("x"), usageChunk(3, 2), done)(w, r)
	})
	g := startGate(t, block(b, ""))
	for i := 1; i <= 20; i++ {
		res := g.open(context.Background(), "POST", "/v1/chat/completions", callerKey, chatBody("m-1", "x", `"stream":true`))
		in := bufio.NewReader(res.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if line == "data: [DONE]\n" {
				break
			}
		}
		if got := g.usageOf("alice").Requests; got != i {
			t.Fatalf("after %d answers usage has %d", i, got)
		}
		res.Body.Close()
	}
}

func TestCallerWhoLeavesIsChargedWhatWasDelivered(t *testing.T) {
	gone := make(chan struct{})
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 10 {
			_, _ = io.WriteString(w, chunk("twelve bytes"))
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		close(gone)
	})
	g := startGate(t, block(b, ""))
	ctx, leave := context.WithCancel(context.Background())
	res := g.open(ctx, "POST", "/v1/chat/completions", callerKey, chatBody("m-1", "a prompt of some length", `"stream":true`))
	in := bufio.NewReader(res.Body)
	for range 20 { // ten events, each with its blank line
		if _, err := in.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
	leave()
	res.Body.Close()
	select {
	case <-gone:
	case <-time.After(5 * time.Second):
		t.Fatal("the request to the backend was not cancelled when nobody listened any more")
	}
	eventually(t, "the request is recorded", func() bool { return g.usageOf("alice").Requests == 1 })
	if got := g.usageOf("alice"); got.Output != 30 || got.Input == 0 || got.Estimated != 1 || got.Errors != 0 {
		t.Errorf("usage %+v: want 120 bytes of text as 30 tokens, estimated", got)
	}
}

func TestFallbackWhileNothingWasWritten(t *testing.T) {
	bad := newBackend(t, answers(503, `{"error":{"message":"busy"}}`))
	good := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := startGate(t, `
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		dial_allow loopback
		backend refused 127.0.0.1:1
		backend busy `+bad.URL+`
		backend good `+good.URL+` {
			rename m-1 real-1
		}`)
	a := g.chat(callerKey, "m-1", "hi")
	if a.status != 200 || len(bad.seen()) != 1 {
		t.Fatalf("got %d %s; the busy one saw %d", a.status, a.body, len(bad.seen()))
	}
	if sent := good.last(t).body; !strings.Contains(sent, `"model":"real-1"`) {
		t.Errorf("the backend was sent %s", sent)
	}
	if got, want := g.usageOf("alice"), (result{Requests: 1, Input: 1, Output: 1}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}

func TestLimitsRefuseAndReturn(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 10, 10)))
	g := startGate(t, block(b, "limit 2 requests/hour\nlimit 1 concurrent"))
	for range 2 {
		if a := g.chat(callerKey, "m", "x"); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	a := g.chat(callerKey, "m", "x")
	if a.status != 429 || a.header.Get("Retry-After") == "" || !strings.Contains(a.body, "rate_limit_exceeded") {
		t.Errorf("got %d %v %s", a.status, a.header, a.body)
	}
	if a := g.chat(otherKey, "m", "x"); a.status != 200 {
		t.Errorf("bob pays for alice: %d %s", a.status, a.body)
	}
	if n := len(b.seen()); n != 3 {
		t.Errorf("the backend saw %d requests, want 3", n)
	}
}
