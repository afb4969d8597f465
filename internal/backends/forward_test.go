package backends

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// An operator's route may write a response and then return an error. The caller
// of Forward writes an error response if it gets an error.
func TestNothingFollowsWhatARouteHasWritten(t *testing.T) {
	failed := errors.New("the route failed")
	for name, c := range map[string]struct {
		write func(http.ResponseWriter)
		cut   bool
	}{
		"a body":        {func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") }, true},
		"a status":      {func(w http.ResponseWriter) { w.WriteHeader(200) }, true},
		"an early hint": {func(w http.ResponseWriter) { w.WriteHeader(103) }, false},
		"nothing":       {func(http.ResponseWriter) {}, false},
	} {
		routes := caddyhttp.MiddlewareHandler(middleware(func(w http.ResponseWriter) error { c.write(w); return failed }))
		way := &Proxied{Proxy: routes, Routes: true}
		var err error
		panicked := func() (cause any) {
			defer func() { cause = recover() }()
			err = way.Forward(context.Background(), httptest.NewRecorder(), httptest.NewRequest("POST", "/v1/chat/completions", nil), &Attempt{Endpoint: wire.Chat})
			return nil
		}()
		if c.cut && panicked != http.ErrAbortHandler || !c.cut && (panicked != nil || !errors.Is(err, failed)) {
			t.Errorf("%s: panic %v, error %v", name, panicked, err)
		}
	}
}

func TestRoutesOfTheOperatorAreWatched(t *testing.T) {
	for proxy, want := range map[string]bool{`"handle_response":[{"match":{"status_code":[5]}}]`: true, `"headers":{"response":{"set":{"X-A":["b"]}}}`: false} {
		p := newProxied(t, "", proxy, "127.0.0.1:1")
		if way, ok := p.way.(*Proxied); !ok || way.Routes != want {
			t.Errorf("%s: %+v", proxy, p.way)
		}
	}
}

type middleware func(http.ResponseWriter) error

func (m middleware) ServeHTTP(w http.ResponseWriter, _ *http.Request, _ caddyhttp.Handler) error {
	return m(w)
}
