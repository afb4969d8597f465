package echo

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestItMakesEventsAsTheyAreRead: each read creates one event. After the
// caller has left there are none, and no regular end of the stream.
func TestItMakesEventsAsTheyAreRead(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the caller left")
	req := httptest.NewRequestWithContext(ctx, "POST", "/v1/chat/completions", strings.NewReader(`{"stream":true,"messages":[{"role":"user","content":"one two three"}]}`))
	res, err := Server{Base: "/v1"}.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for i, want := range []string{`"role":"assistant"`, `"one "`, `"two "`} {
		n, err := res.Body.Read(buf)
		if text := string(buf[:n]); err != nil || strings.Count(text, "data: ") != 1 || !strings.Contains(text, want) {
			t.Errorf("read %d: %v %q", i, err, text)
		}
	}
	n, err := res.Body.Read(buf[:10]) // a small read returns a part
	if err != nil || string(buf[:n]) != `data: {"ch` {
		t.Errorf("small read: %v %q", err, buf[:n])
	}
	rest, err := res.Body.Read(buf)
	if err != nil || strings.Contains(string(buf[:rest]), "data: ") {
		t.Errorf("rest of it: %v %q", err, buf[:rest])
	}
	cancel(cause)
	if n, err := res.Body.Read(buf); n != 0 || !errors.Is(err, cause) {
		t.Errorf("after the caller left: %d, %v", n, err)
	}
	if _, err := (Server{Base: "/v1"}).RoundTrip(req); !errors.Is(err, cause) {
		t.Errorf("a request of a caller who left: %v", err)
	}
}

func TestWordsAreBounded(t *testing.T) {
	var all string
	for word := range words(strings.Repeat("é", 1000)) {
		if n := len([]rune(word)); n == 0 || n > maxWord {
			t.Fatalf("a word of %d characters", n)
		}
		all += word
	}
	if all != strings.Repeat("é", 1000) {
		t.Errorf("the words are %q", all)
	}
}
