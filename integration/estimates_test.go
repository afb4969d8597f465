package integration

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A backend that reports nothing: its text is Chinese, of which a token has
// other lengths than four bytes, and comes escaped and in pieces.
func TestEstimateTokensCountsWhatNobodyReports(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for _, text := range []string{"\\u4f60\\u597d", "，世界", "! Hello", " world", " again."} {
			_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n", text)
			w.(http.Flusher).Flush()
		}
		_, _ = io.WriteString(w, done)
	})
	g := startGate(t, block(b, "estimate tokens"))
	if a := g.chat(callerKey, "m-1", "hello world", `"stream":true`); a.status != 200 || !strings.Contains(a.body, "again.") {
		t.Fatalf("%d %s", a.status, a.body)
	}
	// role, user, content; hello, world; and 4 for the message. 你好，世界 are
	// three tokens, "! Hello world again." are five.
	if got, want := g.usageOf("alice"), (result{Requests: 1, Input: 9, Output: 8, Estimated: 1}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}
