package limiter

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// greedy is a tuning by which requests find slices for so many of them, which take all they can.
func (m *manual) greedy(requests int64) redisTuning {
	t := m.by()
	t.slice = defaultSlices
	t.slice.hot, t.slice.least, t.slice.share, t.slice.always = 1, 1, 1, requests
	return t
}

// isSliced reports whether a reservation was made from a slice.
func isSliced(res Reservation) bool {
	_, sliced := res.(*slicedReservation)
	return sliced
}

// fromSlice admits a request, which must be from a slice.
func fromSlice(t testing.TB, r *Redis, req Request) *slicedReservation {
	t.Helper()
	res, sliced := admit(t, r, req).(*slicedReservation)
	if !sliced {
		t.Fatal("it was admitted exactly")
	}
	return res
}

func told(t testing.TB, r *Redis) {
	t.Helper()
	r.hot.tell()
	flushed(t, r)
}

func TestAHotKeyCostsFewCalls(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	r := store(t, RedisOptions{URLs: []string{s.URL}}, defaultTuning)
	exact := store(t, RedisOptions{URLs: []string{s.URL}, Exact: true}, calm())
	rules := []*Rule{
		rule("hot", "1M requests/second"), rule("hot", "1000M tokens/minute"), rule("hot", "1000M tokens/month"),
		NewRule(ScopeTeam, "crew", Limit{Unit: Concurrent, Amount: 10_000}),
	}
	s.Do("config", "resetstat")
	const requests = 60_000
	var n atomic.Int64
	crowd(8, func(int) {
		for n.Add(1) <= requests {
			res, err := r.Reserve(context.Background(), asking(100, rules...))
			if err != nil {
				t.Error(err)
				return
			}
			res.Settle(context.Background(), Actual{Dispatched: true, Input: 60})
		}
	})
	calls := s.Calls("evalsha") + s.Calls("eval")
	t.Logf("%d calls", calls)
	if calls > requests/10 {
		t.Errorf("%d requests were %d calls", requests, calls)
	}
	if err := r.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	states, err := r.Peek(context.Background(), rules)
	if err != nil {
		t.Fatal(err)
	}
	if got := states[2].Used; got != 60*requests {
		t.Errorf("%d tokens were used, want %d", got, 60*requests)
	}
	// When nobody asks any more, nothing is held.
	eventually(t, "everything is given back", func() bool {
		states, err := exact.Peek(context.Background(), rules)
		return err == nil && states[2].Remaining == 1_000_000_000-60*requests && states[3].Remaining == 10_000 && r.Stats().Open == 0
	})
	eventually(t, "nothing is hot", func() bool { return len(*r.hot.paths.Load()) == 0 })
	r.hot.mu.Lock()
	defer r.hot.mu.Unlock()
	if len(r.hot.rules) > 0 {
		t.Errorf("%d rules are kept", len(r.hot.rules))
	}
}

func TestAKeyThatIsNotHotIsExact(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	tuning := defaultTuning
	tuning.slice.measure = time.Millisecond // so that no machine is quick enough for 16 within it, one by one
	tuning.slice.hot = 1 << 20
	r := store(t, RedisOptions{URLs: []string{s.URL}}, tuning)
	limit := rule("cold", "1000 requests/hour")
	for range 50 {
		if isSliced(admit(t, r, asking(1, limit))) {
			t.Fatal("it was admitted from a slice")
		}
	}
	if len(*r.hot.paths.Load()) > 0 {
		t.Error("it is taken for hot")
	}
}

