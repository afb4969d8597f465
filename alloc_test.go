//go:build unix && !race

package pinegate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/redistest"
)

// answering is a Forwarder with a fixed answer, which it meters.
type answering struct {
	media, text string
	pieces      int // in so many pieces, each of which is the text
}

const wholeChat = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`

func (a answering) Forward(_ context.Context, w http.ResponseWriter, _ *http.Request, ex *backends.Attempt) error {
	ex.Status, ex.CallerStatus, ex.Dispatched = 200, 200, true
	body := ex.Meter.Wrap(http.Header{"Content-Type": {a.media}}, 200, -1, io.NopCloser(&pieces{a.text, a.pieces}))
	controller := http.NewResponseController(w)
	var err error
	for buf := make([]byte, 4<<10); err == nil; {
		var n int
		n, err = body.Read(buf)
		if _, err := w.Write(buf[:n]); err != nil {
			return err
		}
		_ = controller.Flush()
	}
	if err != io.EOF {
		return err
	}
	return nil
}

// pieces is a Reader of left times the text, one for each Read.
type pieces struct {
	text string
	left int
}

func (p *pieces) Read(into []byte) (int, error) {
	if p.left == 0 {
		return 0, io.EOF
	}
	p.left--
	return copy(into, p.text), nil
}

// nowhere is a ResponseWriter that discards what is written.
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

func (w *nowhere) Flush() {}

// rates are the limits of a gate that has no durable store; quotas are those of one
// that has: four each, over key, team and model.
const (
	rates = `"keys": [{"id": "alice", "team": "red", "secrets": ["{env.ALLOC_TEST_KEY}"], "limits": ["1000000000 requests/second", "1000000000000 tokens/minute"]}],
		"teams": [{"name": "red", "limits": ["1000 concurrent"]}],
		"models": [{"pattern": "m*", "limits": ["1000000000 requests/second"], "price": "input 2 output 10"}],`
	quotas = `"keys": [{"id": "alice", "team": "red", "secrets": ["{env.ALLOC_TEST_KEY}"], "limits": ["1000000000 requests/second", "1000000000000 tokens/month"]}],
		"teams": [{"name": "red", "limits": ["1000 concurrent"]}],
		"models": [{"pattern": "m*", "limits": ["1000000000000 tokens/minute"], "price": "input 2 output 10"}],`
)

// allocations returns the allocations of one request, its answer included, at a
// gate with the given app and limits, without those of its backend.
func allocations(t *testing.T, app, limits string, backend answering, body string) float64 {
	t.Helper()
	const key = "a-key-for-the-allocations-0001"
	t.Setenv("ALLOC_TEST_KEY", key)
	ctx, err := caddy.ProvisionContext(&caddy.Config{AppsRaw: caddy.ModuleMap{"pinegate": json.RawMessage(app)}})
	if err != nil {
		t.Fatal(err)
	}
	h := new(Handler)
	err = json.Unmarshal([]byte(`{`+limits+`
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
		b.Forwarder = backend
	}

	w := &nowhere{header: make(http.Header)}
	in := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	in.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + key}, "Content-Length": {strconv.Itoa(len(body))}}
	in.ContentLength = int64(len(body))
	in = caddyhttp.PrepareRequest(in, caddy.NewReplacer(), w, new(caddyhttp.Server))
	caddyhttp.SetVar(in.Context(), caddyhttp.ClientIPVarKey, "127.0.0.1")
	reader := strings.NewReader(body)
	in.Body = io.NopCloser(reader)
	return testing.AllocsPerRun(1000, func() {
		clear(w.header)
		w.n = 0
		reader.Reset(body)
		h.gateway.ServeHTTP(w, in)
		if want := backend.pieces * len(backend.text); w.n != want {
			t.Fatalf("%d bytes of an answer, want %d; header %v", w.n, want, w.header)
		}
	})
}

var (
	chatAsked = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"` + strings.Repeat("words ", 200) + `"}]}`
	// A caller who asks for the usage receives it, so it receives all that was sent.
	streamAsked = `{"model":"m","max_tokens":9,"stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}`
	chatGiven   = answering{"application/json", wholeChat, 1}
)

const memoryStore = `{"store":{"type":"memory"}}`

// A request's allocations in the gate itself, four limits and a price included,
// without those of its backend. A change that raises the bound states its reason in
// the commit; one that needs less lowers it.
func TestARequestAllocatesLittle(t *testing.T) {
	most(t, 38, allocations(t, memoryStore, rates, chatGiven, chatAsked))
}

// Likewise with all that is durable: a quota, the ledger, and metrics by key.
func TestARequestWithEverythingOnAllocatesLittle(t *testing.T) {
	app := fmt.Sprintf(`{"store":{"type":"file","dir":%q},"metrics":{"per_key":true}}`, t.TempDir())
	most(t, 40, allocations(t, app, quotas, chatGiven, chatAsked))
}

// Likewise over Redis, one call of a script at a time. What the gate does by itself
// each second meanwhile is counted, too: the bound has room for a slow machine.
func TestARequestOverRedisAllocatesLittle(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	app := fmt.Sprintf(`{"store":{"type":"redis","dir":%q,"redis":{"urls":[%q],"timeout":"1m","outage":"deny"}},"metrics":{"per_key":true}}`, t.TempDir(), s.URL)
	most(t, 125, allocations(t, app, quotas, chatGiven, chatAsked))
}

// A stream's allocations do not depend on its length: a hundred times as many events
// take no more, whether the caller receives the usage that the gate asks for or not.
func TestAnEventAllocatesNothing(t *testing.T) {
	const event = `data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}` + "\n\n"
	for name, asked := range map[string]string{
		"usage asked for": streamAsked,
		"usage hidden":    strings.Replace(streamAsked, `"stream_options":{"include_usage":true},`, "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			of := func(events int) float64 {
				return allocations(t, memoryStore, rates, answering{"text/event-stream", event, events}, asked)
			}
			few := of(10)
			most(t, few+100, of(1000)) // pools are emptied now and then, and one an event would be 990
		})
	}
}

func most(t *testing.T, most, n float64) {
	t.Helper()
	if n > most {
		t.Errorf("%v allocations a request, at most %v are known of", n, most)
	}
	t.Logf("%v allocations a request", n)
}
