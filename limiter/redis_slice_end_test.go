package limiter

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

func TestWhatWasUsedOfALostSliceIsCharged(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(10))
	exact := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	limits := []*Rule{rule("a", "1000 tokens/month"), rule("a", "1000 tokens/hour")}
	left := func(want int64) {
		t.Helper()
		for _, limit := range limits {
			remains(t, exact, limit, want)
		}
	}
	admit(t, r, asking(10, limits...)).Settle(context.Background(), Actual{})
	flushed(t, r)
	told3, untold7, flying := fromSlice(t, r, asking(10, limits...)), fromSlice(t, r, asking(10, limits...)), fromSlice(t, r, asking(10, limits...))
	told3.Settle(context.Background(), Actual{Dispatched: true, Input: 3})
	told(t, r)
	untold7.Settle(context.Background(), Actual{Dispatched: true, Input: 7})
	s.Flush()
	admit(t, exact, asking(1, limits...)) // the quota is seeded: with nothing
	told(t, r)                            // that Redis does not know the slice
	told(t, r)
	left(1000 - 1 - 7)
	if next := admit(t, r, asking(10, limits...)); isSliced(next) && next.(*slicedReservation).slice == flying.slice {
		t.Error("a slice is spent that Redis does not know")
	}
	r.hot.end()
	told(t, r)
	left(1000 - 1 - 7 - 10)
	flying.Settle(context.Background(), Actual{Dispatched: true, Input: 4})
	told(t, r)
	told(t, r)
	left(1000 - 1 - 7 - 10 - 4)
	for i, shared := range flying.path.shared {
		if shared.holds() {
			t.Errorf("it takes something of %s for untold", limits[i].name)
		}
	}
}

// Where Redis was told the end of a slice and its answer was lost, it does not know the slice any more, and
// has all that was used.
func TestASliceWhoseEndWentUnansweredIsNotCharged(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(10))
	quota := rule("a", "1000 tokens/month")
	admit(t, r, asking(10, quota)).Settle(context.Background(), Actual{})
	flushed(t, r)
	res := fromSlice(t, r, asking(10, quota))
	res.path.mu.Lock()
	res.slice.end()
	res.path.settle(res, Actual{Dispatched: true, Input: 7})
	res.path.mu.Unlock()
	c := r.settleCall([]settlement{{id: res.slice.id, slice: res.slice}})
	if err := c.script.run(context.Background(), r.client, c.keys, c.args...).Err(); err != nil {
		t.Fatal(err)
	}
	res.slice.unanswered()
	told(t, r)
	exact := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	remains(t, exact, quota, 993)
	if r.hot.has(quota) {
		t.Error("it takes something for untold, and each refusal waits for it")
	}
}

