package integration

import (
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

// turns is a gate before a backend that answers one chat at a time, each when it
// may.
type turns struct {
	*gate
	arrived chan string // titles, as they come to the backend
	answer  chan bool
	most    atomic.Int64 // were at the backend at once
}

func startTurns(t *testing.T, lines string) *turns {
	t.Helper()
	q := &turns{arrived: make(chan string, 100), answer: make(chan bool)}
	var there atomic.Int64
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if n := there.Add(1); n > q.most.Load() {
			q.most.Store(n)
		}
		q.arrived <- r.Header.Get("X-Title")
		select {
		case <-q.answer:
		case <-r.Context().Done():
		}
		there.Add(-1)
		answers(200, chatAnswer("hello", 3, 2))(w, r)
	})
	q.gate = newGate(t)
	q.start(strings.Replace(q.caddyfile("", fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key bob {env.OTHER_KEY}
		dial_allow loopback
		backend gpu %s {
			%s
		}`, b.URL, lines)), "grace_period 3s", "grace_period 1m", 1))
	return q
}

// asks sends a chat of a title, and returns what receives its answer and how the
// caller leaves before.
func (q *turns) asks(key, title string) (answers chan answer, leave func()) {
	return q.sends(key, title, chatBody("m", "hi"))
}

// sends is asks for a body.
func (q *turns) sends(key, title, body string) (answers chan answer, leave func()) {
	answers = make(chan answer, 1)
	ctx, leave := context.WithCancel(q.t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", q.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		q.t.Fatal(err)
	}
	req.Header.Set("Content-Type", jsonType)
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("X-Title", title)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			answers <- answer{}
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body) // what is cut is no answer
		answers <- answer{res.StatusCode, res.Header, string(body)}
	}()
	return answers, leave
}

// hears waits for the answer of a caller.
func (q *turns) hears(answers chan answer) answer {
	q.t.Helper()
	select {
	case a := <-answers:
		return a
	case <-time.After(time.Minute):
		q.t.Fatal("a caller has no answer within a minute")
		return answer{}
	}
}

// waiting waits until so many requests do.
func (q *turns) waiting(n int) {
	q.t.Helper()
	eventually(q.t, fmt.Sprint(n, " requests wait"), func() bool {
		return q.metric(`pinegate_queue_waiting{backend="gpu"}`) == fmt.Sprint(n)
	})
}

func TestRequestsWaitForTheirTurnAtABackend(t *testing.T) {
	q := startTurns(t, "max_inflight 1\nqueue 3 10m")
	first, _ := q.asks(callerKey, "a0")
	if got := <-q.arrived; got != "a0" {
		t.Fatalf("%s arrived", got)
	}
	_, leave := q.asks(callerKey, "a1")
	q.waiting(1)
	second, _ := q.asks(callerKey, "a2")
	q.waiting(2)
	gives, _ := q.asks(callerKey, "a3")
	q.waiting(3)

	refused := q.chat(callerKey, "m", "one too many")
	if refused.status != 429 || refused.header.Get("Retry-After") == "" || !strings.Contains(refused.body, `"slow_down"`) {
		t.Errorf("a full queue: %d %v %s", refused.status, refused.header, refused.body)
	}
	light, _ := q.asks(otherKey, "b1")
	if got := <-gives; got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("the one that makes way for another key: %d %s", got.status, got.body)
	}
	q.waiting(3)
	leave()
	q.waiting(2)
	lighter, _ := q.asks(otherKey, "b2")
	q.waiting(3)

	for _, next := range []struct {
		answers chan answer
		title   string
	}{{first, "a2"}, {second, "b1"}, {light, "b2"}} {
		q.answer <- true
		if got := <-next.answers; got.status != 200 {
			t.Errorf("before %s: %d %s", next.title, got.status, got.body)
		}
		if got := <-q.arrived; got != next.title {
			t.Errorf("%s arrived, want %s", got, next.title)
		}
	}
	q.waiting(0)
	if got := q.metric(`pinegate_queue_wait_seconds_count{backend="gpu"}`); got != "5" {
		t.Errorf("%s requests are reported to have waited", got)
	}

	// The process stops while one is answered and one waits.
	late, _ := q.asks(callerKey, "a5")
	q.waiting(1)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		q.Stop(syscall.SIGTERM)
	}()
	if got := <-late; got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("waiting when the process stops: %d %s", got.status, got.body)
	}
	q.answer <- true
	if got := <-lighter; got.status != 200 {
		t.Errorf("answered when the process stops: %d %s", got.status, got.body)
	}
	<-stopped
	if q.most.Load() != 1 {
		t.Errorf("%d were at the backend at once", q.most.Load())
	}
}

// What waits is bounded by its bytes, too: here by 32 MB, one max_body.
func TestBodiesThatWaitAreBounded(t *testing.T) {
	q := startTurns(t, "max_inflight 1\nqueue 5 10m")
	large := chatBody("m", strings.Repeat("x", 12_800_000))
	first, _ := q.asks(callerKey, "a0")
	<-q.arrived
	second, _ := q.sends(callerKey, "a1", large)
	q.waiting(1)
	third, _ := q.sends(callerKey, "a2", large)
	q.waiting(2)
	refused, _ := q.sends(callerKey, "a3", large)
	if got := q.hears(refused); got.status != 429 || !strings.Contains(got.body, `"slow_down"`) {
		t.Errorf("38 MB: %d %s", got.status, got.body)
	}
	light, _ := q.sends(otherKey, "b1", large)
	if got := q.hears(third); got.status != 429 {
		t.Errorf("the one that makes way for another key: %d %s", got.status, got.body)
	}
	q.waiting(2)
	small, _ := q.asks(callerKey, "a4")
	q.waiting(3)
	for i, answers := range []chan answer{first, second, light, small} {
		if i > 0 {
			<-q.arrived
		}
		q.answer <- true
		if got := q.hears(answers); got.status != 200 {
			t.Errorf("request %d: %d %s", i, got.status, got.body)
		}
	}
}
