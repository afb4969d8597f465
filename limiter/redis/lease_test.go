package redis

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

// twoGates are two stores of one Redis, with a clock that is moved by hand.
func twoGates(t *testing.T) (a, b *Store, clock *manual, s *redistest.Server) {
	s = redistest.Standalone(t, redistest.Options{})
	clock = newManual()
	a = store(t, Options{Client: Dial(t, s.URL)}, clock.by())
	b = store(t, Options{Client: Dial(t, s.URL)}, clock.by())
	return a, b, clock, s
}

// renew renews all reservations of a gate as if they were due.
func renew(t *testing.T, r *Store) {
	t.Helper()
	for _, res := range r.open.list() {
		res.mu.Lock()
		res.renewed = time.Time{}
		res.mu.Unlock()
	}
	if err := r.renew(context.Background()); err != nil {
		t.Fatalf("renewing: %v", err)
	}
}

func reap(t *testing.T, r *Store) {
	t.Helper()
	if err := r.reap(context.Background()); err != nil {
		t.Fatalf("reaping: %v", err)
	}
}

func TestWhatADeadGateHeldLapses(t *testing.T) {
	dead, alive, clock, _ := twoGates(t)
	places, quota, rate := rule("a", "3 concurrent"), rule("a", "1000 tokens/month"), rule("a", "60 tokens/minute burst 100")
	for range 3 {
		admit(t, dead, asking(20, places, quota, rate))
	}
	clock.pass(30*time.Second - time.Microsecond)
	reap(t, alive)
	remains(t, alive, places, 0)
	if r := refuse(t, alive, asking(950, quota)); !r.Reserved {
		t.Errorf("got %v, want a refusal for what is reserved", r)
	}
	clock.pass(time.Microsecond)
	remains(t, alive, places, 3)
	admit(t, alive, asking(1, places)) // before anybody has cleared up
	reap(t, alive)
	reap(t, alive)
	remains(t, alive, places, 2)
	remains(t, alive, rate, 70) // what it took fills up again
	remains(t, alive, quota, 940)
	if r := refuse(t, alive, asking(950, quota)); r.Reserved {
		t.Errorf("got %v, want a refusal for what counts as used", r)
	}
}

func TestAGateThatWasCutOffPutsItsQuotasRight(t *testing.T) {
	cutOff, alive, clock, _ := twoGates(t)
	places, quota := rule("a", "1 concurrent"), rule("a", "1000 tokens/month")
	res := admit(t, cutOff, asking(100, places, quota))
	clock.pass(time.Hour)
	reap(t, alive)
	other := admit(t, alive, asking(10, places, quota))
	remains(t, alive, quota, 890)

	// Its permit is taken by another, and renewing does not take it back.
	renew(t, cutOff)
	remains(t, alive, places, 0)
	refuse(t, alive, asking(1, places))
	res.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 40})
	flushed(t, cutOff)
	remains(t, alive, quota, 950)
	remains(t, alive, places, 0)
	other.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 10})
	flushed(t, alive)
	remains(t, alive, places, 1)
	remains(t, alive, quota, 950)
}

func TestAnExpiredLeaseIsNotRenewed(t *testing.T) {
	late, other, clock, _ := twoGates(t)
	places := rule("a", "2 concurrent")
	admit(t, late, asking(1, places))
	clock.pass(30 * time.Second)
	renew(t, late) // nobody has reaped it yet
	remains(t, other, places, 2)
	renew(t, late)
	remains(t, other, places, 2)
	res := admit(t, other, asking(1, places))
	clock.pass(20 * time.Second)
	renew(t, other)
	clock.pass(20 * time.Second)
	remains(t, late, places, 1) // renewed in time
	res.Settle(context.Background(), all)
	flushed(t, other)
	remains(t, late, places, 2)
}

func TestAStreamKeepsItsPlaceForAsLongAsItLasts(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	clock := newManual()
	tuning := clock.by()
	tuning.renew, tuning.heartbeat = 0, 20*time.Millisecond // it renews with each beat
	opts := Options{Client: Dial(t, s.URL)}
	gate, other := store(t, opts, tuning), store(t, opts, clock.by())
	places := rule("a", "1 concurrent")
	req := asking(1, places)
	res := admit(t, gate, req)
	for range 5 {
		clock.pass(tuning.lease - time.Second)
		eventually(t, "a renewal", func() bool {
			ends, err := s.Client().ZScore(context.Background(), gate.key("open"), req.ID).Result()
			return err == nil && ends >= micros(tuning.lease)+float64(clock.now().UnixMicro())
		})
		refuse(t, other, asking(1, places))
	}
	// The gate dies.
	rest(gate)
	clock.pass(tuning.lease - time.Microsecond)
	refuse(t, other, asking(1, places))
	clock.pass(time.Microsecond)
	admit(t, other, asking(1, places))
	res.Settle(context.Background(), all) // frees nobody else's
	flushed(t, gate)
	refuse(t, other, asking(1, places))
}

