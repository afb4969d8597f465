package limiter

import (
	"context"
	"math"
	"sync"
	"time"
)

// hotPath is the requests that meet one list of limits, and their slices.
type hotPath struct {
	keys    *hotKeys
	key     pathKey
	asked   []*Rule // as requests have them
	rules   []*Rule // each counter once
	shared  []*sharedRule
	amounts []int // the rules that slices have parts of: all that are not concurrent
	tag     string
	epochal bool // one is a quota

	mu       sync.Mutex // guards what follows
	current  *slice     // that is spent; nil: none
	next     *slice     // that is spent then
	fetching chan struct{}
	cool     time.Time // until then requests are exact
	retired  bool
	traffic  traffic
	places   *places // nil: no limit is concurrent
}

func newHotPath(s *hotKeys, key pathKey, asked, common []*Rule) *hotPath {
	p := &hotPath{keys: s, key: key, asked: asked, rules: common, tag: s.store.tag(common[0])}
	var concurrent []*Rule
	for i, rule := range common {
		shared := s.shared(rule)
		shared.paths[p] = struct{}{}
		p.shared = append(p.shared, shared)
		if rule.Limit.Unit == Concurrent {
			concurrent = append(concurrent, rule)
			continue
		}
		p.amounts = append(p.amounts, i)
		p.epochal = p.epochal || rule.Limit.Window.Quota()
	}
	if len(concurrent) > 0 {
		p.places = newPlaces(p, concurrent)
	}
	return p
}

// traffic is what requests of a path need, as measured lately.
type traffic struct {
	since time.Time
	count int64
	needs [sliceRules]int64 // sums

	last    time.Time // when what follows was measured
	rate    float64   // requests a second
	average [sliceRules]float64
}

// note counts a request, and ends a measurement that has lasted.
func (t *traffic) note(now time.Time, measure time.Duration, needs *[sliceRules]int64) {
	if elapsed := now.Sub(t.since); elapsed >= measure {
		if t.count > 0 && elapsed < 4*measure {
			t.last, t.rate = now, float64(t.count)/elapsed.Seconds()
			for i := range t.average {
				t.average[i] = float64(t.needs[i]) / float64(t.count)
			}
		}
		t.since, t.count, t.needs = now, 0, [sliceRules]int64{}
	}
	t.count++
	for i := range needs {
		t.needs[i] = min(t.needs[i]+needs[i], math.MaxInt64/2)
	}
}

