package redis

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

// threeGates are three stores of one Redis or Cluster.
func threeGates(t *testing.T, urls []string) (gates [3]*Store) {
	for i := range gates {
		tuning := defaultTuning
		tuning.overLimit = 20 * time.Millisecond
		gates[i] = store(t, Options{Client: Dial(t, urls...)}, tuning)
	}
	return gates
}

// storm makes requests on three gates from many goroutines, and returns how many were admitted.
func storm(t *testing.T, gates [3]*Store, each int, ask func() limiter.Request) int64 {
	var admitted atomic.Int64
	crowd(48, func(i int) {
		for range each {
			_, err := gates[i%3].Reserve(context.Background(), ask())
			var refusal *limiter.Refusal
			switch {
			case err == nil:
				admitted.Add(1)
			case !errors.As(err, &refusal):
				t.Error(err)
			}
		}
	})
	return admitted.Load()
}

func stormsAdmitTheLimit(t *testing.T, urls []string) {
	gates := threeGates(t, urls)
	team := limiter.NewRule(limiter.ScopeTeam, "crew", limiter.Limit{Unit: limiter.Requests, Window: limiter.Hour, Amount: 1_000_000})
	for words, tokens := range map[string]int64{
		"100 requests/hour": 7, "70 requests/month": 7, "60 concurrent": 7,
		"1000 tokens/hour burst 500": 10, "1000 tokens/day": 10,
	} {
		limit := rule("storm "+words, words)
		backend := limiter.NewRule(limiter.ScopeBackend, words, limiter.Limit{Unit: limiter.Concurrent, Amount: 10_000})
		want := limit.Limit.Capacity()
		if limit.Limit.Unit == limiter.Tokens {
			want /= tokens
		}
		start := time.Now()
		got := storm(t, gates, 10, func() limiter.Request {
			req := asking(tokens, limit, team)
			req.Candidates = [][]*limiter.Rule{{backend}}
			return req
		})
		most := want
		if limit.Limit.Window.Rate() { // what comes in on a slow machine
			most += int64(time.Since(start)) * limit.Limit.Amount / int64(time.Hour)
		}
		if got < want || got > most {
			t.Errorf("%s: %d were admitted, want %d", words, got, want)
		}
		for _, r := range gates {
			flushed(t, r)
		}
		remains(t, gates[0], backend, 10_000-got)
	}
}

func TestThreeGatesAdmitExactlyTheLimit(t *testing.T) {
	stormsAdmitTheLimit(t, []string{redistest.Standalone(t, redistest.Options{}).URL})
}

func TestThreeGatesOfAClusterAdmitExactlyTheLimit(t *testing.T) {
	stormsAdmitTheLimit(t, redistest.Cluster(t).URLs())
}

func TestThreeGatesAdmitOneOf200ToABudgetForOne(t *testing.T) {
	gates := threeGates(t, []string{redistest.Standalone(t, redistest.Options{}).URL})
	budget := rule("poor", "1 usd/month")
	var admitted, reserved atomic.Int64
	crowd(200, func(i int) {
		req := asking(10, budget)
		req.InputCost, req.OutputPrice, req.Output, req.MaxOutput = 600_000_000, 1_000_000, 1000, 1000
		_, err := gates[i%3].Reserve(context.Background(), req)
		var refusal *limiter.Refusal
		if err == nil {
			admitted.Add(1)
		} else if errors.As(err, &refusal) && refusal.Reserved {
			reserved.Add(1)
		}
	})
	if admitted.Load() != 1 || reserved.Load() != 199 {
		t.Errorf("%d were admitted, %d refused for what is reserved", admitted.Load(), reserved.Load())
	}
}

func TestThreeGatesNeverHaveMoreInFlightThanPlaces(t *testing.T) {
	gates := threeGates(t, []string{redistest.Standalone(t, redistest.Options{}).URL})
	places := rule("busy", "5 concurrent")
	var inFlight, most, admitted atomic.Int64
	crowd(30, func(i int) {
		for range 30 {
			res, err := gates[i%3].Reserve(context.Background(), asking(1, places))
			if err != nil {
				continue
			}
			n := inFlight.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			admitted.Add(1)
			inFlight.Add(-1)
			res.Settle(context.Background(), all)
			res.Settle(context.Background(), all)
		}
	})
	for _, r := range gates {
		flushed(t, r)
	}
	if most.Load() > 5 || admitted.Load() == 0 {
		t.Errorf("%d in flight at once, %d admitted", most.Load(), admitted.Load())
	}
	remains(t, gates[0], places, 5)
}

func TestGatesCountEachOther(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	tuning := calm()
	tuning.heartbeat = 100 * time.Millisecond
	var gates []*Store
	for i := range 3 {
		gates = append(gates, store(t, Options{Client: Dial(t, s.URL), GateID: fmt.Sprint("gate-", i)}, tuning))
	}
	if n := gates[0].Replicas(); n < 1 {
		t.Errorf("%d gates at the start", n)
	}
	counts := func(want int, gates ...*Store) {
		t.Helper()
		eventually(t, fmt.Sprint(want, " gates"), func() bool {
			for _, r := range gates {
				if r.Replicas() != want {
					return false
				}
			}
			return true
		})
	}
	counts(3, gates...)
	gates[2].uncharged.Store(true) // it has yet to charge what it admitted without Redis
	counts(2, gates[:2]...)
	if n := gates[2].Replicas(); n != 3 {
		t.Errorf("a gate that is not counted has forgotten the others: %d", n)
	}
	gates[2].uncharged.Store(false)
	counts(3, gates...)
	if err := gates[2].Close(); err != nil {
		t.Fatal(err)
	}
	counts(2, gates[:2]...)
	gates[1].stop() // it dies
	counts(1, gates[0])
	s.Kill()
	if n := gates[0].Replicas(); n != 1 {
		t.Errorf("%d gates while Redis is away", n)
	}
}

func TestTwoPrefixesShareNoLimits(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	a := store(t, Options{Client: Dial(t, s.URL), Prefix: "a"}, calm())
	b := store(t, Options{Client: Dial(t, s.URL), Prefix: "b"}, calm())
	limit := rule("a", "1 requests/hour")
	admit(t, a, asking(1, limit))
	admit(t, b, asking(1, limit))
	refuse(t, a, asking(1, limit))
}
