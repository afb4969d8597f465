package limiter

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// fourLimits is a request with two limits of its key, one of its team and one of its backend, all of
// them so large that they never refuse.
func fourLimits(key int) Request {
	id := strconv.Itoa(key)
	rate := func(kind ScopeKind, id string, unit Unit) *Rule {
		return NewRule(kind, id, Limit{Unit: unit, Window: Minute, Amount: 1_000_000_000_000})
	}
	return Request{
		Rules: []*Rule{
			rate(ScopeKey, id, Requests), rate(ScopeKey, id, Tokens),
			NewRule(ScopeTeam, strconv.Itoa(key%1000), Limit{Unit: Tokens, Window: Month, Amount: MaxAmount}),
		},
		Candidates: [][]*Rule{{NewRule(ScopeBackend, "echo", Limit{Unit: Concurrent, Amount: 1_000_000})}},
		Input:      100, Output: 200, MaxOutput: 200, N: 1,
	}
}

func reserveAndSettle(b *testing.B, m *Memory, req Request) {
	r, err := m.Reserve(context.Background(), req)
	if err != nil {
		b.Fatal(err)
	}
	r.Settle(context.Background(), Actual{Dispatched: true, Input: 100, Output: 50})
}

// BenchmarkReserveSettle admits and settles a request with four limits; run it with -cpu 1,2.
func BenchmarkReserveSettle(b *testing.B) {
	for _, keys := range []int{1, 1_000_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			m := NewMemory(MemoryOptions{Sweep: -1})
			defer m.Close()
			requests := make([]Request, keys)
			for i := range requests {
				requests[i] = fourLimits(i)
				reserveAndSettle(b, m, requests[i])
			}
			runtime.GC()
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					reserveAndSettle(b, m, requests[rand.IntN(keys)])
				}
			})
		})
	}
}

// BenchmarkReserveSettleLikeCallers has a million keys present, of which a thousand are busy.
func BenchmarkReserveSettleLikeCallers(b *testing.B) {
	const keys, busy = 1_000_000, 1000
	m := NewMemory(MemoryOptions{Sweep: -1})
	defer m.Close()
	var requests []Request
	for i := range keys {
		req := fourLimits(i)
		reserveAndSettle(b, m, req)
		if i < busy {
			requests = append(requests, req)
		}
	}
	runtime.GC()
	var next atomic.Int64
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for i := int(next.Add(busy / 2)); pb.Next(); i++ {
			reserveAndSettle(b, m, requests[i%busy])
		}
	})
}

// BenchmarkRefusal is what a key that is over its limit costs.
func BenchmarkRefusal(b *testing.B) {
	m := NewMemory(MemoryOptions{Now: func() time.Time { return time.Unix(0, 0) }, Sweep: -1})
	defer m.Close()
	req := fourLimits(1)
	req.Rules = append(req.Rules, NewRule(ScopeKey, "1", Limit{Unit: Requests, Window: Hour, Amount: 1}))
	reserveAndSettle(b, m, req)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Reserve(context.Background(), req); err == nil {
			b.Fatal("admitted")
		}
	}
}
