package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// stalling is a backend that hangs where the request's title says, until it is
// cancelled, and returns when that was.
func stalling(t *testing.T) (b *backend, cancelled chan struct{}) {
	cancelled = make(chan struct{}, 100)
	hang := func(r *http.Request) {
		<-r.Context().Done()
		cancelled <- struct{}{}
	}
	return newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		flush := func(contentType, body string) {
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
			w.(http.Flusher).Flush()
		}
		switch r.Header.Get("X-Title") {
		case "before the header":
		case "behind the header":
			flush(streamType, "")
		case "within the JSON":
			flush(jsonType, chatAnswer("cut", 3, 2)[:40])
		case "within the stream":
			flush(streamType, brokenStreams[r.URL.Path].begin)
		case "stored":
			if r.Method == "POST" {
				answers(200, `{"id":"resp_1","object":"response","model":"m","output":[],"usage":{"input_tokens":1,"output_tokens":1}}`)(w, r)
				return
			}
		}
		hang(r)
	}), cancelled
}

// impatient is a gate with a timeout for backends: `slow` and `claude` are one
// that stalls, `spare` serves some of their models.
func impatient(t *testing.T, timeout string, slow, spare *backend, way func(string) string) *gate {
	return startGate(t, way(fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY} {
			limit 1 concurrent
		}
		dial_allow loopback
		backend slow %[1]s {
			api_key {env.BACKEND_KEY}
			%[3]s
		}
		backend claude %[1]s {
			api anthropic
			api_key {env.BACKEND_KEY}
			%[3]s
		}
		backend spare %[2]s {
			models spared
		}`, slow.URL, spare.URL, timeout)))
}

// direct leaves a gate's block as it is: see eachWay.
func direct(block string) string { return block }

// placeIsFree waits until a key's only place is.
func (g *gate) placeIsFree() {
	g.t.Helper()
	eventually(g.t, "the place is free", func() bool { return g.keyInfo(callerKey).limit("concurrent", "").Remaining == 1 })
}

func TestABackendThatDoesNotBeginGivesWay(t *testing.T) {
	t.Parallel()
	eachWay(t, testABackendThatDoesNotBeginGivesWay)
}

func testABackendThatDoesNotBeginGivesWay(t *testing.T, way func(string) string) {
	b, cancelled := stalling(t)
	spare := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		streams(nil, chunk("spare"), done)(w, r)
	})
	g := impatient(t, "first_token_timeout 300ms", b, spare, way)
	for _, where := range []string{"before the header", "behind the header"} {
		a := g.do("POST", "/v1/chat/completions", callerKey, chatBody("spared", "hi", `"stream":true`), "X-Title", where)
		if a.status != 200 || !strings.Contains(a.body, "spare") {
			t.Errorf("%s: %d %s", where, a.status, a.body)
		}
		<-cancelled
		for path, want := range map[string]string{
			"/v1/chat/completions": `"code":"upstream_timeout"`,
			"/v1/messages":         `"type":"timeout_error"`,
		} {
			a := g.do("POST", path, callerKey, streamBodies[path], "X-Title", where) // the timeout is for streams
			if a.status != 504 || !strings.Contains(a.body, want) {
				t.Errorf("%s %s: %d %s", path, where, a.status, a.body)
			}
			<-cancelled
			g.placeIsFree()
		}
	}
	// The two that `spare` answered are records of its own; the four that nobody
	// answered cost nothing.
	if got := g.usageOf("alice"); got.Requests != 6 || got.Errors != 4 {
		t.Errorf("usage %+v", got)
	}

	eventually(t, "a response is stored", func() bool { // which this gate may find slow
		return g.do("POST", "/v1/responses", callerKey, dialectBodies["/v1/responses"], "X-Title", "stored").status == 200
	})
	a := g.do("GET", "/v1/responses/resp_1", callerKey, "", "X-Title", "stored")
	if a.status != 504 || !strings.Contains(a.body, "upstream_timeout") {
		t.Errorf("a stored response: %d %s", a.status, a.body)
	}
	<-cancelled
}

func TestABackendThatStallsMidwayIsCancelledAndItsStreamEnded(t *testing.T) {
	t.Parallel()
	eachWay(t, testABackendThatStallsMidwayIsCancelledAndItsStreamEnded)
}

func testABackendThatStallsMidwayIsCancelledAndItsStreamEnded(t *testing.T, way func(string) string) {
	b, cancelled := stalling(t)
	g := impatient(t, "idle_timeout 300ms", b, b, way)
	for path, stream := range brokenStreams {
		a := g.do("POST", path, callerKey, streamBodies[path], "X-Title", "within the stream")
		want := strings.NewReplacer("The model server failed to answer.", "The model server took too long to answer.",
			"upstream_error", "upstream_timeout", "api_error", "timeout_error").Replace(stream.begin + stream.end)
		if a.status != 200 || a.body != want {
			t.Errorf("%s: %d\n%s\nwant\n%s", path, a.status, a.body, want)
		}
		<-cancelled
		g.placeIsFree()
	}
	res := g.open(context.Background(), "POST", "/v1/chat/completions", callerKey, chatBody("m", "hi"), "X-Title", "within the JSON")
	if text, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("the caller takes %q for a whole answer", text)
	}
	res.Body.Close()
	<-cancelled
	g.placeIsFree()
	eventually(t, "all are recorded as timeouts", func() bool {
		return g.usageOf("alice").Errors == 5 && strings.Count(g.Logs.String(), `"outcome":"timeout"`) >= 5
	})
}

func TestADrainedBackendThatStallsIsGivenUp(t *testing.T) {
	s := newSlow(t, 2)
	s.stalled.Store(true)
	g := drained(t, s, "on_disconnect drain 10m\nidle_timeout 2s", direct)
	leave(t, g)
	<-s.gone
	eventually(t, "the request is recorded as one whose caller left", func() bool {
		return g.usageOf("alice").Requests == 1 && strings.Contains(g.Logs.String(), `"outcome":"client_closed"`)
	})
	g.placeIsFree()
}

// loneCR makes a stream of lines that end in \r and nothing else.
var loneCR = strings.NewReplacer("\n", "\r")

func loneCRs(events ...string) (all []string) {
	for _, event := range events {
		all = append(all, loneCR.Replace(event))
	}
	return all
}

func TestSilenceWithinAStreamIsBridgedInItsDialect(t *testing.T) {
	t.Parallel()
	eachWay(t, testSilenceWithinAStreamIsBridgedInItsDialect)
}

func testSilenceWithinAStreamIsBridgedInItsDialect(t *testing.T, way func(string) string) {
	const comment, ping = ": ping\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n"
	hidden := strings.NewReplacer(`,"usage":null`, "")
	streamed := map[string]struct {
		path, body, ping string
		events           []string
		want             func(string) string // what the caller sees of an event
		usage            result
	}{
		"chat":               {"/v1/chat/completions", streamBodies["/v1/chat/completions"], comment, []string{chunk("one"), chunk("two"), usageChunk(9, 5) + done}, nil, result{Requests: 1, Input: 9, Output: 5}},
		"chat, usage hidden": {"/v1/chat/completions", chatBody("m", "hi", `"stream":true`), comment, []string{chunk("one"), chunk("two"), done}, hidden.Replace, result{Requests: 1, Input: 9, Output: 2, Estimated: 1}},
		"responses":          {"/v1/responses", streamBodies["/v1/responses"], comment, responsesStream, nil, result{Requests: 1, Input: 31, Cached: 5, Output: 17}},
		"messages":           {"/v1/messages", streamBodies["/v1/messages"], ping, messagesStream, nil, result{Requests: 1, Input: 2310, Cached: 2000, Output: 12}},
		"chat, lone CR": {"/v1/chat/completions", streamBodies["/v1/chat/completions"], loneCR.Replace(comment),
			loneCRs(chunk("one"), chunk("two"), usageChunk(9, 5)+done), nil, result{Requests: 1, Input: 9, Output: 5}},
		"messages, lone CR": {"/v1/messages", streamBodies["/v1/messages"], loneCR.Replace(ping),
			loneCRs(messagesStream...), nil, result{Requests: 1, Input: 2310, Cached: 2000, Output: 12}},
	}
	resume := make(map[string]chan struct{})
	for name := range streamed {
		resume[name+" over HTTP/1.1"], resume[name+" over HTTP/2.0"] = make(chan struct{}), make(chan struct{})
	}
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		title := r.Header.Get("X-Title")
		name, _, _ := strings.Cut(title, " over ")
		events := streamed[name].events
		w.Header().Set("Content-Type", streamType)
		flush := func(s string) {
			_, _ = io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
		flush(events[0])
		<-resume[title]
		half := len(events[1]) / 2
		flush(events[1][:half])
		wait(r, 700*time.Millisecond) // within an event
		flush(events[1][half:])
		for _, event := range events[2:] {
			flush(event)
		}
		wait(r, 700*time.Millisecond) // behind the end
	})
	g := newGate(t)
	g.start(g.caddyfile("servers {\nprotocols h1 h2c\n}", way(bothDialects(b, "keepalive 100ms"))))
	two := &http.Transport{Protocols: new(http.Protocols)}
	two.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(two.CloseIdleConnections)
	var want result
	t.Run("each", func(t *testing.T) {
		for name, s := range streamed {
			want.Requests += 2 * s.usage.Requests
			want.Input += 2 * s.usage.Input
			want.Cached += 2 * s.usage.Cached
			want.Output += 2 * s.usage.Output
			want.Estimated += 2 * s.usage.Estimated
			for proto, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "HTTP/2.0": {Transport: two}} {
				title := name + " over " + proto
				t.Run(title, func(t *testing.T) {
					t.Parallel()
					req, err := http.NewRequest("POST", g.url+s.path, strings.NewReader(s.body))
					if err != nil {
						t.Fatal(err)
					}
					req.Header.Set("Content-Type", jsonType)
					req.Header.Set("Authorization", "Bearer "+callerKey)
					req.Header.Set("X-Title", title)
					res, err := client.Do(req)
					if err != nil {
						t.Fatal(err)
					}
					defer res.Body.Close()
					want := s.want
					if want == nil {
						want = func(event string) string { return event }
					}
					in := bufio.NewReader(res.Body)
					for _, part := range []string{want(s.events[0]), s.ping, s.ping} {
						got := make([]byte, len(part))
						if _, err := io.ReadFull(in, got); err != nil || string(got) != part || res.Proto != proto {
							t.Fatalf("got %q over %s (%v), want %q", got, res.Proto, err, part)
						}
					}
					resume[title] <- struct{}{}
					rest, err := io.ReadAll(in)
					text := string(rest)
					for strings.HasPrefix(text, s.ping) { // until the backend went on
						text = text[len(s.ping):]
					}
					if all := want(strings.Join(s.events[1:], "")); err != nil || text != all {
						t.Errorf("got\n%s\n(%v), want\n%s", rest, err, all)
					}
				})
			}
		}
	})
	if got := g.usageOf("alice"); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}

func TestWhatIsNoStreamGetsNoKeepAlive(t *testing.T) {
	answer := chatAnswer("slow", 3, 2)
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Title") == "JSON" {
			w.Header().Set("Content-Type", jsonType)
			_, _ = io.WriteString(w, answer[:20])
			w.(http.Flusher).Flush()
			wait(r, 700*time.Millisecond)
			_, _ = io.WriteString(w, answer[20:])
			return
		}
		wait(r, 700*time.Millisecond) // before the first byte
		streams(nil, chunk("late"), done)(w, r)
	})
	g := startGate(t, block(b, "keepalive 100ms"))
	if a := g.do("POST", "/v1/chat/completions", callerKey, chatBody("m", "hi", `"stream":true`), "X-Title", "JSON"); a.body != answer {
		t.Errorf("JSON in spite of stream: %s", a.body)
	}
	if a := g.do("POST", "/v1/chat/completions", callerKey, chatBody("m", "hi", `"stream":true`)); strings.Contains(a.body, "ping") {
		t.Errorf("before the first byte: %s", a.body)
	}
}
