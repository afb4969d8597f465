package limiter_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

// load has callers of some gates ask without a pause until it is stopped.
type load struct {
	admitted, sliced atomic.Int64
	stop             chan struct{}
	once             sync.Once
	callers          sync.WaitGroup
}

// loaded puts a hot key's load on gates. Each request uses what it reserves, which spent is told.
func loaded(all []*guard, spent func(), rules ...*limiter.Rule) *load {
	l := &load{stop: make(chan struct{})}
	all[0].t.Cleanup(func() { l.end() })
	for i := range 2 * len(all) {
		l.callers.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				r, ok := all[i%len(all)].admits(1, rules...)
				if !ok {
					time.Sleep(time.Millisecond)
					continue
				}
				l.admitted.Add(1)
				if limiter.Sliced(r) {
					l.sliced.Add(1)
				}
				r.Settle(context.Background(), used(1, 0))
				spent()
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	return l
}

// hot waits until so many more requests were admitted from slices.
func (l *load) hot(t *testing.T, n int64) {
	t.Helper()
	until := l.sliced.Load() + n
	for start := time.Now(); l.sliced.Load() < until; time.Sleep(time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("it is not hot")
		}
	}
}

func (l *load) end() int64 {
	l.once.Do(func() { close(l.stop) })
	l.callers.Wait()
	return l.admitted.Load()
}

// Redis dies, stands still, or loses all while a key is hot: nobody gets an error, what was admitted is
// counted, and the key is hot again afterwards.
func TestHotKeysOutlastWhatHappensToRedis(t *testing.T) {
	for name, fault := range map[string]func(t *testing.T, s *redistest.Server, g *guard){
		"killed": func(t *testing.T, s *redistest.Server, g *guard) {
			s.Kill()
			g.waitFor(false)
			s.Restart()
			g.waitFor(true)
		},
		"stopped": func(t *testing.T, s *redistest.Server, g *guard) {
			s.Stop()
			g.waitFor(false)
			s.Cont()
			g.waitFor(true)
		},
		"flushed": func(_ *testing.T, s *redistest.Server, _ *guard) { s.Flush() },
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Standalone(t, redistest.Options{})
			var ledger atomic.Int64
			g := newGuard(t, s.URL, limiter.GuardedOptions{Seed: func(*limiter.Rule, time.Time) (int64, error) { return ledger.Load(), nil }})
			day, rate, places := ruleOf(t, "hot", "1G tokens/month"), ruleOf(t, "hot", "1G requests/minute"), ruleOf(t, "hot", "1000 concurrent")
			l := loaded([]*guard{g}, func() { ledger.Add(1) }, day, rate, places)
			l.hot(t, 500)
			fault(t, s, g)
			l.hot(t, 500)
			admitted := l.end()
			if err := g.redis.Flush(context.Background()); err != nil {
				t.Fatal(err)
			}
			states, err := g.Peek(context.Background(), []*limiter.Rule{day})
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d admitted, %d from slices, %d used", admitted, l.sliced.Load(), states[0].Used)
			if name == "stopped" && states[0].Used != admitted {
				t.Errorf("%d were used of a quota of which nothing was lost, want %d", states[0].Used, admitted)
			}
			// What is in the ledger and was not told yet may count twice.
			if got := states[0].Used; got < admitted-10 || got > admitted+admitted/2 {
				t.Errorf("%d were used, want %d", got, admitted)
			}
			client := s.Client()
			for start := time.Now(); client.ZCard(context.Background(), "pinegate:"+places.Name()).Val() > 0; time.Sleep(10 * time.Millisecond) {
				if time.Since(start) > time.Minute {
					t.Fatal("places are held")
				}
			}
		})
	}
}

// All that three gates admit of a hot key while Redis dies for good and a new one is empty is at most one burst
// above the limit.
func TestAKilledRedisCostsAtMostOneBurstOfAHotKey(t *testing.T) {
	const burst = 60_000
	s := redistest.Standalone(t, redistest.Options{})
	all := threeGuards(t, s.URL, limiter.GuardedOptions{})
	rule := ruleOf(t, "hot", "60k requests/hour")
	start := time.Now()
	l := loaded(all, func() {}, rule)
	l.hot(t, 3000)
	s.Kill()
	for _, g := range all {
		g.waitFor(false)
	}
	s.Restart()
	for _, g := range all {
		g.waitFor(true)
	}
	eventually := time.Now()
	for last := int64(-1); ; time.Sleep(2 * time.Second) { // until all is spent
		n := l.admitted.Load()
		if n-last < 100 || time.Since(eventually) > time.Minute {
			break
		}
		last = n
	}
	admitted := l.end()
	came := int64(time.Since(start).Seconds()*burst/3600) + 1
	t.Logf("%d admitted, %d from slices", admitted, l.sliced.Load())
	if admitted > 2*burst+came {
		t.Errorf("%d were admitted of %d", admitted, burst)
	}
}

// A place is not given from one request to the next for ever when Redis has lost it.
func TestLostPlacesAreGivenUp(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	g := newGuard(t, s.URL, limiter.GuardedOptions{})
	places := ruleOf(t, "hot", "100 concurrent")
	l := loaded([]*guard{g}, func() {}, places)
	l.hot(t, 200)
	s.Flush()
	client, key := s.Client(), "pinegate:"+places.Name()
	for start := time.Now(); client.ZCard(context.Background(), key).Val() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(start) > time.Minute {
			t.Fatal("requests go on with places that Redis does not know")
		}
	}
	l.hot(t, 200)
	l.end()
}