func TestThreeGatesWithSlicesAdmitExactlyTheLimit(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var gates [3]*Redis
	for i := range gates {
		gates[i] = store(t, RedisOptions{URLs: []string{s.URL}}, defaultTuning)
	}
	for range 2 {
		for _, r := range gates {
			if err := r.beat(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	team := NewRule(ScopeTeam, "crew", Limit{Unit: Requests, Window: Hour, Amount: 1_000_000_000})
	for words, tokens := range map[string]int64{
		"60k requests/hour": 7, "60k requests/month": 7, "600k tokens/day": 10, "600k tokens/hour": 10,
	} {
		t.Run(words, func(t *testing.T) {
			limit := rule("storm", words)
			want := limit.Limit.Amount
			if limit.Limit.Unit == Tokens {
				want /= tokens
			}
			var admitted, sliced, first atomic.Int64
			start := time.Now()
			crowd(12, func(i int) {
				var refused time.Time // for the first time
				for {
					res, err := gates[i%3].Reserve(context.Background(), asking(tokens, limit, team))
					var refusal *Refusal
					switch {
					case err == nil:
						admitted.Add(1)
						if isSliced(res) {
							sliced.Add(1)
						}
						res.Settle(context.Background(), Actual{Dispatched: true, Input: tokens})
					case !errors.As(err, &refusal):
						t.Error(err)
						return
					case refused.IsZero():
						first.CompareAndSwap(0, admitted.Load())
						refused = time.Now()
					case time.Since(refused) > 3*defaultSlices.hold:
						return
					default:
						time.Sleep(time.Millisecond)
					}
				}
			})
			most := want
			if limit.Limit.Window.Rate() {
				most += int64(time.Since(start).Seconds()*float64(want)/3600) + 1
			}
			t.Logf("%d admitted, %d from slices, %d before the first refusal, in %v", admitted.Load(), sliced.Load(), first.Load(), time.Since(start))
			if n := admitted.Load(); n < want || n > most {
				t.Errorf("%d were admitted, want %d", n, want)
			}
			if first.Load() < want*3/4 {
				t.Errorf("the first refusal came after %d of %d", first.Load(), want)
			}
			if sliced.Load() == 0 {
				t.Error("none was admitted from a slice")
			}
		})
	}
}

func TestThreeGatesWithSlicesNeverHaveMoreInFlightThanPlaces(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var gates [3]*Redis
	for i := range gates {
		gates[i] = store(t, RedisOptions{URLs: []string{s.URL}}, defaultTuning)
	}
	places, requests := rule("busy", "60 concurrent"), rule("busy", "1G requests/minute")
	var inFlight, most, sliced atomic.Int64
	const requestsMost = 60_000
	var asked atomic.Int64
	crowd(90, func(i int) {
		if i >= 30 { // first there are places enough, and then not
			eventually(t, "half of it", func() bool { return asked.Load() > requestsMost/2 })
		}
		for asked.Add(1) < requestsMost {
			res, err := gates[i%3].Reserve(context.Background(), asking(1, places, requests))
			if err != nil {
				time.Sleep(time.Millisecond)
				continue
			}
			n := inFlight.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if isSliced(res) {
				sliced.Add(1)
			}
			time.Sleep(time.Duration(i%3) * 100 * time.Microsecond)
			inFlight.Add(-1)
			res.Settle(context.Background(), Actual{Dispatched: true, Input: 1})
			res.Settle(context.Background(), Actual{Dispatched: true, Input: 1})
		}
	})
	t.Logf("%d at once, %d from slices", most.Load(), sliced.Load())
	if most.Load() > 60 || sliced.Load() == 0 {
		t.Errorf("%d in flight at once, %d from slices", most.Load(), sliced.Load())
	}
	eventually(t, "all places are free", func() bool { return s.Client().ZCard(context.Background(), "pinegate:"+places.name).Val() == 0 })
}

func TestASliceEndsWithItsWindow(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(10))
	limit := rule("a", "100 requests/day")
	_, end := Day.Bounds(clock.now())
	clock.pass(end.Sub(clock.now()) - 100*time.Millisecond)
	admit(t, r, asking(1, limit))
	old := fromSlice(t, r, asking(1, limit))
	remains(t, r, limit, 98)
	clock.pass(150 * time.Millisecond)
	admit(t, r, asking(1, limit))
	remains(t, r, limit, 99)
	old.Settle(context.Background(), all)
	told(t, r)
	remains(t, r, limit, 99)
}

func TestASliceIsSpentForAMomentOnly(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(10))
	other := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	limit := rule("a", "100 requests/day")
	admit(t, r, asking(1, limit))
	first := fromSlice(t, r, asking(1, limit))
	remains(t, r, limit, 98)
	remains(t, other, limit, 89)
	clock.pass(defaultSlices.hold - time.Microsecond)
	if again := fromSlice(t, r, asking(1, limit)); again.slice != first.slice {
		t.Error("it ended early")
	}
	clock.pass(time.Microsecond)
	r.hot.expire([]*Rule{limit})
	told(t, r)
	remains(t, other, limit, 97)
	if again := fromSlice(t, r, asking(1, limit)); again.slice == first.slice {
		t.Error("it was spent for longer")
	}
}

func TestASliceDoesNotComeOnTopOfAFullBurst(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(5))
	other := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	limit := rule("a", "3600k requests/hour burst 20") // full again in 20 ms
	admit(t, r, asking(1, limit))
	fromSlice(t, r, asking(1, limit))
	told(t, r)
	clock.pass(200 * time.Millisecond)
	n := 0
	for range 30 {
		if _, err := other.Reserve(context.Background(), asking(1, limit)); err == nil {
			n++
		}
	}
	for range 4 {
		fromSlice(t, r, asking(1, limit))
	}
	if n += 4; n != 20 {
		t.Errorf("%d at once, the burst is 20", n)
	}
}

func TestASliceOfADeadGateLapses(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	dead := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(3))
	alive := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	places, quota, rate := rule("a", "9 concurrent"), rule("a", "1000 tokens/month"), rule("a", "60 tokens/minute burst 200")
	exact := admit(t, dead, asking(20, places, quota, rate))
	exact.Settle(context.Background(), Actual{})
	flushed(t, dead)
	fromSlice(t, dead, asking(20, places, quota, rate))
	dead.hot.cancel()
	dead.hot.running.Wait()
	remains(t, alive, places, 6)
	remains(t, alive, quota, 940)
	remains(t, alive, rate, 140)
	clock.pass(30 * time.Second)
	lapse(t, alive)
	remains(t, alive, places, 9)
	remains(t, alive, quota, 940)
	if r := refuse(t, alive, asking(950, quota)); r.Reserved {
		t.Errorf("got %v, want a refusal for what counts as used", r)
	}
	clock.pass(time.Hour)
	remains(t, alive, rate, 200)
}