func TestSlicesEndWhenRedisIsAway(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	tuning := newManual().greedy(50)
	tuning.now, tuning.slice.hold = nil, time.Hour // a share goes by the gate's clock
	r := store(t, RedisOptions{URLs: []string{s.URL}, Timeout: 2 * time.Second}, tuning)
	back := make(chan bool, 10)
	g := NewGuarded(r, GuardedOptions{OnChange: func(up bool, _ error) { back <- up }})
	t.Cleanup(func() { _ = g.Close() })
	quota := rule("a", "1000 tokens/month")
	ask := func() Reservation {
		t.Helper()
		res, err := g.Reserve(context.Background(), asking(10, quota))
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	ask()
	res := ask()
	if !isSliced(res) {
		t.Fatal("it was admitted exactly")
	}
	s.Stop()
	g.Report(&Unavailable{Reason: ReasonConnect, Err: errors.New("it is gone")})
	if n := r.hot.unspent(quota); n != 0 {
		t.Errorf("%d are in slices while Redis is away", n)
	}
	if isSliced(ask()) {
		t.Error("a slice is spent while Redis is away")
	}
	res.Settle(context.Background(), Actual{Dispatched: true, Input: 3})
	if up := <-back; up {
		t.Fatal("it was back before it was away")
	}
	s.Cont()
	if up := <-back; !up {
		t.Fatal("it was away twice")
	}
	// What was used is told before Redis decides again: one request that was exact, and one of a share.
	exact := store(t, RedisOptions{URLs: []string{s.URL}}, calm())
	remains(t, exact, quota, 1000-10-10-3)
}

func TestAFlushTellsWhereSlicesStand(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	tuning := clock.greedy(10)
	tuning.slice.tell = never
	r := store(t, RedisOptions{URLs: []string{s.URL}}, tuning)
	exact := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	quota := rule("a", "1000 tokens/month")
	admit(t, r, asking(10, quota)).Settle(context.Background(), Actual{})
	flushed(t, r)
	fromSlice(t, r, asking(10, quota)).Settle(context.Background(), Actual{Dispatched: true, Input: 4})
	remains(t, exact, quota, 1000-100)
	if err := r.flush(context.Background()); err != nil {
		t.Fatal(err)
	}
	remains(t, exact, quota, 1000-100+6)
}

// A caller that waits until Redis knows something does not wait for what comes after it: under load something
// always does.
func TestAFlushWaitsForNothingThatComesLater(t *testing.T) {
	s := &settler{store: new(Redis), wake: make(chan struct{}, 1)}
	s.add(settlement{id: "first"})
	done := make(chan error)
	go func() { done <- s.flush(context.Background()) }()
	eventually(t, "it waits", s.awaited)
	s.add(settlement{id: "later"})
	batch := s.take()
	s.add(settlement{id: "last"})
	s.finish(batch[:1], errors.New("no answer")) // to the first; the later one is delivered
	select {
	case <-done:
		t.Fatal("it did not wait for a settlement that is tried again")
	default:
	}
	s.mu.Lock()
	waits := len(s.waiting)
	s.mu.Unlock()
	if waits != 1 {
		t.Fatal("it did not wait for a settlement that is tried again")
	}
	batch = s.take()
	s.add(settlement{id: "after all"})
	s.finish(nil, nil)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if queued, _ := s.stats(); queued != 1 || len(batch) != 2 {
		t.Errorf("%d are queued, %d were taken", queued, len(batch))
	}
}

func TestAGateThatIsClosedGivesItsSlicesBack(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	limits := []*Rule{rule("a", "1000 tokens/month"), rule("a", "1000 tokens/hour"), rule("a", "20 concurrent")}
	r, err := newRedis(RedisOptions{URLs: []string{s.URL}, Timeout: 5 * time.Second}, clock.greedy(10))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		res := admit(t, r, asking(10, limits...))
		if isSliced(res) != (i > 0) {
			t.Errorf("request %d is from a slice: %t", i, isSliced(res))
		}
		res.Settle(context.Background(), Actual{Dispatched: true, Input: 10})
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if queued := r.Stats(); queued.Open != 0 || queued.Dropped != 0 {
		t.Errorf("left: %+v", queued)
	}
	exact := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	for i, want := range []int64{970, 970, 20} {
		remains(t, exact, limits[i], want)
	}
	if keys := s.Client().Keys(context.Background(), "pinegate:r/*").Val(); len(keys) != 0 {
		t.Errorf("records are left: %v", keys)
	}
	if raw := s.Client().Get(context.Background(), "pinegate:"+limits[1].name).Val(); len(raw) != 40 {
		t.Error("the bucket takes something for sliced")
	}
}

// A slice that comes when the gate is about to be closed is given back too.
func TestASliceThatComesToAGateThatClosesIsGivenBack(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(10))
	quota := rule("a", "1000 tokens/month")
	admit(t, r, asking(10, quota))
	path := fromSlice(t, r, asking(10, quota)).path
	r.hot.close()
	path.mu.Lock()
	path.fetching = make(chan struct{})
	path.mu.Unlock()
	path.fetch([]int64{300})
	told(t, r)
	exact := store(t, RedisOptions{URLs: []string{s.URL}}, clock.by())
	remains(t, exact, quota, 980)
}

