package request

import (
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// encoded returns n random bytes in base64.
func encoded(n int, encoding *base64.Encoding) string {
	data := make([]byte, n)
	random := rand.NewChaCha8([32]byte{1})
	_, _ = random.Read(data)
	return encoding.EncodeToString(data)
}

func TestDataIsNotCountedAsText(t *testing.T) {
	large := encoded(1<<20, base64.StdEncoding)
	lines := ""
	for rest := large[:1<<19]; rest != ""; rest = rest[min(76, len(rest)):] {
		lines += rest[:min(76, len(rest))] + "\n"
	}
	inText := func(text string) string {
		quoted, _ := json.Marshal(text)
		return string(quoted)
	}
	for _, c := range []struct {
		name     string
		endpoint wire.Endpoint
		member   string
	}{
		{"encrypted reasoning", wire.Responses, `"input":[{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"` + large + `"}]`},
		{"a compaction", wire.Compact, `"input":[{"type":"compaction","encrypted_content":"` + encoded(1<<20, base64.URLEncoding) + `"}]`},
		{"a call's result", wire.Responses, `"input":[{"type":"function_call_output","call_id":"c","output":"` + large + `"}]`},
		{"a tool's message", wire.Chat, `"messages":[{"role":"tool","tool_call_id":"c","content":"` + large + `"}]`},
		{"a tool's message in JSON", wire.Chat, `"messages":[{"role":"tool","content":` + inText(`{"mime":"image/png","data":"`+large+`","ok":true}`) + `}]`},
		{"a data URL in a text", wire.Chat, `"messages":[{"role":"user","content":` + inText("See ![this](data:image/png;base64,"+large+") and say what it is.") + `}]`},
		{"lines of MIME", wire.Messages, `"messages":[{"role":"user","content":[{"type":"tool_result","content":` + inText(lines) + `}]}]`},
		{"escaped slashes", wire.Messages, `"messages":[{"role":"user","content":"` + strings.ReplaceAll(large, "/", `\/`) + `"}]`},
		{"redacted thinking", wire.Messages, `"messages":[{"role":"assistant","content":[{"type":"redacted_thinking","data":"` + large + `"}]}]`},
		{"a signature", wire.Messages, `"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"` + large + `"}]}]`},
		{"encrypted reasoning that is no base64", wire.Responses, `"input":[{"type":"reasoning","summary":[],"encrypted_content":"` + strings.Repeat("x.", 1<<19) + `"}]`},
		{"zero bytes", wire.Responses, `"input":[{"type":"function_call_output","output":"` + strings.Repeat("A", 1<<20) + `"}]`},
		{"a data URL of few bytes that differ", wire.Chat, `"messages":[{"role":"tool","content":"data:audio/wav;base64,` + strings.Repeat("gICA", 1<<18) + `"}]`},
		{"embeddings", wire.Embeddings, `"input":["` + large + `"]`},
	} {
		body := []byte(`{"model":"m",` + c.member + `}`)
		r, err := Scan(c.endpoint, body)
		if err != nil {
			t.Fatal(c.name, err)
		}
		if got := r.EstimateInput(); got < 1000 || got > 2200 {
			t.Errorf("%s: %d tokens", c.name, got)
		}
		if got := r.CountInput(c.endpoint, body, byBytes); got > 2500 {
			t.Errorf("%s: counted %d tokens", c.name, got)
		}
	}
}

func TestTextIsNotTakenForData(t *testing.T) {
	for name, text := range map[string]string{
		"words joined by hyphens": strings.Repeat("the-quick-brown-Fox-jumps-over-the-lazy-dog-", 200),
		"a letter":                strings.Repeat("a", 10_000),
		"screams":                 strings.Repeat("HA", 10_000),
		"digits":                  strings.Repeat("0123456789", 1000),
		"hexadecimal":             strings.Repeat("0123456789abcdef", 1000),
		"paths":                   strings.Repeat("/usr/local/share/doc", 500),
		"sentences":               strings.Repeat("The 3 quick brown Foxes jump. ", 500),
		"short base64":            strings.Repeat(encoded(700, base64.StdEncoding)+" ", 20),
	} {
		r, err := Scan(wire.Chat, []byte(`{"model":"m","prompt":"`+text+`"}`))
		if err != nil {
			t.Fatal(name, err)
		}
		if r.PromptBytes != int64(len(text)) {
			t.Errorf("%s: %d of %d bytes", name, r.PromptBytes, len(text))
		}
	}
	r, err := Scan(wire.Chat, []byte(`{"model":"m","prompt":"`+encoded(1200, base64.StdEncoding)+`"}`))
	if err != nil || r.PromptBytes != 1600 {
		t.Errorf("a short key counts as %d bytes, %v", r.PromptBytes, err)
	}
}