// spend admits a request from a slice, nil where none has room for it.
func (p *hotPath) spend(req *Request, now time.Time) *slicedReservation {
	var needs [sliceRules]int64
	total, possible := req.wanted().total, true
	for i, rule := range p.rules {
		need, fits := req.need(rule.Limit, total)
		needs[i], possible = need, possible && fits
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traffic.note(now, p.keys.tuning.measure, &needs)
	if !possible || p.retired || p.cooling(now) {
		return nil
	}
	if p.keys.tuning.always > 0 {
		p.provide(now, &needs)
	}
	sl := p.slice(now, &needs)
	if sl == nil && len(p.amounts) > 0 {
		p.prefetch(now)
		return nil
	}
	var place *place
	if p.places != nil {
		if place = p.places.take(now); place == nil {
			return nil
		}
	}
	if sl.low(now) {
		p.prefetch(now)
	}
	return p.admit(req, sl, place, &needs, now)
}

// cooling reports whether requests are exact for now. The lock must be held.
func (p *hotPath) cooling(now time.Time) bool {
	if !p.cool.IsZero() && !now.Before(p.cool) {
		p.cool = time.Time{}
	}
	return !p.cool.IsZero()
}

// slice returns the slice that has what a request needs, nil where none has.
func (p *hotPath) slice(now time.Time, needs *[sliceRules]int64) *slice {
	for p.current != nil {
		over := p.current.over(now)
		if !over && p.current.has(needs) {
			return p.current
		}
		if !over && p.next == nil {
			return nil // it may have enough for others
		}
		p.current.end()
		p.current, p.next = p.next, nil
	}
	return nil
}

// prefetch fetches the next slice, if the traffic is worth one.
func (p *hotPath) prefetch(now time.Time) {
	if p.next != nil || p.fetching != nil || p.keys.tuning.always > 0 {
		return
	}
	t := &p.traffic
	if now.Sub(t.last) > 4*p.keys.tuning.measure {
		return
	}
	if sizes := p.sizes(t.rate*p.keys.tuning.fetch.Seconds(), &t.average, now); sizes != nil {
		p.fetching = make(chan struct{})
		p.keys.fetches.Go(func() { p.fetch(sizes) })
	}
}

// sizes is how much the next slice takes of each limit to be enough for so many requests; nil where it is
// not to be had. A limit that will soon be used up has no slices, because what other gates have of it in theirs
// then would be refused to a gate that has nothing left.
func (p *hotPath) sizes(requests float64, average *[sliceRules]float64, now time.Time) []int64 {
	tuning := &p.keys.tuning
	share := tuning.share * int64(p.keys.store.Replicas())
	parts := make([]int64, len(p.amounts))
	for n, i := range p.amounts {
		if average[i] > 0 {
			parts[n] = p.shared[i].part(p.rules[i].Limit, now, share)
			most := float64(parts[n]) / average[i]
			if most < requests && tuning.always == 0 {
				return nil
			}
			requests = min(requests, most)
		}
	}
	if requests < float64(tuning.least) {
		return nil
	}
	for n, i := range p.amounts {
		parts[n] = min(parts[n], int64(math.Ceil(requests*average[i])))
	}
	return parts
}

// provide fetches a slice, and places, where a test wants that requests find them.
func (p *hotPath) provide(now time.Time, needs *[sliceRules]int64) {
	if p.places != nil && len(p.places.free) == 0 {
		p.places.provide(now)
	}
	if len(p.amounts) == 0 || p.slice(now, needs) != nil || p.fetching != nil {
		return
	}
	var average [sliceRules]float64
	for i, need := range needs {
		average[i] = float64(need)
	}
	if sizes := p.sizes(float64(p.keys.tuning.always), &average, now); sizes != nil {
		p.fetching = make(chan struct{})
		p.mu.Unlock()
		p.fetch(sizes)
		p.mu.Lock()
	}
}

// fetch takes a slice in Redis.
func (p *hotPath) fetch(sizes []int64) {
	now := p.keys.now()
	sl, err := p.keys.store.openSlice(p, sizes, now)
	p.mu.Lock()
	close(p.fetching)
	p.fetching = nil
	switch {
	case sl == nil:
		if soon := now.Add(p.keys.tuning.measure); soon.After(p.cool) {
			p.cool = soon
		}
	case p.retired || p.cooling(p.keys.now()):
		sl.end()
	case p.current == nil:
		p.current = sl
	default:
		p.next = sl
	}
	p.mu.Unlock()
	p.keys.failed(err)
}

// openSlice takes a slice of so much of each limit. It returns nil where there is no room for it.
func (r *Redis) openSlice(p *hotPath, sizes []int64, now time.Time) (*slice, error) {
	rules := make([]*Rule, len(p.amounts))
	for n, i := range p.amounts {
		rules[n] = p.rules[i]
	}
	sl := &slice{path: p, id: p.keys.nextID(), until: now.Add(p.keys.tuning.hold), opened: now, parts: make([]slicePart, len(sizes))}
	sl.epoch = p.epoch()
	req := Request{ID: sl.id, N: 1}
	a := &ask{mode: luaSlice, tag: p.tag, id: sl.id, req: &req, out: output{cap: -1}, common: rules, sizes: sizes}
	got, err := r.call(context.Background(), a)
	if err != nil {
		return nil, err
	}
	if got.status != luaAdmitted {
		common, _ := a.seen(got)
		if got.status == luaRefused && !got.bad {
			p.see(common, now)
		}
		return nil, nil
	}
	holds := got.holds(rules)
	if got.bad {
		r.settler.add(settlement{tag: p.tag, id: sl.id, givenUp: true})
		return nil, unavailable(errReply)
	}
	for n := range holds {
		h := &holds[n]
		h.amount = sizes[n]
		sl.parts[n] = slicePart{unspent: sizes[n], mark: h.mark, knownAll: sizes[n]}
		if w := h.rule.Limit.Window; w.Quota() { // by Redis's clock, from before the call
			_, end := w.Bounds(time.Unix(0, h.mark))
			if left := now.Add(time.Duration(end.UnixNano() - got.at.wall)); left.Before(sl.until) {
				sl.until = left
			}
		}
		p.shared[p.amounts[n]].add(sizes[n])
	}
	p.see(holds, now)
	r.known(holds)
	sl.at, sl.size = got.at, sizes
	sl.record = &redisReservation{store: r, req: req, common: holds, at: got.at, parts: []part{{tag: p.tag, id: sl.id, holds: holds}}}
	r.open.add(sl.record)
	r.open.visit(p.tag) // a slice of rates lapses too: it leaves its bucket then
	return sl, nil
}

// epoch is that of the path's quotas.
func (p *hotPath) epoch() uint64 {
	if p.keys.store.opts.Epoch == nil || !p.epochal {
		return 0
	}
	return p.keys.store.opts.Epoch()
}

// see notes what Redis has said of rules, which are some of the path's.
func (p *hotPath) see(holds []hold, now time.Time) {
	for n := range holds {
		for i, rule := range p.rules {
			if rule.name == holds[n].rule.name {
				p.shared[i].see(&holds[n], now)
			}
		}
	}
}

// tick ends what is over. It reports whether the path has nothing any more.
func (p *hotPath) tick(now time.Time) (empty bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.expire(now)
	if p.places != nil {
		p.places.tick(now)
	}
	if p.keys.tuning.always > 0 || now.Sub(p.traffic.since) < p.keys.tuning.idle+p.keys.tuning.measure {
		return false
	}
	p.giveUp()
	p.retired = p.fetching == nil && p.coming() == nil
	return p.retired
}

// expire ends slices that are over. The lock must be held.
func (p *hotPath) expire(now time.Time) {
	if p.next != nil && p.next.over(now) {
		p.next.end()
		p.next = nil
	}
	if p.current != nil && p.current.over(now) {
		p.current.end()
		p.current, p.next = p.next, nil
	}
}

// giveUp gives back what the path has. The lock must be held.
func (p *hotPath) giveUp() {
	p.endSlices()
	if p.places != nil {
		p.places.giveBack(len(p.places.free))
	}
}

// endSlices ends the path's slices. The lock must be held.
func (p *hotPath) endSlices() {
	for _, sl := range []*slice{p.current, p.next} {
		if sl != nil {
			sl.end()
		}
	}
	p.current, p.next = nil, nil
}

// rest makes the path's requests exact until a time, and gives back what it has; also what is on its way,
// which it waits for. The error is that of ctx.
func (p *hotPath) rest(ctx context.Context, until time.Time) error {
	p.mu.Lock()
	p.cool = until
	waits := [...]chan struct{}{p.fetching, p.coming()}
	p.mu.Unlock()
	for _, coming := range waits {
		if coming == nil {
			continue
		}
		select {
		case <-coming:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.mu.Lock()
	p.giveUp()
	p.mu.Unlock()
	return nil
}

// coming is closed when the places have come that are on their way; nil where none are.
func (p *hotPath) coming() chan struct{} {
	if p.places == nil {
		return nil
	}
	return p.places.coming
}

// retire ends the path.
func (p *hotPath) retire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.retired = true
	p.giveUp()
}
