//go:build unix

package health

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// sharingGate is the state of a gate that shares its cooldowns.
func sharingGate(t *testing.T, client redis.UniversalClient) (*Set, *SharedCooldowns) {
	set := new(Set)
	set.Get("east")
	shared := ShareCooldowns(set, client, "test")
	t.Cleanup(shared.Close)
	return set, shared
}

// learns waits until the gate has adopted a cooldown of at least this length.
func learns(t *testing.T, set *Set, model string, least time.Duration) (got Backoff) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); got.Wait < least; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is never told")
		}
		got = set.Get("east").Backoff(model, "alice", time.Now())
	}
	return got
}

func TestGatesTellEachOtherWhoIsToBeLeftAlone(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	one, _ := sharingGate(t, server.Client())
	two, _ := sharingGate(t, server.Client())

	one.Get("elsewhere").Failed(Failure{"m", "", time.Minute, true}, time.Now()) // the other gate does not have that backend
	one.Get("east").Failed(Failure{"m", "", 2 * time.Minute, true}, time.Now())
	if got := learns(t, two, "m", time.Minute); !got.Limited || got.Whole || got.Wait > 3*time.Minute {
		t.Errorf("a model that asked for two minutes: %+v", got)
	}
	if got := two.Get("east").Backoff("other", "alice", time.Now()); got.Wait != 0 {
		t.Errorf("another model: %+v", got)
	}
	if two.lookup("elsewhere") != nil {
		t.Error("it knows a backend that it does not have")
	}
	one.Get("east").Failed(Failure{"m", "", 4 * time.Minute, true}, time.Now())
	learns(t, two, "m", 3*time.Minute)
	// A gate that starts later adopts it, and no entry stays forever.
	late, _ := sharingGate(t, server.Client())
	learns(t, late, "m", time.Minute)
	if ttl := server.Do("pttl", "test:cooldowns").(int64); ttl <= 0 {
		t.Errorf("it expires after %d ms", ttl)
	}
}

func TestAGateThatIsToldOfABackendThatIsDownFindsOutByItselfWhenItIsBack(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	one, _ := sharingGate(t, server.Client())
	two, shared := sharingGate(t, server.Client())
	for range failuresAllowed {
		one.Get("east").Failed(Failure{"slow", "", 0, false}, time.Now())
	}
	for range 8 { // each backoff is longer than the one before
		live := one.Get("east")
		now := time.Now()
		for range failuresAllowed {
			live.Failed(Failure{"", "", 0, false}, now)
		}
		live.cooldowns.mu.Lock()
		live.cooldowns.models[""].all.until = time.Time{}
		live.cooldowns.mu.Unlock()
	}
	if got := learns(t, two, "m", maxBackoff/3); !got.Whole || got.Limited {
		t.Errorf("a backend that is down: %+v", got)
	}
	// The backend has answered this gate: earlier publications no longer count.
	live := two.Get("east")
	live.Succeeded("m", "alice", time.Now(), time.Now())
	shared.Close() // so that only this goroutine polls
	shared.poll(t.Context())
	if got := live.Backoff("m", "alice", time.Now()); got.Wait != 0 {
		t.Errorf("it answered, and %+v", got)
	}
	if c := live.cooldowns.models["slow"]; c != nil {
		t.Error("it is told of a model that only fails")
	}
}

func TestWithoutRedisAGateGoesByItself(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	server.Kill()
	one, shared := sharingGate(t, server.Client())
	for range 3 * cooldownsQueued { // publish does not block, and the queue is bounded
		one.Get("east").Failed(Failure{"m", "", time.Minute, true}, time.Now())
		one.Get("east").Failed(Failure{"", "", time.Minute, false}, time.Now())
	}
	if got := one.Get("east").Backoff("m", "alice", time.Now()); got.Wait == 0 {
		t.Errorf("%+v", got)
	}
	shared.Close()
	one.Get("east").Failed(Failure{"n", "", time.Minute, true}, time.Now())
	if n := len(shared.queue); n > cooldownsQueued || one.shared.Load() != nil {
		t.Errorf("%d wait for a gate that has ended", n)
	}
}
