package integration

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// Two backends, of which the first is too busy for the one response that is
// made: what continues it must go to the second, and come from its maker.
func TestStoredResponseIsForItsMakerAndStaysAtItsBackend(t *testing.T) {
	var busy atomic.Bool
	busy.Store(true)
	response := func(id string) string {
		return fmt.Sprintf(`{"id":%q,"object":"response","model":"m","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`, id)
	}
	server := func(id string, refuse func() bool) *backend {
		return newBackend(t, func(w http.ResponseWriter, r *http.Request) {
			switch {
			case refuse():
				refuses(503, jsonType, "{}")(w, r)
			case r.Method == http.MethodGet && r.URL.Path != "/base/responses/"+id:
				refuses(404, jsonType, `{"error":{"message":"not mine"}}`)(w, r)
			default:
				answers(200, response(id))(w, r)
			}
		})
	}
	first := server("resp_first", busy.Load)
	second := server("resp_second", func() bool { return false })
	g := startGate(t, fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key bob {env.OTHER_KEY}
		dial_allow loopback
		backend first %s/base {
			api_key {env.BACKEND_KEY}
		}
		backend second %s/base {
			api_key {env.BACKEND_KEY}
			rename m theirs
		}`, first.URL, second.URL))

	if a := g.do("POST", "/v1/responses", callerKey, `{"model":"m","input":"x"}`); a.status != 200 || a.body != response("resp_second") {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	busy.Store(false)
	firstSaw := len(first.seen())

	const next = `{"model":"m","input":"y","previous_response_id":"resp_second"}`
	if a := g.do("POST", "/v1/responses", callerKey, next); a.status != 200 || a.body != response("resp_second") {
		t.Errorf("continued: %d %s", a.status, a.body)
	}
	if got, want := second.last(t).body, strings.Replace(next, `"m"`, `"theirs"`, 1); got != want {
		t.Errorf("the backend was sent %s", got)
	}
	got := g.do("GET", "/v1/responses/resp_second", callerKey, "")
	if got.status != 200 || got.body != response("resp_second") {
		t.Errorf("fetched: %d %s", got.status, got.body)
	}
	if sent := second.last(t); sent.method != "GET" || sent.path != "/base/responses/resp_second" || sent.header.Get("Authorization") != "Bearer "+backendKey {
		t.Errorf("the backend saw %s %s with %q", sent.method, sent.path, sent.header.Get("Authorization"))
	}

	secondSaw := len(second.seen())
	for name, a := range map[string]answer{
		"another's response is continued": g.do("POST", "/v1/responses", otherKey, next),
		"an unknown one is continued":     g.do("POST", "/v1/responses", callerKey, strings.Replace(next, "resp_second", "resp_unknown", 1)),
	} {
		if a.status != 400 || !strings.Contains(a.body, `"param":"previous_response_id","code":"previous_response_not_found"`) {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	theirs := g.do("GET", "/v1/responses/resp_second", otherKey, "")
	unknown := g.do("GET", "/v1/responses/resp_unknown", callerKey, "")
	if theirs.status != 404 || theirs.body != unknown.body || unknown.status != 404 {
		t.Errorf("another's is told apart from an unknown one: %d %s and %d %s", theirs.status, theirs.body, unknown.status, unknown.body)
	}
	if len(second.seen()) != secondSaw || len(first.seen()) != firstSaw {
		t.Error("a backend was asked for a response of another key")
	}
	if got, want := g.usageOf("alice"), (result{Requests: 2, Input: 6, Output: 4}); got != want {
		t.Errorf("usage %+v, want %+v: what is only fetched costs nothing", got, want)
	}
}
