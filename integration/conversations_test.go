package integration

import (
	"fmt"
	"io"
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
		t.Errorf("another's differs from an unknown one: %d %s and %d %s", theirs.status, theirs.body, unknown.status, unknown.body)
	}
	if len(second.seen()) != secondSaw || len(first.seen()) != firstSaw {
		t.Error("a backend was asked for a response of another key")
	}
	if got, want := g.usageOf("alice"), (result{Requests: 2, Input: 6, Output: 4}); got != want {
		t.Errorf("usage %+v, want %+v: what is only fetched costs nothing", got, want)
	}
}

// OpenAI's clients ask for parts of a stored response, and for it as a stream, in the
// query, of which nothing else leaves the gate.
func TestStoredResponseIsFetchedAsItIsAskedFor(t *testing.T) {
	eachWay(t, testStoredResponseIsFetchedAsItIsAskedFor)
}

func testStoredResponseIsFetchedAsItIsAskedFor(t *testing.T, way func(string) string) {
	const stored = `{"id":"resp_1","object":"response","model":"m","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`
	next := make(chan struct{})
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Query().Get("stream") == "true" {
			streams(func(r *http.Request) {
				select {
				case <-next: // sent by a caller who has seen the event before
				case <-r.Context().Done():
				}
			}, responsesStream...)(w, r)
			return
		}
		answers(200, stored)(w, r)
	})
	g := startGate(t, way(block(b, "")))
	if a := g.do("POST", "/v1/responses", callerKey, `{"model":"m","input":"x"}`); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	for asked, want := range map[string]string{
		"":                               "",
		"?include[]=a&include[]=b":       "include%5B%5D=a&include%5B%5D=b",
		"?include%5B%5D=c%26model%3Dx":   "include%5B%5D=c%26model%3Dx",
		"?starting_after=7&stream=false": "starting_after=7&stream=false",
		"?model=other&include[]=a&Stream=true&user=x&api-version=1": "include%5B%5D=a",
		"?include=a&stream[]=true&background=true":                  "",
		"?stream=false;stream=true":                                 "",
	} {
		a := g.do("GET", "/v1/responses/resp_1"+asked, callerKey, "")
		if sent := b.last(t); a.status != 200 || a.body != stored || sent.method != "GET" || sent.path != "/v1/responses/resp_1" || sent.query != want {
			t.Errorf("%s: %d %s; the backend was asked for %s?%s, want ?%s", asked, a.status, a.body, sent.path, sent.query, want)
		}
	}
	seen := len(b.seen())
	if a := g.do("GET", "/v1/responses/resp_1?stream=false&api_key=x", callerKey, ""); a.status != 401 || len(b.seen()) != seen {
		t.Errorf("a key in the query: %d %s", a.status, a.body)
	}

	before := g.usageOf("alice")
	res := g.open(t.Context(), "GET", "/v1/responses/resp_1?starting_after=2&stream=true", callerKey, "")
	defer res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != streamType {
		t.Fatalf("got %d %v", res.StatusCode, res.Header)
	}
	for i, event := range responsesStream { // each comes while the backend waits for the word to go on
		if i > 0 {
			next <- struct{}{}
		}
		got := make([]byte, len(event))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != event {
			t.Fatalf("event %d is %q (%v), want %q", i, got, err, event)
		}
	}
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("behind the end: %q (%v)", rest, err)
	}
	if sent := b.last(t); sent.query != "starting_after=2&stream=true" {
		t.Errorf("the backend was asked with %q", sent.query)
	}
	if after := g.usageOf("alice"); after != before {
		t.Errorf("usage went from %+v to %+v: what is only fetched costs nothing", before, after)
	}
}
