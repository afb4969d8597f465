package meter

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// between reads a stream chunk by chunk and returns the result of BetweenEvents
// after each chunk.
func between(t *testing.T, c Config, contentType string, chunks ...string) []string {
	t.Helper()
	r, w := io.Pipe()
	m := New(c)
	body := m.Wrap(http.Header{"Content-Type": {contentType}}, 200, -1, r)
	var places []string
	ask := make(chan struct{})
	go func() {
		for _, chunk := range chunks {
			_, _ = io.WriteString(w, chunk)
			<-ask // the chunk was read
		}
		w.Close()
	}()
	p := make([]byte, 1<<20)
	for range chunks {
		if _, err := body.Read(p); err != nil {
			t.Fatal(err)
		}
		places = append(places, m.BetweenEvents())
		ask <- struct{}{}
	}
	return places
}

var breakFor = map[byte]string{'y': "\n", 'r': "\r", 'n': ""}

func TestAnEventOfTheGatesOwnMayStandBetweenTwo(t *testing.T) {
	const a = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}"
	for name, c := range map[string]struct {
		contentType string
		chunks      []string
		want        string // per chunk, a key of breakFor: y for \n, r for \r, n for none
	}{
		"whole events":             {"text/event-stream", []string{a + "\n\n", a + "\n\n" + a + "\n\n"}, "yy"},
		"within a line":            {"text/event-stream", []string{a + "\n\n", a[:9], a[9:] + "\n\n"}, "yny"},
		"before the blank line":    {"text/event-stream", []string{a + "\n", "\n"}, "ny"},
		"behind a comment":         {"text/event-stream", []string{": hello\n"}, "y"},
		"within a comment":         {"text/event-stream", []string{": hel"}, "n"},
		"behind an event's name":   {"text/event-stream", []string{"event: x\n", a + "\n\n"}, "ny"},
		"CRLF":                     {"text/event-stream", []string{a + "\r\n\r\n", a + "\r\n\r\n"}, "yy"},
		"within a CRLF":            {"text/event-stream", []string{a + "\r\n\r", "\n" + a + "\r\n\r\n"}, "ny"},
		"lone CR":                  {"text/event-stream", []string{a + "\r\r", a + "\r", "\r"}, "rnr"},
		"a comment and lone CR":    {"text/event-stream", []string{": x\r", ": y\r"}, "nr"},
		"behind the end":           {"text/event-stream", []string{a + "\n\n", "data: [DONE]\n\n"}, "yn"},
		"behind an error":          {"text/event-stream", []string{"data: {\"error\":{\"message\":\"x\"}}\n\n"}, "n"},
		"JSON":                     {"application/json", []string{"{", "}"}, "nn"},
		"text":                     {"text/plain", []string{"hello"}, "n"},
		"behind the usage, not at": {"text/event-stream", []string{"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n"}, "y"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, open := range between(t, Config{Endpoint: wire.Chat}, c.contentType, c.chunks...) {
				if open != breakFor[c.want[i]] {
					t.Errorf("behind chunk %d, %q: %q", i, c.chunks[i], open)
				}
			}
		})
	}
}

// With HideUsage only complete events are returned: the caller has seen nothing of
// an event that arrived in part.
func TestAHiddenPartOfAnEventIsNoneForTheCaller(t *testing.T) {
	const a = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}],\"usage\":null}\n\n"
	c := Config{Endpoint: wire.Chat, HideUsage: true}
	for name, c2 := range map[string]struct {
		chunks []string
		want   string
	}{
		"a part is held":         {[]string{a, a + a[:20], a[20:]}, "yyy"},
		"too long to be held":    {[]string{a, "data: " + strings.Repeat("x", maxHeldBytes)}, "yn"},
		"within a CRLF":          {[]string{"data: {}\r\n\r"}, "n"},
		"behind a CRLF, held on": {[]string{"data: {}\r\n\r\ndata: {}\r"}, "y"},
		"lone CR":                {[]string{"data: {}\r\r", "data: {}\r\rdata: {}\r"}, "ry"},
	} {
		t.Run(name, func(t *testing.T) {
			for i, open := range between(t, c, "text/event-stream", c2.chunks...) {
				if open != breakFor[c2.want[i]] {
					t.Errorf("behind chunk %d: %q", i, open)
				}
			}
		})
	}
}
