//go:build unix

package stored

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// patience is how long a Redis that works may take on a machine that stands still
// now and then.
const patience = 30 * time.Second

// waitFor waits for what another goroutine does.
func waitFor(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func TestGatesOfOneRedisKnowWhoMadeAResponse(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	gate := func() *Responses {
		shared := Share(server.Client(), "test", patience)
		t.Cleanup(shared.Close)
		return NewResponses(10).With(shared)
	}
	one, two := gate(), gate()
	one.Add("r1", "alice", "east")
	waitFor(t, "it is written", func() bool { return server.Do("exists", "test:response:r1").(int64) == 1 })
	if kept := server.Do("ttl", "test:response:r1").(int64); kept < 29*24*3600 {
		t.Errorf("it is kept for %d s", kept)
	}
	if _, ok, err := two.Find(t.Context(), "r1", "mallory"); ok || err != nil {
		t.Errorf("mallory finds alice's response: %v", err)
	}
	if b, ok, err := two.Find(t.Context(), "r1", "alice"); !ok || b != "east" || err != nil {
		t.Errorf("alice finds %q, %t, %v", b, ok, err)
	}
	if _, ok, err := two.Find(t.Context(), "r2", "alice"); ok || err != nil {
		t.Errorf("a made-up one: %t, %v", ok, err)
	}
	gets := server.Calls("get")
	if _, ok, _ := two.Find(t.Context(), "r1", "alice"); !ok || server.Calls("get") != gets {
		t.Error("what was found is asked for again")
	}

	// A backend that repeats ids reveals nothing at another gate either.
	three := gate()
	three.Add("r1", "mallory", "west")
	three.Add("r3", "mallory", "west")
	waitFor(t, "it is written", func() bool { return server.Do("exists", "test:response:r3").(int64) == 1 })
	if b, ok, _ := gate().Find(t.Context(), "r1", "alice"); !ok || b != "east" {
		t.Errorf("alice finds %q, %t", b, ok)
	}
}

func TestWhileRedisIsAwayAResponseOfAnotherGateIsNotCalledUnknown(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	shared := Share(server.Client(), "test", patience)
	c := NewResponses(10).With(shared)
	server.Kill()
	c.Add("r1", "alice", "east")
	if b, ok, err := c.Find(t.Context(), "r1", "alice"); !ok || b != "east" || err != nil {
		t.Errorf("its own: %q, %t, %v", b, ok, err)
	}
	if _, ok, err := c.Find(t.Context(), "r2", "alice"); ok || !errors.Is(err, ErrUnavailable) {
		t.Errorf("another's: %t, %v", ok, err)
	}
	server.Restart()
	waitFor(t, "it is written late", func() bool { return server.Do("exists", "test:response:r1").(int64) == 1 })
	waitFor(t, "it is asked again", func() bool {
		_, _, err := c.Find(t.Context(), "r2", "alice")
		return err == nil
	})
	// A caller who leaves is no failure of Redis.
	left, leave := context.WithCancel(t.Context())
	leave()
	_, _, _ = c.Find(left, "r2", "alice")
	if _, _, err := c.Find(t.Context(), "r2", "alice"); err != nil {
		t.Errorf("one left, and %v", err)
	}
	c.Add("r4", "alice", "east")
	if shared.Close(); server.Do("exists", "test:response:r4").(int64) != 1 {
		t.Error("the end loses what waits")
	}
}

// slowCalls makes the calls of a client wait, and counts them.
type slowCalls struct {
	calls atomic.Int64
	done  chan struct{}
}

func (*slowCalls) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*slowCalls) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *slowCalls) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, _ redis.Cmder) error {
		s.calls.Add(1)
		select {
		case <-s.done:
		case <-ctx.Done():
		}
		return redis.Nil
	}
}

// Admissions use the same connections.
func TestManyLookupsLeaveConnectionsToOthers(t *testing.T) {
	slow := &slowCalls{done: make(chan struct{})}
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	client.AddHook(slow)
	shared := Share(client, "test", patience)
	defer shared.Close()
	c := NewResponses(10).With(shared)
	var callers sync.WaitGroup
	for i := range lookupsAtOnce {
		callers.Go(func() { _, _, _ = c.Find(t.Context(), fmt.Sprint("r", i), "alice") })
	}
	waitFor(t, "all look up", func() bool { return slow.calls.Load() == lookupsAtOnce })
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, ok, err := c.Find(ctx, "another", "alice"); ok || !errors.Is(err, ErrUnavailable) {
		t.Errorf("one more: %t, %v", ok, err)
	}
	if n := slow.calls.Load(); n != lookupsAtOnce {
		t.Errorf("%d lookups at once, want %d", n, lookupsAtOnce)
	}
	close(slow.done)
	callers.Wait()
}
