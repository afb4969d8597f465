package limiter

import (
	"context"
	"maps"
	"slices"
	"time"
)

// places are the places in a path's concurrent limits that this gate keeps, to give them from one request
// to the next. Each is a reservation in Redis, which holds one place in all of them. They are guarded by the
// path's lock.
type places struct {
	path  *hotPath
	rules []*Rule
	which []int // among the path's rules

	free     []*place
	all      map[*place]struct{} // the free ones and those in use
	verified time.Time           // when Redis had them all, by the gate's clock
	looking  bool                // whether it still has
	coming   chan struct{}       // closed when more have come; nil: none are on their way
	cool     time.Time           // until then no more are asked for

	spare int // the fewest that were free since
	since time.Time
}

// place is one of them.
type place struct {
	record *redisReservation
	lost   bool // Redis may not know it
}

func newPlaces(p *hotPath, rules []*Rule) *places {
	l := &places{path: p, rules: rules, all: make(map[*place]struct{})}
	for i, rule := range p.rules {
		if rule.Limit.Unit == Concurrent {
			l.which = append(l.which, i)
		}
	}
	return l
}

// take gives a place to a request, nil where none is free. It asks for more before the last is taken.
func (l *places) take(now time.Time) *place {
	if len(l.free) > 0 && now.Sub(l.verified) > l.path.keys.tuning.fresh {
		l.lose()
	}
	if len(l.free) < l.want()/2 {
		l.grow(now)
	}
	n := len(l.free)
	if n == 0 {
		return nil
	}
	place := l.free[n-1]
	l.free = l.free[:n-1]
	l.spare = min(l.spare, n-1)
	return place
}

// want is how many places should be free: for the requests of the next tenth of a second.
func (l *places) want() int {
	return min(int(l.path.traffic.rate/10)+2, batchMost)
}

// put takes a place back from a request.
func (l *places) put(place *place) {
	p := l.path
	if place.lost || p.retired || !p.cool.IsZero() && p.cooling(p.keys.now()) {
		for _, i := range l.which {
			p.shared[i].settle(1, 0, 0)
		}
		l.end(place)
		return
	}
	l.free = append(l.free, place)
	for _, i := range l.which {
		p.shared[i].add(1)
	}
}

// end gives a place back to Redis.
func (l *places) end(place *place) {
	delete(l.all, place)
	place.record.Settle(context.Background(), Actual{Dispatched: true})
	for _, i := range l.which {
		l.path.shared[i].tell(1) // as soon as any settlement
	}
}

// giveBack gives back so many that are free.
func (l *places) giveBack(n int) {
	for range n {
		last := len(l.free) - 1
		place := l.free[last]
		l.free = l.free[:last]
		for _, i := range l.which {
			l.path.shared[i].giveBack(1, 0)
		}
		l.end(place)
	}
}

// lose gives all places up: Redis may not know them any more. Those in use go when their requests end.
func (l *places) lose() {
	for place := range l.all {
		place.lost = true
	}
	clear(l.all)
	l.giveBack(len(l.free))
}

// grow asks for more places.
func (l *places) grow(now time.Time) {
	if l.coming != nil || now.Before(l.cool) || l.path.keys.tuning.always > 0 {
		return
	}
	if n := l.most(l.want(), now); n > 0 {
		l.coming = make(chan struct{})
		l.path.keys.fetches.Go(func() { l.fetch(n, now) })
	}
}

// most is as many as may be asked for.
func (l *places) most(n int, now time.Time) int {
	keys := l.path.keys
	share := keys.tuning.share * int64(keys.store.Replicas())
	for _, i := range l.which {
		n = int(min(int64(n), l.path.shared[i].part(l.path.rules[i].Limit, now, share)))
	}
	return n
}

// provide fetches places where a test wants that requests find them.
func (l *places) provide(now time.Time) {
	if n := l.most(int(l.path.keys.tuning.always), now); n > 0 && l.coming == nil {
		l.coming = make(chan struct{})
		l.path.mu.Unlock()
		l.fetch(n, now)
		l.path.mu.Lock()
	}
}

// fetch takes places in Redis, in one call.
func (l *places) fetch(n int, now time.Time) {
	p := l.path
	r := p.keys.store
	batch := make([]*pending, n)
	for i := range batch {
		req := &Request{ID: p.keys.nextID(), N: 1}
		batch[i] = &pending{ask: &ask{mode: luaReserve, tag: p.tag, id: req.ID, req: req, out: output{cap: -1}, common: l.rules}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), r.opts.Timeout)
	r.sendAll(ctx, batch)
	cancel()
	var failed error
	var got []*place
	var seen []hold
	for _, one := range batch {
		a := one.ask
		if one.err != nil {
			failed = one.err
			if mayHaveRun(one.err) {
				r.settler.add(settlement{tag: a.tag, id: a.id, givenUp: true})
			}
			continue
		}
		seen = one.answer.holds(l.rules)
		if one.answer.status != luaAdmitted || one.answer.bad {
			continue
		}
		record := &redisReservation{store: r, req: *a.req, common: seen, at: one.answer.at, parts: []part{{tag: a.tag, id: a.id, holds: seen}}}
		for i := range seen {
			seen[i].amount = 1
		}
		r.open.add(record)
		got = append(got, &place{record: record})
	}
	p.mu.Lock()
	l.come(got, seen, n, now)
	p.mu.Unlock()
	if failed != nil {
		p.keys.failed(r.failed(failed))
	}
}

// come notes places that have come of n that were asked for.
func (l *places) come(got []*place, seen []hold, n int, now time.Time) {
	p := l.path
	close(l.coming)
	l.coming = nil
	if len(got) < n {
		l.cool = now.Add(p.keys.tuning.measure)
	}
	if len(l.all) == 0 {
		l.verified, l.since, l.spare = now, now, 0
	}
	p.see(seen, now)
	for _, place := range got {
		l.all[place] = struct{}{}
		l.free = append(l.free, place)
		for _, i := range l.which {
			p.shared[i].add(1)
		}
	}
	if p.retired || p.cooling(p.keys.now()) {
		l.giveBack(len(l.free))
	}
}

// tick gives back what nobody has needed lately, and has Redis asked whether it has the others.
func (l *places) tick(now time.Time) {
	if l.path.keys.tuning.always > 0 || len(l.all) == 0 || now.Sub(l.since) < l.path.keys.tuning.idle {
		return
	}
	l.giveBack(min(l.spare, len(l.free)))
	l.spare, l.since = len(l.free), now
	if len(l.all) == 0 || l.looking {
		return
	}
	l.looking = true
	all := slices.Collect(maps.Keys(l.all))
	l.path.keys.fetches.Go(func() { l.look(all, now) })
}

// look renews places, and gives all up if Redis does not have one.
func (l *places) look(all []*place, now time.Time) {
	p := l.path
	ids := make([]string, len(all))
	for i, place := range all {
		ids[i] = place.record.req.ID
	}
	there, err := p.keys.store.renewIDs(context.Background(), p.tag, ids)
	p.mu.Lock()
	l.looking = false
	for _, place := range all {
		if _, kept := l.all[place]; !kept {
			there++ // given back meanwhile
		}
	}
	switch {
	case err != nil:
	case there < int64(len(all)):
		l.lose()
	default:
		l.verified = now
	}
	p.mu.Unlock()
	if err != nil {
		p.keys.store.opts.OnError(err)
	}
}
