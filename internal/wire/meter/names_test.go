package meter

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// spell gives Messages' dialect names of its own for the test.
func spell(t *testing.T) {
	before := wire.Anthropic.AnswerNames
	t.Cleanup(func() { wire.Anthropic.AnswerNames = before })
	wire.Anthropic.AnswerNames = wire.Names{
		"counts": "usage", "in": "input_tokens", "out": "output_tokens",
		"piece": "delta", "finished": "message_stop", "engine": "model", "problem": "error",
	}
}

func TestADialectMayHaveNamesOfItsOwn(t *testing.T) {
	spell(t)
	const counts = `"counts":{"in":3,"out":2},"usage":{"input_tokens":70,"output_tokens":80}`
	for name, c := range map[string]struct {
		contentType, body string
		delivered         int64
		failed            bool
	}{
		"an answer":    {"application/json", `{"engine":"m","text":"Hi",` + counts + `}`, 2, false},
		"a stream":     {"text/event-stream", "data: {\"engine\":\"m\",\"piece\":\"Hi\"}\n\ndata: {\"type\":\"finished\"," + counts + "}\n\n", 2, false},
		"a failure":    {"text/event-stream", "data: {\"engine\":\"m\"," + counts + "}\n\ndata: {\"problem\":\"x\",\"type\":\"finished\"}\n\n", 0, true},
		"the gate's":   {"text/event-stream", "data: {\"engine\":\"m\",\"delta\":\"Hi\"," + counts + "}\n\ndata: {\"type\":\"finished\"}\n\n", 0, false},
		"byte by byte": {"text/event-stream", "data: {\"engine\":\"m\",\"piece\":\"Hi\"," + counts + ",\"type\":\"finished\"}\n\n", 2, false},
	} {
		t.Run(name, func(t *testing.T) {
			var body io.ReadCloser = io.NopCloser(strings.NewReader(c.body))
			if name == "byte by byte" {
				body = byteByByte([]byte(c.body))
			}
			m := New(Config{Endpoint: wire.Messages})
			if _, err := io.ReadAll(m.Wrap(http.Header{"Content-Type": {c.contentType}}, 200, -1, body)); err != nil {
				t.Fatal(err)
			}
			r := m.Result()
			if r.Input != 3 || r.Output != 2 || r.Model != "m" || r.Delivered != c.delivered || !r.Complete || r.StreamError != c.failed {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestNamesOfADialectAllocateNothing(t *testing.T) {
	spell(t)
	m := New(Config{Endpoint: wire.Messages})
	r := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, endless("data: {\"piece\":\"Hi\",\"counts\":{\"in\":3,\"out\":2}}\n\n"))
	buf := make([]byte, 1<<10)
	r.Read(buf)
	if n := testing.AllocsPerRun(100, func() { r.Read(buf) }); n > 0 {
		t.Errorf("%v allocations an event", n)
	}
}
