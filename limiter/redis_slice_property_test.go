package limiter

import (
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// Three gates that admit what they can from slices, and tell late where those stand, admit nothing that one
// bucket and one count in exact numbers would not.
func TestSlicesAdmitNoMoreThanTheLimit(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	var gates [3]*Redis
	for i := range gates {
		tuning := clock.greedy(int64(1 + 3*i))
		tuning.slice.tell, tuning.lease = never, 1000*24*time.Hour // nobody renews what is in flight
		tuning.slice.cool, tuning.slice.measure = time.Millisecond, time.Millisecond
		gates[i] = store(t, RedisOptions{URLs: []string{s.URL}}, tuning)
	}
	var sliced, runs int
	rapid.Check(t, func(t *rapid.T) { checkSlices(t, gates, clock, &sliced, &runs) })
	t.Logf("%d requests were admitted from slices, in %d runs", sliced, runs)
	if 4*sliced < runs { // far fewer than there are, by chance
		t.Errorf("%d requests were admitted from slices, in %d runs", sliced, runs)
	}
}

func checkSlices(t *rapid.T, gates [3]*Redis, clock *manual, sliced, runs *int) {
	*runs++
	id := formatCount(requestIDs.Add(1))
	rate := NewRule(ScopeKey, id, Limit{
		Unit: Tokens, Window: rapid.SampledFrom([]Window{Second, Minute, Hour}).Draw(t, "window"),
		Amount: rapid.Int64Range(1, 1000).Draw(t, "amount"), Burst: rapid.Int64Range(20, 500).Draw(t, "burst"),
	})
	quota := NewRule(ScopeKey, id, Limit{Unit: InputTokens, Window: Day, Amount: rapid.Int64Range(100, 3000).Draw(t, "quota")})
	places := NewRule(ScopeKey, id, Limit{Unit: Concurrent, Amount: rapid.Int64Range(1, 30).Draw(t, "places")})
	perNS := new(big.Rat).SetFrac64(rate.Limit.Amount, int64(rate.Limit.Window.Duration()))
	capacity := new(big.Rat).SetInt64(rate.Limit.Capacity())
	level, last := new(big.Rat).Set(capacity), clock.now()
	taken := map[int]int64{} // of the quota, used and reserved, by the day
	type flight struct {
		res Reservation
		n   int64
		day int
	}
	var flying []flight
	settle := func(i int, used, debt int64) { // a debt makes the rate admit less, and never more
		f := flying[i]
		flying = append(flying[:i], flying[i+1:]...)
		f.res.Settle(context.Background(), Actual{Dispatched: true, Input: used, Output: debt})
		level.Add(level, new(big.Rat).SetInt64(f.n-used))
		taken[f.day] -= f.n - used
	}
	tellAll := func() {
		for _, r := range gates {
			if err := r.flush(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range rapid.IntRange(1, 100).Draw(t, "events") {
		gate := gates[rapid.IntRange(0, 2).Draw(t, "gate")]
		switch rapid.SampledFrom([]string{"ask", "ask", "ask", "ask", "settle", "pass", "tell"}).Draw(t, "event") {
		case "pass":
			unit := rapid.SampledFrom([]time.Duration{time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Hour}).Draw(t, "unit")
			clock.pass(unit * time.Duration(rapid.IntRange(1, 20).Draw(t, "step")))
		case "tell":
			gate.hot.expire([]*Rule{rate})
			tellAll()
		case "settle":
			if len(flying) > 0 {
				i := rapid.IntRange(0, len(flying)-1).Draw(t, "which")
				// What comes back late to a bucket that was full meanwhile does not spill: only what comes back at
				// once is what one bucket would have.
				if used := rapid.Int64Range(0, flying[i].n).Draw(t, "used"); used == flying[i].n || rapid.Bool().Draw(t, "whole") {
					settle(i, flying[i].n, rapid.SampledFrom([]int64{0, 0, 1, 30, 1000, 1_000_000}).Draw(t, "debt"))
				} else {
					settle(i, used, 0)
					tellAll()
				}
			}
		case "ask":
			n := rapid.Int64Range(1, 20).Draw(t, "input")
			now := clock.now()
			level.Add(level, new(big.Rat).Mul(perNS, new(big.Rat).SetInt64(int64(now.Sub(last)))))
			if last = now; level.Cmp(capacity) > 0 {
				level.Set(capacity)
			}
			res, err := gate.Reserve(context.Background(), asking(n, rate, quota, places))
			if err != nil {
				if !errors.As(err, new(*Refusal)) {
					t.Fatal(err)
				}
				continue
			}
			if isSliced(res) {
				*sliced++
			}
			day := int(now.Unix() / 86400)
			level.Sub(level, new(big.Rat).SetInt64(n))
			taken[day] += n
			flying = append(flying, flight{res, n, day})
			if level.Sign() < 0 || taken[day] > quota.Limit.Amount || int64(len(flying)) > places.Limit.Amount {
				t.Fatalf("%s, %s, %s: %s are left, %d taken, %d in flight", rate.Limit, quota.Limit, places.Limit,
					level.FloatString(9), taken[day], len(flying))
			}
		}
	}
	// In the end nothing is held.
	for len(flying) > 0 {
		settle(0, flying[0].n, 0)
	}
	clock.pass(time.Second)
	for _, r := range gates {
		if err := r.hot.recall(context.Background(), []*Rule{rate}); err != nil {
			t.Fatal(err)
		}
	}
	states, err := gates[0].Peek(context.Background(), []*Rule{quota, places})
	if err != nil {
		t.Fatal(err)
	}
	if day := int(clock.now().Unix() / 86400); states[0].Remaining != quota.Limit.Amount-taken[day] || states[1].Remaining != places.Limit.Amount {
		t.Fatalf("%d of %s remain where %d were used, %d of %s", states[0].Remaining, quota.Limit, taken[day], states[1].Remaining, places.Limit)
	}
}
