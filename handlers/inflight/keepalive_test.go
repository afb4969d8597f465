package inflight

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestAKeepAliveIsInTheBytesOfItsDialect(t *testing.T) {
	for d, want := range map[*wire.Dialect]string{
		wire.OpenAI:    ": ping\n",
		wire.Anthropic: "event: ping\ndata: {\"type\":\"ping\"}\n\n",
	} {
		w := httptest.NewRecorder()
		k := NewKeepAlive(w, d, 15*time.Second)
		if _, err := k.Write([]byte("data: 1\n\n")); err != nil {
			t.Fatal(err)
		}
		for _, lineBreak := range []string{"\n", "\r"} {
			w.Body.Reset()
			w.Flushed = false
			k.Between(lineBreak)
			k.send()
			if got := w.Body.String(); got != strings.ReplaceAll(want, "\n", lineBreak) || !w.Flushed {
				t.Errorf("dialect %v: %q, flushed %t", d, got, w.Flushed)
			}
		}
	}
}

func TestWhereAKeepAliveMayNotStandThereIsNone(t *testing.T) {
	for name, prepare := range map[string]func(k *KeepAlive){
		"before the first byte": func(k *KeepAlive) { k.Between("\n") },
		"within an event":       func(k *KeepAlive) { _, _ = k.Write([]byte("x")) },
		"behind the wait": func(k *KeepAlive) {
			_, _ = k.Write([]byte("x"))
			k.Between("\n")
			k.Between("")
		},
		"while something is written": func(k *KeepAlive) {
			_, _ = k.Write([]byte("x"))
			k.open = "\n"
			k.mu.Lock()
		},
		"to a caller who is gone": func(k *KeepAlive) {
			_, _ = k.Write([]byte("x"))
			k.Between("\n")
			k.broken = true
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := httptest.NewRecorder()
			k := NewKeepAlive(w, wire.OpenAI, 15*time.Second)
			prepare(k)
			before := w.Body.String()
			k.send()
			if got := w.Body.String(); got != before {
				t.Errorf("%q was sent", got[len(before):])
			}
		})
	}
}

// brokenWriter is a ResponseWriter that fails at some write.
type brokenWriter struct {
	http.ResponseWriter
	left  int
	panic bool
	tried int
}

func (f *brokenWriter) Write(p []byte) (int, error) {
	f.tried++
	if f.left--; f.left >= 0 {
		return f.ResponseWriter.Write(p)
	}
	if f.panic {
		panic("a writer's bug")
	}
	return 0, errors.New("broken pipe")
}

func TestAKeepAliveThatFailsIsTheLast(t *testing.T) {
	for _, panics := range []bool{false, true} {
		f := &brokenWriter{ResponseWriter: httptest.NewRecorder(), left: 1, panic: panics}
		k := NewKeepAlive(f, wire.OpenAI, 15*time.Second)
		_, _ = k.Write([]byte("x"))
		k.Between("\n")
		k.send()
		k.send()
		if f.tried != 2 {
			t.Errorf("panics %t: %d writes, want the answer's and one that fails", panics, f.tried)
		}
	}
}

func TestAKeepAliveIsDueOnceForEachSilence(t *testing.T) {
	start := time.Unix(1000, 0)
	k := NewKeepAlive(httptest.NewRecorder(), wire.OpenAI, 15*time.Second)
	var due []int
	for second := range 60 {
		if second == 20 {
			_, _ = k.Write([]byte("x"))
		}
		if k.due(start.Add(time.Duration(second) * time.Second)) {
			due = append(due, second)
			if second != 50 {
				k.writing.Store(false) // sent
			}
		}
	}
	if len(due) != 3 || due[0] != 15 || due[1] != 35 || due[2] != 50 {
		t.Errorf("due at %v, want at 15, 35 and 50", due)
	}
	if k.due(start.Add(time.Hour)) {
		t.Error("due while the one before is still being written")
	}
}

// The race detector watches: an answer and its keep-alives, by two goroutines.
func TestKeepAlivesDoNotRaceWithTheAnswer(t *testing.T) {
	w := httptest.NewRecorder()
	k := NewKeepAlive(w, wire.Anthropic, 15*time.Second)
	stop := make(chan struct{})
	var pings sync.WaitGroup
	pings.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				k.writing.Store(true)
				k.send()
			}
		}
	})
	for range 2000 {
		for _, part := range []string{"data: ", "1", "\n\n"} {
			if _, err := k.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
			k.Flush()
			if part == "\n\n" {
				k.Between("\n")
				k.Between("")
			}
		}
	}
	close(stop)
	pings.Wait()
	rest := w.Body.String()
	const event, ping = "data: 1\n\n", "event: ping\ndata: {\"type\":\"ping\"}\n\n"
	events := 0
	for rest != "" {
		switch {
		case len(rest) >= len(event) && rest[:len(event)] == event:
			rest = rest[len(event):]
			events++
		case len(rest) >= len(ping) && rest[:len(ping)] == ping:
			rest = rest[len(ping):]
		default:
			t.Fatalf("an event is torn: %.60q", rest)
		}
	}
	if events != 2000 {
		t.Errorf("%d events, want 2000", events)
	}
}
