package backends

import (
	"errors"
	"io"
	"net/http"
	"testing"
	"time"
)

func TestAStreamThatBeginsWithAnErrorGivesWayToAnotherBackend(t *testing.T) {
	for name, c := range map[string]struct {
		body   string
		status int // 0: it is passed on
	}{
		"an answer":               {"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"error\\\"\"}}]}\n\ndata: [DONE]\n\n", 0},
		"error null":              {"data: {\"error\":null,\"choices\":[]}\n\n", 0},
		"a server's error":        {"data: {\"error\":{\"type\":\"server_error\",\"code\":null}}\n\n", 502},
		"behind comments":         {": PROCESSING\n\n: PROCESSING\r\n\r\ndata: {\"error\":{\"code\":503}}\r\n\r\n", 503},
		"overload":                {"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n", 529},
		"a limit":                 {"event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\"}}\n\n", 429},
		"the caller's own":        {"data: {\"error\":{\"type\":\"invalid_request_error\"}}\n\n", 0},
		"the caller's, a number":  {"data: {\"error\":{\"type\":\"BadRequestError\",\"code\":400}}\n\n", 0},
		"an error behind a chunk": {"data: {\"choices\":[]}\n\ndata: {\"error\":{\"code\":503}}\n\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				_, _ = io.WriteString(w, c.body)
			})
			live := new(Live)
			p := newProxied(t, keyed, "", upstream.URL)
			p.prepare = func(ex *Exchange, r *http.Request) *http.Request {
				ex.Fallback, ex.Live, ex.Model = true, live, "m"
				return r
			}
			_, body, out := p.do("POST", "/v1/chat/completions", `{"stream":true}`)
			var attempt *AttemptError
			if errors.As(out.err, &attempt) != (c.status != 0) || attempt != nil && attempt.Status != c.status {
				t.Fatalf("fell back: %v", out.err)
			}
			if c.status == 0 && body != c.body {
				t.Errorf("passed on as %q", body)
			}
			if c.status == 429 && live.Cooling("m", time.Now()).Wait == 0 {
				t.Error("it is asked again at once")
			}
		})
	}
}
