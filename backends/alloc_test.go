//go:build !race

package backends

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/wire"
)

// answers is a transport that has the answer of a chat.
type answers struct{}

const wholeChat = `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`

func (answers) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, ContentLength: int64(len(wholeChat)),
		Header: http.Header{"Content-Type": {"application/json"}, "Content-Length": {"195"}, "Date": {"x"}},
		Body:   io.NopCloser(strings.NewReader(wholeChat)),
	}, nil
}

// What a request allocates on its way to a plain backend is what it costs there.
// Whoever needs more than this has a reason that belongs into the commit; whoever
// needs less lowers it.
func TestADirectRequestAllocatesLittle(t *testing.T) {
	const most = 26
	tr := provision(t, "")
	tr.next = answers{}
	d := &Direct{transport: tr, to: []upstream{{host: "model.example"}}}
	in := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	in.Header = header(callerHeaders...)
	live := new(LiveSet).Get("b")
	body := rawBody([]byte(`{"model":"m","messages":[]}`))
	w := &flushes{header: make(http.Header)}
	n := testing.AllocsPerRun(1000, func() {
		clear(w.header)
		w.text.Reset()
		ex := &Exchange{Endpoint: wire.Chat, HasBody: true, Body: body, Live: live, Meter: wire.NewMeter(wire.MeterConfig{Endpoint: wire.Chat})}
		if err := d.Forward(t.Context(), w, in, ex); err != nil || w.text.String() != wholeChat {
			t.Fatalf("%v: %s", err, w.text.String())
		}
	})
	if n > most {
		t.Errorf("%v allocations a request, at most %d are known of", n, most)
	}
	t.Logf("%v allocations a request", n)
}