// A reload that lowers a limit finds slices of the old one.
func TestASliceDoesNotOutlastALimitThatIsLowered(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(50))
	for _, words := range [][2]string{{"1000 tokens/month", "100 tokens/month"}, {"1000 tokens/hour", "100 tokens/hour"}} {
		before, after := rule("a", words[0]), rule("a", words[1])
		admit(t, r, asking(10, before))
		fromSlice(t, r, asking(10, before)) // and 490 more are in its slice
		n := int64(20)
		for range 20 {
			if res, err := r.Reserve(context.Background(), asking(10, after)); err == nil {
				n += 10
				if isSliced(res) && slices.Equal(res.(*slicedReservation).path.asked, []*Rule{before}) {
					t.Error("it is of a slice of the old limit")
				}
			}
		}
		want := int64(100)
		if after.Limit.Window.Rate() { // a bucket that is cut knows what slices have, and not what was taken before
			want = 110
		}
		if n != want {
			t.Errorf("%d of %s are taken", n, words[1])
		}
	}
}

// A limit that is raised is there at once for who asks for more than slices leave.
func TestARaisedLimitIsThereAtOnce(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(50))
	before, after := rule("a", "100 tokens/month"), rule("a", "1000 tokens/month")
	admit(t, r, asking(10, before))
	fromSlice(t, r, asking(10, before))
	admit(t, r, asking(980, after))
	refuse(t, r, asking(1, after))
	refuse(t, r, asking(1, before))
}

// Nobody waits for the seed of a quota so that there is a slice.
func TestASliceAsksForNoSeed(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	var asked atomic.Int64
	r := store(t, RedisOptions{URLs: []string{s.URL}, Seed: func(*Rule, time.Time) (int64, error) {
		asked.Add(1)
		return 0, nil
	}}, clock.greedy(10))
	quota := rule("a", "1000 tokens/month")
	admit(t, r, asking(10, quota))
	s.Flush()
	if sl, err := r.openSlice((*r.hot.paths.Load())[pathKey{hash: quota.hash, first: quota}], []int64{10}, clock.now()); sl != nil || err != nil {
		t.Errorf("got %v and %v", sl, err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the seed was asked for %d times", n)
	}
}

// A slice that takes too long is no reason to take Redis for away: nobody has waited for it.
func TestASliceThatTakesTooLongIsNotTold(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	tuning := clock.greedy(10)
	tuning.slice.tell = never
	var told atomic.Int64
	r := store(t, RedisOptions{URLs: []string{s.URL}, OnError: func(error) { told.Add(1) }}, tuning)
	r.hot.failed(unavailable(context.DeadlineExceeded))
	if told.Load() != 0 {
		t.Error("it was told of a call that took too long")
	}
	r.hot.failed(&Unavailable{Reason: ReasonConnect, Err: errors.New("refused")})
	if told.Load() != 1 {
		t.Error("it was not told of a Redis that is gone")
	}
}

// On a Cluster, gates look for what dead ones held only where they have something to do: also where that is
// rates alone. Else a bucket would never again fill up beyond what a dead gate's slice had.
func TestASliceOfRatesLapsesOnACluster(t *testing.T) {
	c, clock := redistest.Cluster(t), newManual()
	dead := store(t, RedisOptions{URLs: c.URLs()}, clock.greedy(10))
	alive := store(t, RedisOptions{URLs: c.URLs()}, clock.greedy(1))
	rate := rule("a", "100 requests/hour")
	for _, r := range []*Redis{dead, alive} {
		admit(t, r, asking(1, rate))
		fromSlice(t, r, asking(1, rate))
	}
	dead.hot.cancel()
	dead.hot.running.Wait()
	clock.pass(31 * time.Second)
	alive.hot.expire([]*Rule{rate})
	told(t, alive)
	lapse(t, alive)
	clock.pass(10 * time.Hour)
	remains(t, alive, rate, 100)
}
