package backends

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// Plain text is a message unless it shows more than that.
func TestPlainTextOfErrors(t *testing.T) { eachWay(t, testPlainTextOfErrors) }

func testPlainTextOfErrors(t *testing.T, proxy string) {
	const refused = "The model server refused the request."
	for _, c := range []struct {
		name, media string
		status      int
		body, want  string
	}{
		{"first line", "text/plain; charset=utf-8", 400, "prompt is \"bad\"\nsecond", `"message":"prompt is \"bad\""`},
		{"JSON", "text/plain", 400, `{"error":{"message":"m"}}`, `"message":"m"`},
		{"a page", "text/plain", 404, "<html>nginx", refused},
		{"another type", "text/html", 400, "nginx", refused},
		{"an address", "text/plain", 400, "10.0.0.9 refused", refused},
		{"no text", "text/plain", 400, "\xff\xfe", refused},
		{"the gate's key in a later line", "text/plain", 400, "bad\n" + canary, "upstream_error"},
		{"a failure", "text/plain", 500, "second", "failed to answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", c.media)
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			_, body, out := newProxied(t, keyed, proxy, upstream.URL).do("POST", "/v1/chat/completions", `{}`)
			if out.err != nil || !strings.Contains(body, c.want) || strings.Contains(body, "second") || strings.Contains(body, canary) {
				t.Errorf("got %s (%v), want %q", body, out.err, c.want)
			}
		})
	}
}