func TestSettlingTwiceIsHarmless(t *testing.T) {
	r, other, _, _ := twoGates(t)
	places, quota, rate := rule("a", "5 concurrent"), rule("a", "1000 tokens/month"), rule("a", "1000 tokens/hour")
	req := asking(100, places, quota, rate)
	res := admit(t, r, req)
	admit(t, other, asking(10, places, quota, rate))
	// As if the answers were lost.
	used := limiter.Usage{Dispatched: true, Input: 30}
	for range 3 {
		c := r.settleCall([]settlement{{id: req.ID, used: used}})
		if err := c.script.run(context.Background(), r.client, c.keys, c.args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	remains(t, r, places, 4)
	remains(t, r, quota, 960)
	remains(t, r, rate, 960)
	// The store treats it as one that Redis lost, of which nothing was used.
	res.Settle(context.Background(), limiter.Usage{})
	res.Settle(context.Background(), used)
	flushed(t, r)
	remains(t, r, quota, 960)
}

func TestReservingTwiceByOneIDCountsOnce(t *testing.T) {
	r, other, _, _ := twoGates(t)
	places, quota := rule("a", "5 concurrent"), rule("a", "150 output_tokens/day")
	req := asking(10, places, quota)
	req.MaxOutput, req.Output = 200, 200
	req.Candidates = [][]*limiter.Rule{
		{limiter.NewRule(limiter.ScopeBackend, "full", limiter.Limit{Unit: limiter.Tokens, Window: limiter.Second, Amount: 1})},
		{limiter.NewRule(limiter.ScopeBackend, "b", limiter.Limit{Unit: limiter.Concurrent, Amount: 2})},
	}
	first, again := admit(t, r, req), admit(t, other, req)
	if first.Cap() != 150 || again.Cap() != 150 || again.Candidate() != 1 {
		t.Errorf("caps %d and %d, candidate %d", first.Cap(), again.Cap(), again.Candidate())
	}
	remains(t, r, places, 4)
	remains(t, r, quota, 0)
	remains(t, r, req.Candidates[1][0], 1)
	first.Settle(context.Background(), limiter.Usage{})
	flushed(t, r)
	remains(t, r, places, 5)
	remains(t, r, quota, 150)
	remains(t, r, req.Candidates[1][0], 2)
}

func TestWhatWasGivenUpBeforeItWasMadeIsNotMade(t *testing.T) {
	r, _, _, _ := twoGates(t)
	places := rule("a", "5 concurrent")
	req := asking(10, places)
	r.settler.add(settlement{id: req.ID, givenUp: true})
	flushed(t, r)
	if _, err := r.Reserve(context.Background(), req); !errors.Is(err, limiter.ErrSettled) {
		t.Errorf("got %v, want ErrSettled", err)
	}
	remains(t, r, places, 5)
}

func TestALapsedReservationMayMove(t *testing.T) {
	cutOff, alive, clock, _ := twoGates(t)
	a := limiter.NewRule(limiter.ScopeBackend, "a", limiter.Limit{Unit: limiter.Concurrent, Amount: 1})
	b := limiter.NewRule(limiter.ScopeBackend, "b", limiter.Limit{Unit: limiter.Concurrent, Amount: 1})
	req := asking(10)
	req.Candidates = [][]*limiter.Rule{{a}, {b}, {a}}
	res := admit(t, cutOff, req)
	clock.pass(time.Minute)
	reap(t, alive)
	other := asking(1)
	other.Candidates = [][]*limiter.Rule{{a}}
	taken := admit(t, alive, other)
	// The permit was its own before, and is another's now.
	var refusal *limiter.Refusal
	if err := res.Move(context.Background(), 2); !errors.As(err, &refusal) || refusal.Rule != a {
		t.Fatalf("got %v, want a refusal", err)
	}
	if err := res.Move(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	remains(t, alive, a, 0)
	remains(t, alive, b, 0)
	taken.Settle(context.Background(), all)
	res.Settle(context.Background(), all)
	flushed(t, alive)
	flushed(t, cutOff)
	remains(t, alive, a, 1)
	remains(t, alive, b, 1)
}

func TestNoKeyStaysForEver(t *testing.T) {
	for name, tuning := range map[string]timing{"Redis's clock": calm(), "another": newManual().by()} {
		t.Run(name, func(t *testing.T) {
			r, s := single(t, tuning)
			for _, words := range []string{"60 requests/minute", "9000000G tokens/hour", "1 tokens/hour burst 9000000G", "5 requests/day", "100 usd/month", "3 concurrent"} {
				admit(t, r, asking(1, rule("a", words)))
			}
			settled := asking(1, rule("b", "60 tokens/second"))
			admit(t, r, settled).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 100})
			r.settler.add(settlement{id: "never", givenUp: true})
			flushed(t, r)
			if err := r.Ping(context.Background()); err != nil {
				t.Fatal(err)
			}
			keys, err := s.Client().Keys(context.Background(), "*").Result()
			if err != nil || len(keys) < 9 {
				t.Fatalf("there are %v, %v", keys, err)
			}
			for _, key := range keys {
				if ttl := s.Do("pttl", key).(int64); ttl <= 0 {
					t.Errorf("%s: its time to live is %d", key, ttl)
				}
			}
		})
	}
}

func TestABucketThatIsFullVanishes(t *testing.T) {
	r, s := single(t, calm())
	full := rule("a", "10 requests/second")
	admit(t, r, asking(1, full))
	key := r.key(full.Name())
	eventually(t, "the end of the key", func() bool { return s.Do("exists", key).(int64) == 0 })
	remains(t, r, full, 10)
}
