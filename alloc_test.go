//go:build !race

package pinegate

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/backends"
)

// answering is a way to a backend that has the answer of a chat, metered.
type answering struct{}

const wholeChat = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`

func (answering) Forward(_ context.Context, w http.ResponseWriter, _ *http.Request, ex *backends.Exchange) error {
	ex.Status, ex.CallerStatus, ex.Dispatched = 200, 200, true
	header := http.Header{"Content-Type": {"application/json"}}
	_, err := io.Copy(w, ex.Meter.Wrap(header, 200, int64(len(wholeChat)), io.NopCloser(strings.NewReader(wholeChat))))
	return err
}

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct {
	header http.Header
	n      int
}

func (w *nowhere) Header() http.Header { return w.header }
func (w *nowhere) WriteHeader(int)     {}
func (w *nowhere) Write(p []byte) (int, error) {
	w.n += len(p)
	return len(p), nil
}

// What a request allocates in the gate itself, four limits and a price included,
// beside what its backend takes. Whoever needs more than this has a reason that
// belongs into the commit; whoever needs less lowers it.
func TestARequestAllocatesLittle(t *testing.T) {
	const most = 35
	const key = "a-key-for-the-allocations-0001"
	t.Setenv("ALLOC_TEST_KEY", key)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"pinegate": json.RawMessage(`{"store":{"type":"memory"}}`)}})
	if err != nil {
		t.Fatal(err)
	}
	h := new(Handler)
	err = json.Unmarshal([]byte(`{
		"keys": [{"id": "alice", "team": "red", "secrets": ["{env.ALLOC_TEST_KEY}"], "limits": ["1000000000 requests/second", "1000000000000 tokens/minute"]}],
		"teams": [{"name": "red", "limits": ["1000 concurrent"]}],
		"models": [{"pattern": "m*", "limits": ["1000000000 requests/second"], "price": "input 2 output 10"}],
		"backends": [{"name": "b", "proxy": {"handler": "reverse_proxy", "upstreams": [{"dial": "127.0.0.1:1"}], "transport": {"protocol": "pinegate"}}}]
	}`), h)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Cleanup() })
	for _, b := range h.gateway.Backends {
		b.Forwarder = answering{}
	}

	body := `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"` + strings.Repeat("words ", 200) + `"}]}`
	w := &nowhere{header: make(http.Header)}
	in := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	in.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + key}, "Content-Length": {strconv.Itoa(len(body))}}
	in.ContentLength = int64(len(body))
	in = caddyhttp.PrepareRequest(in, caddy.NewReplacer(), w, new(caddyhttp.Server))
	caddyhttp.SetVar(in.Context(), caddyhttp.ClientIPVarKey, "127.0.0.1")
	reader := strings.NewReader(body)
	in.Body = io.NopCloser(reader)
	n := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		w.n = 0
		reader.Reset(body)
		h.gateway.ServeHTTP(w, in)
		if w.n != len(wholeChat) {
			t.Fatalf("%d bytes of an answer, header %v", w.n, w.header)
		}
	})
	if n > most {
		t.Errorf("%v allocations a request, at most %d are known of", n, most)
	}
	t.Logf("%v allocations a request", n)
}