func TestWhereASliceStandsIsToldInAnyOrder(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(10))
	quota, rate := rule("a", "1000 tokens/month"), rule("a", "1000 tokens/hour")
	admit(t, r, asking(10, quota, rate)).Settle(context.Background(), Actual{})
	flushed(t, r)
	first, second := fromSlice(t, r, asking(10, quota, rate)), fromSlice(t, r, asking(10, quota, rate))
	if first.slice != second.slice {
		t.Fatal("they are of two slices")
	}
	tell := func() *call {
		return r.settleCall([]settlement{{id: first.slice.id, slice: first.slice}})
	}
	one := tell()
	first.Settle(context.Background(), Actual{Dispatched: true, Input: 4})
	two := tell()
	for _, c := range []*call{two, one, two, one} {
		if err := c.script.run(context.Background(), r.client, c.keys, c.args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	exact := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	for _, limit := range []*Rule{quota, rate} {
		remains(t, exact, limit, 1000-100+6)
	}
	second.Settle(context.Background(), Actual{Dispatched: true, Input: 15}) // more than it had reserved
	told(t, r)
	for _, limit := range []*Rule{quota, rate} {
		remains(t, exact, limit, 1000-100+6-5)
		remains(t, r, limit, 1000-19)
	}
	clock.pass(time.Second)
	r.hot.expire([]*Rule{quota})
	told(t, r)
	for _, limit := range []*Rule{quota, rate} {
		remains(t, exact, limit, 1000-19)
	}
	if n := s.Client().Exists(context.Background(), "pinegate:r/"+first.slice.id).Val(); n != 0 {
		t.Error("the record of a slice that is over is there")
	}
}

func TestASliceWhoseAnswerIsLostIsGivenBack(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}, Timeout: 200 * time.Millisecond}, clock.greedy(10))
	quota, rate := rule("a", "1000 tokens/month"), rule("a", "1000 tokens/hour burst 1000")
	admit(t, r, asking(10, quota, rate)).Settle(context.Background(), Actual{})
	flushed(t, r)
	s.Stop()
	_, err := r.Reserve(context.Background(), asking(10, quota, rate))
	fails(t, err, ReasonTimeout)
	s.Cont()
	flushed(t, r)
	eventually(t, "both are whole", func() bool {
		states, err := r.Peek(context.Background(), []*Rule{quota, rate})
		return err == nil && states[0].Remaining == 1000 && states[1].Remaining == 1000
	})
	if raw := s.Client().Get(context.Background(), "pinegate:"+rate.name).Val(); len(raw) > 40 {
		t.Error("the bucket takes something for sliced")
	}
}

func TestRequestsOfLimitedBackendsAreExact(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(10))
	req := asking(1, rule("a", "1000 requests/month"))
	req.Candidates = [][]*Rule{nil, {NewRule(ScopeBackend, "b", Limit{Unit: Concurrent, Amount: 5})}}
	for range 3 {
		again := asking(1, req.Rules...)
		again.Candidates = req.Candidates
		if isSliced(admit(t, r, again)) {
			t.Fatal("it was admitted from a slice")
		}
	}
}

// BenchmarkHotKey admits and settles requests of one key with four limits, from as many callers as there are
// processors.
func BenchmarkHotKey(b *testing.B) {
	s := redistest.Standalone(b, redistest.Options{})
	r := store(b, RedisOptions{URLs: []string{s.URL}}, defaultTuning)
	rules := []*Rule{
		rule("hot", "1M requests/second"), rule("hot", "1000G tokens/minute"),
		NewRule(ScopeTeam, "crew", Limit{Unit: Concurrent, Amount: 100_000}), NewRule(ScopeModel, "m*", Limit{Unit: Requests, Window: Second, Amount: 1_000_000}),
	}
	var sliced atomic.Int64
	ask := func() {
		res, err := r.Reserve(context.Background(), Request{ID: "id", Rules: rules, Input: 100, Output: 200, MaxOutput: 200, N: 1})
		if err != nil {
			b.Error(err)
			return
		}
		if isSliced(res) {
			sliced.Add(1)
		}
		res.Settle(context.Background(), Actual{Dispatched: true, Input: 100, Output: 50})
	}
	for start := time.Now(); time.Since(start) < 500*time.Millisecond; {
		ask()
	}
	sliced.Store(0)
	s.Do("config", "resetstat")
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			ask()
		}
	})
	b.StopTimer()
	b.ReportMetric(float64(sliced.Load())/float64(b.N), "sliced/op")
	b.ReportMetric(float64(s.Calls("evalsha"))/float64(b.N), "calls/op")
}
