package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// slow is a backend that streams a chunk each 50 ms, and its usage at the end.
type slow struct {
	*backend
	chunks  int
	begun   chan struct{} // one for each request
	gone    chan time.Time
	stalled atomic.Bool // it sends one chunk and waits to be cancelled, or to go on
	goOn    chan struct{}
}

func newSlow(t *testing.T, chunks int) *slow {
	s := &slow{chunks: chunks, begun: make(chan struct{}, 10), gone: make(chan time.Time, 10), goOn: make(chan struct{})}
	s.backend = newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		s.begun <- struct{}{}
		defer func() { s.gone <- time.Now() }()
		if strings.Contains(s.last(t).body, `"late"`) {
			wait(r, 500*time.Millisecond)
			answers(200, chatAnswer("late", 30, 20))(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range s.chunks {
			_, _ = io.WriteString(w, chunk(fmt.Sprintf("chunk %d ", i)))
			w.(http.Flusher).Flush()
			if s.stalled.Load() {
				select {
				case <-r.Context().Done():
				case <-s.goOn:
				}
			}
			if !wait(r, 50*time.Millisecond) {
				return
			}
		}
		_, _ = io.WriteString(w, usageChunk(9, 77)+done)
	})
	return s
}

// wait waits, and reports whether the request still stands.
func wait(r *http.Request, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-r.Context().Done():
		return false
	}
}

// leave asks for a stream and leaves after its first chunk, and returns when.
func leave(t *testing.T, g *gate) time.Time {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	res := g.open(ctx, "POST", "/v1/chat/completions", callerKey, chatBody("m-1", "count", `"stream":true`))
	defer res.Body.Close()
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || !strings.Contains(line, "chunk 0") {
		t.Fatal(line, err)
	}
	cancel()
	return time.Now()
}

// A hundred callers leave after ten chunks: each request to a backend is cancelled, each request is charged what was
// delivered, once, and no place stays taken.
func TestAHundredCallersWhoLeaveAreEachChargedOnce(t *testing.T) {
	const callers, chunks = 100, 10
	var cancelled atomic.Int64
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range chunks {
			_, _ = io.WriteString(w, chunk("twelve bytes"))
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		cancelled.Add(1)
	})
	g := startGate(t, block(b, keyWith("carol", "limit 100 concurrent", "limit 1M tokens/day")))
	storm(callers, func(i int) {
		ctx, leave := context.WithCancel(context.Background())
		defer leave()
		res := g.open(ctx, "POST", "/v1/chat/completions", secretOf("carol"), chatBody(fmt.Sprint("model-", i), "hi", `"stream":true`))
		defer res.Body.Close()
		in := bufio.NewReader(res.Body)
		for range 2 * chunks { // each has a blank line behind it
			if _, err := in.ReadString('\n'); err != nil {
				t.Error(err)
				return
			}
		}
	})
	eventually(t, "each request to a backend is cancelled", func() bool { return cancelled.Load() == callers })
	eventually(t, "all are recorded", func() bool { return g.usageOf("carol").Requests == callers })
	used := g.usageByModel()
	total := 0
	for i := range callers {
		got := used[fmt.Sprint("model-", i)]
		total += got.Input + got.Output
		if got.Requests != 1 || got.Estimated != 1 || got.Input < 1 || got.Output != chunks*len("twelve bytes")/4 {
			t.Errorf("caller %d: %+v, want 120 bytes of text as 30 tokens, estimated", i, got)
		}
	}
	info := g.keyInfo(secretOf("carol"))
	if left := info.limit("concurrent", "").Remaining; left != callers {
		t.Errorf("%v places are free of %d", left, callers)
	}
	if left := info.limit("tokens", "day").Remaining; left != float64(1e6-total) {
		t.Errorf("%v tokens are left of the quota, of which %d were used", left, total)
	}
}

func drained(t *testing.T, s *slow, onDisconnect string, way func(string) string) *gate {
	t.Helper()
	return startGate(t, way(drainedBlock(s, onDisconnect)))
}

