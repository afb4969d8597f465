package memory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// callers makes requests with two limits of their key, one of its team and one of the backend, all
// of them so large that they never refuse.
func callers(keys int) func(key int) limiter.Request {
	rate := func(id string, unit limiter.Unit) *limiter.Rule {
		return limiter.NewRule(limiter.ScopeKey, id, limiter.Limit{Unit: unit, Window: limiter.Minute, Amount: 1_000_000_000_000})
	}
	teams := make([]*limiter.Rule, min(keys, 1000))
	for i := range teams {
		teams[i] = limiter.NewRule(limiter.ScopeTeam, strconv.Itoa(i), limiter.Limit{Unit: limiter.Tokens, Window: limiter.Month, Amount: limiter.MaxAmount})
	}
	backend := [][]*limiter.Rule{{limiter.NewRule(limiter.ScopeBackend, "echo", limiter.Limit{Unit: limiter.Concurrent, Amount: 1_000_000})}}
	return func(key int) limiter.Request {
		id := strconv.Itoa(key)
		return limiter.Request{
			Rules:      []*limiter.Rule{rate(id, limiter.Requests), rate(id, limiter.Tokens), teams[key%len(teams)]},
			Candidates: backend,
			Input:      100, Output: 200, MaxOutput: 200, N: 1,
		}
	}
}

func reserveAndSettle(b *testing.B, m *Store, req limiter.Request) {
	r, err := m.Reserve(context.Background(), req)
	if err != nil {
		b.Fatal(err)
	}
	r.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 100, Output: 50})
}

// BenchmarkReserveSettle admits and settles a request with four limits, with as many keys present
// and as many of them calling at random; run it with -cpu 1,2. Where all of a million keys call,
// what is measured is the memory's latency: nothing of a key is in a cache when it comes. On two cores of
// an EPYC that nothing else used: 0.5 µs for one key, 0.6 to 0.7 for a thousand, 2 to 2.5 for a million.
func BenchmarkReserveSettle(b *testing.B) {
	const present = 1_000_000
	m := New(Options{Sweep: -1})
	defer m.Close()
	caller := callers(present)
	requests := make([]limiter.Request, present)
	for i := range requests {
		requests[i] = caller(i)
		reserveAndSettle(b, m, requests[i])
	}
	runtime.GC()
	for _, calling := range []int{1, 1000, present} {
		b.Run(fmt.Sprintf("keys=%d/calling=%d", present, calling), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					reserveAndSettle(b, m, requests[rand.IntN(calling)])
				}
			})
		})
	}
}

// BenchmarkRefusal is what a key that is over its limit costs.
func BenchmarkRefusal(b *testing.B) {
	m := New(Options{Now: func() time.Time { return time.Unix(0, 0) }, Sweep: -1})
	defer m.Close()
	req := callers(1)(1)
	req.Rules = append(req.Rules, limiter.NewRule(limiter.ScopeKey, "1", limiter.Limit{Unit: limiter.Requests, Window: limiter.Hour, Amount: 1}))
	reserveAndSettle(b, m, req)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Reserve(context.Background(), req); err == nil {
			b.Fatal("admitted")
		}
	}
}
