package request

import (
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestAConversationIsKnownByWhatAllOfItsTurnsRepeat(t *testing.T) {
	long := make([]byte, 2*startBytes)
	for i := range long {
		long[i] = 'x'
	}
	for name, test := range map[string]struct {
		endpoint    wire.Endpoint
		first, next string
		want        string // of both
	}{
		"messages": {wire.Chat,
			`{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
			`{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"},{"role":"user","content":"bye"}]}`,
			`{"role":"user","content":"hi"}`},
		"behind instructions": {wire.Chat,
			`{"messages":[{"content":[{"role":"user"}],"role":"system"}, {"role":"developer"}, {"role":"user","content":"hi"}],"model":"m"}`,
			`{"model":"n","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"},{"role":"assistant","content":"yes?"}]}`,
			`{"role":"user","content":"hi"}`},
		"input": {wire.Responses,
			`{"model":"m","input":[{"role":"user","content":"hi"}]}`,
			`{"model":"m","instructions":"be kind","input":[{"role":"user","content":"hi"},{"type":"message"}]}`,
			`{"role":"user","content":"hi"}`},
		"one text": {wire.Completions,
			`{"model":"m","prompt":"` + string(long) + `"}`,
			`{"model":"m","prompt":"` + string(long) + ` and more"}`,
			`"` + string(long[:startBytes-1])},
		"a short text":   {wire.Completions, `{"model":"m","prompt":"hi"}`, `{"prompt":"hi","model":"m"}`, `"hi`},
		"texts":          {wire.Embeddings, `{"model":"m","input":["a","b"]}`, `{"model":"m","input":["a"]}`, `"a"`},
		"tokens":         {wire.Completions, `{"prompt":[1,2]}`, `{"prompt":[1,2]}`, `[1,2]}`},
		"nothing at all": {wire.Chat, `{"model":"m","messages":[]}`, `{"model":"m","messages":null}`, ``},
		"instructions only": {wire.Chat, `{"model":"m","messages":[{"role":"system","content":"x"}]}`,
			`{"model":"m"}`, ``},
	} {
		t.Run(name, func(t *testing.T) {
			for _, body := range []string{test.first, test.next} {
				if test.endpoint == wire.Completions && name == "tokens" {
					body = `{"model":"m",` + body[1:]
				}
				r, err := Scan(test.endpoint, []byte(body))
				if err != nil {
					t.Fatal(err)
				}
				if got := string(r.ConversationStart([]byte(body))); got != test.want {
					t.Errorf("%s\nbegins with %q, want %q", body, got, test.want)
				}
			}
		})
	}
}