func drainedBlock(s *slow, onDisconnect string) string {
	return fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY} {
			limit 1 concurrent
		}
		dial_allow loopback
		backend mock %s {
			api_key {env.BACKEND_KEY}
			%s
		}`, s.URL, onDisconnect)
}

func TestDrainReadsOnToTheBackendsUsage(t *testing.T) {
	t.Parallel()
	eachWay(t, testDrainReadsOnToTheBackendsUsage)
}

func testDrainReadsOnToTheBackendsUsage(t *testing.T, way func(string) string) {
	s := newSlow(t, 3)
	s.stalled.Store(true)
	g := drained(t, s, "on_disconnect drain", way)
	leave(t, g)
	if a := g.chat(callerKey, "m-1", "again"); a.status != 429 {
		t.Errorf("the place is free while the backend works: %d %s", a.status, a.body)
	}
	if n := g.usageOf("alice").Requests; n != 0 {
		t.Errorf("recorded before the answer ended: %d", n)
	}
	close(s.goOn)
	eventually(t, "the request is recorded", func() bool { return g.usageOf("alice").Requests == 1 })
	if got, want := g.usageOf("alice"), (result{Requests: 1, Input: 9, Output: 77}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
	eventually(t, "the log has that the caller left", func() bool {
		return strings.Contains(g.Logs.String(), `"outcome":"client_closed"`)
	})
	if a := g.chat(callerKey, "m-1", "late"); a.status != 200 {
		t.Errorf("the place is not free after that: %d %s", a.status, a.body)
	}
}

func TestDrainWaitsForAnAnswerWhoseCallerLeftBeforeIt(t *testing.T) {
	t.Parallel()
	eachWay(t, testDrainWaitsForAnAnswerWhoseCallerLeftBeforeIt)
}

func testDrainWaitsForAnAnswerWhoseCallerLeftBeforeIt(t *testing.T, way func(string) string) {
	s := newSlow(t, 1)
	g := drained(t, s, "on_disconnect drain", way)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-s.begun
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, "POST", g.url+"/v1/chat/completions", strings.NewReader(chatBody("m-1", "late")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+callerKey)
	if res, err := http.DefaultClient.Do(req); err == nil {
		res.Body.Close()
		t.Fatal("answered before it was left")
	}
	eventually(t, "the request is recorded", func() bool { return g.usageOf("alice").Requests == 1 })
	if got, want := g.usageOf("alice"), (result{Requests: 1, Input: 30, Output: 20}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}

func TestDrainIsBounded(t *testing.T) {
	t.Parallel()
	eachWay(t, testDrainIsBounded)
}

func testDrainIsBounded(t *testing.T, way func(string) string) {
	s := newSlow(t, 2)
	s.stalled.Store(true)
	g := drained(t, s, "on_disconnect drain 700ms", way)
	left := leave(t, g)
	gone := <-s.gone
	if took := gone.Sub(left); took < 500*time.Millisecond || took > 30*time.Second {
		t.Errorf("the backend was cancelled after %v, want 700ms", took)
	}
	eventually(t, "the request is recorded", func() bool { return g.usageOf("alice").Requests == 1 })
	if got := g.usageOf("alice"); got.Estimated != 1 || got.Input == 0 || got.Output == 0 {
		t.Errorf("usage %+v", got)
	}
	eventually(t, "the place is free", func() bool { return g.keyInfo(callerKey).limit("concurrent", "").Remaining == 1 })
}

func TestDrainEndsWhenTheProcessStops(t *testing.T) {
	t.Parallel()
	eachWay(t, testDrainEndsWhenTheProcessStops)
}

func testDrainEndsWhenTheProcessStops(t *testing.T, way func(string) string) {
	s := newSlow(t, 2)
	s.stalled.Store(true)
	g := newGate(t)
	g.start(g.caddyfile("grace_period 2m", way(drainedBlock(s, "on_disconnect drain 10m"))))
	leave(t, g)
	time.Sleep(time.Second) // it is being drained
	stopped := time.Now()
	g.Stop(syscall.SIGTERM)
	if took := time.Since(stopped); took > time.Minute { // less than the grace period
		t.Errorf("the process took %v to stop", took)
	}
	if !strings.Contains(g.Logs.String(), `"outcome":"client_closed"`) {
		t.Error("the request was not settled")
	}
}

func TestCancelTellsTheBackendAtOnce(t *testing.T) {
	t.Parallel()
	eachWay(t, testCancelTellsTheBackendAtOnce)
}

func testCancelTellsTheBackendAtOnce(t *testing.T, way func(string) string) {
	s := newSlow(t, 2)
	s.stalled.Store(true)
	g := drained(t, s, "", way)
	for i := range 5 {
		left := leave(t, g)
		if took := (<-s.gone).Sub(left); took > 20*time.Second { // long before any time-out
			t.Errorf("the request to the backend was cancelled after %v", took)
		}
		eventually(t, "the request is recorded", func() bool { return g.usageOf("alice").Requests == i+1 })
	}
}
