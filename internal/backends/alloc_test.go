//go:build !race

package backends

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

// answers is a transport that returns this chat completion.
type answers struct{}

const wholeChat = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`

func (answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(wholeChat)),
		Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {"195"}, "Date": {"x"}},
		Body:   io.NopCloser(strings.NewReader(wholeChat)),
	}, nil
}

// The bound on what a request to a plain backend allocates in this package. A
// commit that raises it must give the reason; one that allocates less must lower
// it.
func TestADirectRequestAllocatesLittle(t *testing.T) {
	const most = 26
	tr := provision(t, "")
	tr.next = answers{}
	d := &Direct{transport: tr, to: []upstream{{host: "model.example"}}}
	in := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	in.Header = header(callerHeaders...)
	live := new(health.Set).Get("b")
	body := rawBody([]byte(`{"model":"m","messages":[]}`))
	w := &flushes{header: make(http.Header)}
	n := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		w.text.Reset()
		ex := &Attempt{Endpoint: wire.Chat, HasBody: true, Body: body, State: live, Meter: meter.New(meter.Config{Endpoint: wire.Chat})}
		if err := d.Forward(t.Context(), w, in, ex); err != nil || w.text.String() != wholeChat {
			t.Fatalf("%v: %s", err, w.text.String())
		}
	})
	if n > most {
		t.Errorf("%v allocations a request, at most %d are known of", n, most)
	}
	t.Logf("%v allocations a request", n)
}

// streaming is a transport that returns a stream of so many events, one for each
// Read.
type streaming int

func (n streaming) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: -1,
		Header: http.Header{"Content-Type": {"text/event-stream"}},
		Body:   io.NopCloser(&times{int(n)}),
	}, nil
}

const oneEvent = `data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}],"usage":null}` + "\n\n"

// times returns an event from each Read, so many times.
type times struct{ left int }

func (r *times) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	r.left--
	return copy(p, oneEvent), nil
}

// lengths only counts the bytes that were written.
type lengths struct {
	header http.Header
	n      int
}

func (w *lengths) Header() http.Header { return w.header }
func (w *lengths) WriteHeader(int)     {}
func (w *lengths) Flush()              {}
func (w *lengths) Write(p []byte) (int, error) {
	w.n += len(p)
	return len(p), nil
}

// A stream from a plain backend allocates once: a hundred times as many events
// allocate no more.
func TestAnEventOfADirectStreamAllocatesNothing(t *testing.T) {
	tr := provision(t, "")
	d := &Direct{transport: tr, to: []upstream{{host: "model.example"}}}
	in := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	in.Header = header(callerHeaders...)
	body := rawBody([]byte(`{"model":"m","stream":true,"messages":[]}`))
	w := &lengths{header: make(http.Header)}
	of := func(n streaming) float64 {
		tr.next = n
		return testing.AllocsPerRun(100, func() {
			clear(w.header)
			w.n = 0
			ex := &Attempt{Endpoint: wire.Chat, HasBody: true, Body: body, Meter: meter.New(meter.Config{Endpoint: wire.Chat})}
			if err := d.Forward(t.Context(), w, in, ex); err != nil || w.n != int(n)*len(oneEvent) {
				t.Fatalf("%v: %d bytes", err, w.n)
			}
		})
	}
	few := of(10)
	if many := of(1000); many > few+100 { // pools are emptied at times; one allocation per event would be 990
		t.Errorf("%v allocations a stream of 1000 events, and %v of 10", many, few)
	}
}
