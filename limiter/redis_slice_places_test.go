package limiter

import (
	"context"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// quiet is a tuning by which a key is hot at once, and its slices and places are looked after when a test
// says so.
func (m *manual) quiet() redisTuning {
	t := m.by()
	t.slice = defaultSlices
	t.slice.hot, t.slice.tell = 1, never
	return t
}

// placed admits requests until one has a place of those that the gate keeps.
func placed(t *testing.T, r *Redis, limit *Rule) (res *slicedReservation) {
	t.Helper()
	eventually(t, "a place", func() bool {
		one := admit(t, r, asking(1, limit))
		if isSliced(one) {
			res = one.(*slicedReservation)
			return true
		}
		one.Settle(context.Background(), all)
		r.hot.fetches.Wait()
		return false
	})
	return res
}

// count is how many places are kept, and how many of them are free.
func (p *hotPath) count() (kept, free int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.places.all), len(p.places.free)
}

// inRedis is how many places Redis takes for taken.
func inRedis(s *redistest.Server, limit *Rule) int64 {
	return s.Client().ZCard(context.Background(), "pinegate:"+limit.name).Val()
}

func TestPlacesThatRedisLostOrFreedAreGivenUp(t *testing.T) {
	for name, lose := range map[string]func(s *redistest.Server, ahead *Redis){
		"flushed": func(s *redistest.Server, _ *Redis) { s.Flush() },
		"lapsed":  func(_ *redistest.Server, ahead *Redis) { lapse(t, ahead) },
	} {
		t.Run(name, func(t *testing.T) {
			s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
			r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.quiet())
			later := newManual()
			later.pass(31 * time.Second)
			ahead := store(t, RedisOptions{URLs: []string{s.URL}}, later.by())
			limit := rule("a", "100 concurrent")
			res := placed(t, r, limit)
			look := func() {
				t.Helper()
				clock.pass(defaultSlices.idle)
				if res.path.tick(clock.now()) {
					t.Fatal("it is not hot any more")
				}
				r.hot.fetches.Wait()
			}
			look()
			if kept, _ := res.path.count(); kept == 0 {
				t.Fatal("a place was given up that Redis has")
			}
			placed(t, r, limit).Settle(context.Background(), all) // so that it stays hot
			lose(s, ahead)
			look()
			if kept, free := res.path.count(); kept != 0 || free != 0 {
				t.Errorf("%d places are kept and %d free that Redis does not have", kept, free)
			}
			res.Settle(context.Background(), all)
			if kept, free := res.path.count(); kept != 0 || free != 0 {
				t.Errorf("%d places are kept and %d free after their requests", kept, free)
			}
		})
	}
}

// A place of which nothing is known for long is given to nobody.
func TestPlacesThatWereNotLookedAfterAreGivenUp(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.quiet())
	limit := rule("a", "100 concurrent")
	res := placed(t, r, limit)
	res.Settle(context.Background(), all)
	clock.pass(defaultSlices.fresh + time.Microsecond)
	next := admit(t, r, asking(1, limit))
	if isSliced(next) && next.(*slicedReservation).place == res.place {
		t.Error("it has a place that may have lapsed")
	}
}

func TestPlacesThatNobodyNeedsAreGivenBack(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.quiet())
	limit := rule("a", "100 concurrent")
	busy := []Reservation{placed(t, r, limit)}
	for range 9 {
		busy = append(busy, placed(t, r, limit))
	}
	path := busy[0].(*slicedReservation).path
	for _, res := range busy {
		res.Settle(context.Background(), all)
	}
	for range 3 { // one request at a time is still there
		clock.pass(defaultSlices.idle)
		placed(t, r, limit).Settle(context.Background(), all)
		path.tick(clock.now())
		r.hot.fetches.Wait()
	}
	flushed(t, r)
	if kept, free := path.count(); kept > 3 || free > 3 || inRedis(s, limit) != int64(kept) {
		t.Errorf("%d places are kept, %d free, %d taken in Redis", kept, free, inRedis(s, limit))
	}
}

// What a gate knows of a key goes when the key is not hot any more.
func TestAKeyIsHotOnlyAsLongAsItIsUsed(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.quiet())
	limit := rule("a", "100 concurrent")
	res := placed(t, r, limit)
	clock.pass(defaultSlices.idle + defaultSlices.measure)
	if !res.path.tick(clock.now()) {
		t.Fatal("it is hot for longer")
	}
	r.hot.drop(res.path)
	if paths, rules := len(*r.hot.paths.Load()), len(r.hot.rules); paths != 0 || rules != 0 {
		t.Errorf("%d paths and %d rules are kept", paths, rules)
	}
	res.Settle(context.Background(), all)
	flushed(t, r)
	if n := inRedis(s, limit); n != 0 {
		t.Errorf("%d places are taken", n)
	}
	if isSliced(admit(t, r, asking(1, limit))) {
		t.Error("it was admitted from a slice that nobody has")
	}
}
