package backends

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
)

func TestAStreamThatBeginsWithAnErrorGivesWayToAnotherBackend(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int // 0: the stream is passed on
	}{
		"an answer":               {"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\ndata: [DONE]\n\n", 0},
		"error null":              {"data: {\"error\":null,\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n", 0},
		"a server's error":        {"data: {\"error\":{\"type\":\"server_error\",\"code\":null}}\n\n", 502},
		"behind comments":         {": PROCESSING\n\n: PROCESSING\r\n\r\ndata: {\"error\":{\"code\":503}}\r\n\r\n", 503},
		"overload":                {"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n", 529},
		"a limit":                 {"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"}}\n\n", 429},
		"lines that end in \\r":   {"event: error\rdata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\r\r", 529},
		"an error behind a chunk": {"data: {\"choices\":[]}\n\ndata: {\"error\":{\"code\":503}}\n\n", 503},
		"an error behind text":    {chatEvent + "data: {\"error\":{\"code\":503}}\n\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, proxy string) {
				upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Content-Type", "text/event-stream")
					for part := range strings.SplitAfterSeq(c.body, ":") { // may arrive in separate reads
						_, _ = io.WriteString(w, part)
						w.(http.Flusher).Flush()
					}
				})
				live := new(health.BackendState)
				p := newProxied(t, keyed, proxy, upstream.URL)
				p.prepare = alternative(live)
				_, body, out := p.do("POST", "/v1/chat/completions", `{"stream":true}`)
				var attempt *AttemptError
				if errors.As(out.err, &attempt) != (c.status != 0) || attempt != nil && attempt.Status != c.status {
					t.Fatalf("fell back: %v", out.err)
				}
				if (out.attempt.Flag == FlagErrorEvent) != (c.status != 0) {
					t.Errorf("flagged as %q", out.attempt.Flag)
				}
				if c.status == 0 && body != c.body {
					t.Errorf("passed on as %q", body)
				}
				if c.status == 429 && live.Backoff("m", "alice", time.Now()).Wait == 0 {
					t.Error("it is asked again at once")
				}
			})
		})
	}
}

// alternative returns attempts with another candidate left.
func alternative(live *health.BackendState) func(*Attempt, *http.Request) *http.Request {
	return func(ex *Attempt, r *http.Request) *http.Request {
		ex.Fallback, ex.State, ex.Model = true, live, "m"
		return r
	}
}

// The last candidate's error is an error of its status, in the caller's dialect.
func TestAStreamThatBeginsWithAnErrorIsAnErrorWhereNothingElseIsLeft(t *testing.T) {
	for body, want := range map[string]int{
		"data: {\"error\":{\"code\":503}}\n\n":                                                503,
		"data: {\"error\":{\"message\":\"m\",\"type\":\"BadRequestError\",\"code\":400}}\n\n": 400,
		"data: {\"error\":{\"type\":\"invalid_request_error\"}}\n\n":                          400,
	} {
		eachWay(t, func(t *testing.T, proxy string) {
			upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, body)
			})
			p := newProxied(t, "", proxy, upstream.URL)
			res, got, out := p.do("POST", "/v1/chat/completions", `{"stream":true}`)
			if res.StatusCode != want || !strings.HasPrefix(got, `{"error":{"message":`) || out.err != nil {
				t.Errorf("%d %q, %v", res.StatusCode, got, out.err)
			}
		})
	}
}

// An error event stands for a status, and concerns the key as the status does.
func TestAStreamThatBeginsWithALimitIsTriedWithAnotherKey(t *testing.T) {
	t.Setenv("PINEGATE_OTHER_KEY", "sk-other-2b8e")
	eachWay(t, func(t *testing.T, proxy string) {
		upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			if r.Header.Get("Authorization") == "Bearer "+canary {
				_, _ = io.WriteString(w, "data: {\"error\":{\"code\":429}}\n\n")
				return
			}
			_, _ = io.WriteString(w, chatEvent)
		})
		live := new(health.BackendState)
		p := newProxied(t, `"api_keys":["{env.PINEGATE_TEST_KEY}","{env.PINEGATE_OTHER_KEY}"]`, proxy, upstream.URL)
		p.prepare = alternative(live)
		for range 3 { // the keys are used in turn
			if _, body, out := p.do("POST", "/v1/chat/completions", `{"stream":true}`); out.err != nil || body != chatEvent {
				t.Errorf("%q, %v", body, out.err)
			}
		}
		if live.Backoff("m", "alice", time.Now()) != (health.Backoff{}) {
			t.Error("the backend cools down for one of its keys")
		}
	})
}

// Until the first event is complete nothing has been passed on.
func TestAStreamThatBreaksOffWithinItsFirstEventGivesWay(t *testing.T) {
	eachWay(t, func(t *testing.T, proxy string) {
		upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = io.WriteString(w, ": PROCESSING\n\ndata: {\"cho")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		})
		p := newProxied(t, "", proxy, upstream.URL)
		p.prepare = alternative(new(health.BackendState))
		res, _, out := p.do("POST", "/v1/chat/completions", `{"stream":true}`)
		var attempt *AttemptError
		if res.StatusCode != http.StatusTeapot || !errors.As(out.err, &attempt) || out.attempt.Status != 0 {
			t.Errorf("the caller got %d, the handler %v of status %d", res.StatusCode, out.err, out.attempt.Status)
		}
	})
}
