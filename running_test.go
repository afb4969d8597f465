package pinegate

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/control"
)

// Caddy opens its admin endpoint, and listeners, before the apps of its first
// configuration have started. Requests then get a Retry-After.
func TestTheAdminEndpointSaysThatTheGateIsStarting(t *testing.T) {
	if _, err := runningApp(); !errors.Is(err, control.ErrStarting) {
		t.Fatalf("before the start: %v", err)
	}
	routes := (*AdminAPI)(nil).Routes()
	for _, route := range routes {
		path := route.Pattern
		if path == control.Base {
			path += "status"
		}
		w := httptest.NewRecorder()
		err := route.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		said := w.Body.String()
		if err != nil {
			said = err.Error()
		}
		if w.Header().Get("Retry-After") != "1" || !strings.Contains(said, "starting") {
			t.Errorf("%s: %q, Retry-After %q", path, said, w.Header().Get("Retry-After"))
		}
	}
}

// An app that has started is found at once, and the one before it again where a
// reload fails.
func TestTheNewestAppThatRunsIsTheOneThatIsOperated(t *testing.T) {
	before, after := new(App), new(App)
	expect := func(want *App) {
		t.Helper()
		if app := running.newest(); app != want || running.starting() != (want == nil) {
			t.Errorf("the newest is %p, want %p", app, want)
		}
	}
	running.add(before)
	expect(before)
	running.add(after)
	expect(after)
	if app, err := runningApp(); app != after || err != nil {
		t.Errorf("%p, %v", app, err)
	}
	running.remove(after)
	expect(before)
	running.remove(before)
	expect(nil)
}
