package backends

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

func TestMaskedBodyIsTheBodyWithoutItsSecrets(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		secrets := []string{"aabaac", "aabb", "caab"}
		text := rapid.StringMatching(`[abc\n]{0,60}`).Draw(rt, "text")
		broken := errors.New("broken")
		end := rapid.SampledFrom([]error{io.EOF, broken}).Draw(rt, "end")
		src := io.MultiReader(strings.NewReader(text), iotest.ErrReader(end))
		switch rapid.IntRange(0, 3).Draw(rt, "pieces") {
		case 0:
			src = iotest.OneByteReader(src)
		case 1:
			src = iotest.HalfReader(src)
		case 2:
			src = iotest.DataErrReader(src)
		}
		room := rapid.SampledFrom([]int{1, 3, minMasked, 64 << 10}).Draw(rt, "room")

		// If two secrets overlap, masking one breaks the other, whichever is
		// found first; none must be left.
		found := 0
		body := masked(io.NopCloser(src), secrets, func() { found++ })
		var got []byte
		var err error
		for err == nil {
			p := make([]byte, room)
			var n int
			n, err = body.Read(p)
			got = append(got, p[:n]...)
		}
		if !errors.Is(err, end) {
			rt.Fatalf("ended with %v, want %v", err, end)
		}
		if len(got) != len(text) {
			rt.Fatalf("%q became %q", text, got)
		}
		for i := range got {
			if got[i] != text[i] && got[i] != '*' {
				rt.Fatalf("%q became %q", text, got)
			}
		}
		holds := false
		for _, secret := range secrets {
			holds = holds || strings.Contains(text, secret)
			if strings.Contains(string(got), secret) {
				rt.Fatalf("%q still holds %q", got, secret)
			}
		}
		if holds != (found > 0) || !holds && string(got) != text {
			rt.Fatalf("%q became %q, %d found", text, got, found)
		}
	})
}

// A failing backend may quote the gate's own key in an event.
func TestCredentialInAStreamIsMasked(t *testing.T) {
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.Header().Set("Content-Type", "text/event-stream")
		for _, piece := range []string{`data: {"choices":[{"delta":{"content":"x"}}]}` + "\n\n", `data: {"error":{"message":"bad key ` + key[:5], key[5:] + `"}}` + "\n\n"} {
			_, _ = io.WriteString(w, piece)
			_ = http.NewResponseController(w).Flush()
		}
	})
	p := newProxied(t, keyed, "", upstream.URL)
	_, body, out := p.do("POST", "/v1/chat/completions", `{"stream":true}`)
	want := `data: {"choices":[{"delta":{"content":"x"}}]}` + "\n\n" + `data: {"error":{"message":"bad key ` + strings.Repeat("*", len(canary)) + `"}}` + "\n\n"
	if body != want {
		t.Errorf("the caller got %q", body)
	}
	if out.attempt.Flag != FlagEchoBody {
		t.Errorf("flag %q", out.attempt.Flag)
	}
}

func BenchmarkMaskedBody(b *testing.B) {
	event := strings.Repeat("x", 300) + "\n\n"
	src := &repeated{event: event}
	body := masked(src, []string{canary + strings.Repeat("k", 100)}, func() {})
	p := make([]byte, 32<<10)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := body.Read(p); n != len(event) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// repeated is an endless body that returns one event a Read.
type repeated struct{ event string }

func (r *repeated) Read(p []byte) (int, error) { return copy(p, r.event), nil }
func (r *repeated) Close() error               { return nil }
