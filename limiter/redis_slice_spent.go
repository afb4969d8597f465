package limiter

import (
	"strconv"
	"time"
)

// slice is a part of some limits that was taken in Redis for many requests at once, under one id. Where it
// is guarded, it is by its path's lock.
type slice struct {
	path   *hotPath
	id     string
	record *redisReservation // by which Redis's record is renewed
	opened time.Time         // by the gate's clock, before the call
	until  time.Time
	epoch  uint64
	at     instant // of Redis, when it was taken
	size   []int64

	// What follows is guarded.
	parts  []slicePart
	flying int  // requests that are not settled
	ended  bool // nothing of it is spent any more
	moved  bool // since it was told where it stands

	// Of what was told.
	number float64
	told   []slicePart
	last   bool // that it is at its end
	doubt  bool // that it is at its end, and Redis has not answered
	lost   bool // Redis does not know it
	losses int  // how often what was used was charged since
}

// slicePart is a slice's part of one limit.
type slicePart struct {
	unspent int64
	held    int64 // by requests that are not settled
	used    int64
	mark    int64 // of a quota, its window

	// What Redis has taken note of.
	knownUsed int64
	knownAll  int64 // of all three together
}

func (p *slicePart) all() int64 { return p.unspent + p.held + p.used }

// over reports whether the slice is not to be spent any more.
func (sl *slice) over(now time.Time) bool {
	return sl.ended || !now.Before(sl.until) || sl.path.epoch() != sl.epoch
}

// low reports whether it is time for the next slice.
func (sl *slice) low(now time.Time) bool {
	if sl == nil {
		return false
	}
	if 5*now.Sub(sl.opened) > 4*sl.until.Sub(sl.opened) {
		return true
	}
	for i := range sl.parts {
		if sl.size[i] > 0 && sl.parts[i].unspent < sl.size[i]/3 {
			return true
		}
	}
	return false
}

// has reports whether the slice has what a request needs.
func (sl *slice) has(needs *[sliceRules]int64) bool {
	for n, i := range sl.path.amounts {
		if need := needs[i]; need > 0 && need > sl.parts[n].unspent {
			return false
		}
	}
	return true
}

// end gives back what is not spent.
func (sl *slice) end() {
	if sl.ended {
		return
	}
	sl.ended = true
	for n, i := range sl.path.amounts {
		part := &sl.parts[n]
		sl.path.shared[i].giveBack(part.unspent, part.mark)
		part.unspent = 0
	}
	sl.path.keys.note(sl)
}

// tell has Redis told where the slice stands.
func (sl *slice) tell() {
	p := sl.path
	p.mu.Lock()
	sl.moved = false
	lost := sl.lost
	p.mu.Unlock()
	if lost {
		sl.charge()
		return
	}
	p.keys.store.settler.add(settlement{tag: p.tag, id: sl.id, slice: sl, holds: sl.record.common})
}

// tellAgain has Redis told later, because what was to be told was dropped: else the slice would be renewed for
// ever.
func (sl *slice) tellAgain() {
	sl.path.mu.Lock()
	defer sl.path.mu.Unlock()
	sl.path.keys.note(sl)
}

// stand packs where the slice stands now, as settle.lua reads it. It is called for one call of Redis at a
// time.
func (sl *slice) stand() []byte {
	sl.path.mu.Lock()
	defer sl.path.mu.Unlock()
	sl.number++
	sl.last = sl.ended && sl.flying == 0
	told := packed(nil).number(sl.number).truth(sl.last)
	for n, i := range sl.path.amounts {
		part := &sl.parts[n]
		if sl.path.rules[i].Limit.Window.Quota() {
			told = told.numbers(float64(part.unspent+part.held), float64(part.used))
		} else {
			told = told.numbers(float64(min(part.all(), MaxAmount)), float64(part.unspent))
		}
	}
	sl.told = append(sl.told[:0], sl.parts...)
	if sl.last {
		sl.path.keys.store.open.end(sl.record)
	}
	return told
}

// answered notes that Redis has taken note of what was told.
func (sl *slice) answered() {
	sl.path.mu.Lock()
	defer sl.path.mu.Unlock()
	for n := range sl.parts {
		sl.know(n, &sl.told[n])
	}
}

// know notes how much Redis knows of a part.
func (sl *slice) know(n int, told *slicePart) {
	part := &sl.parts[n]
	p, i := sl.path, sl.path.amounts[n]
	back := part.knownAll - told.all()
	if back > 0 {
		p.keys.returnsOf(p.rules[i]).Add(1) // first, so that who finds nothing untold finds this
	}
	p.shared[i].tell(back)
	part.knownAll, part.knownUsed = told.all(), told.used
}

// unanswered notes that what was told may have arrived or not.
func (sl *slice) unanswered() {
	sl.path.mu.Lock()
	defer sl.path.mu.Unlock()
	sl.doubt = sl.doubt || sl.last
}

// missing notes that Redis has no record of the slice. It was lost, unless a call that went unanswered has
// told its end.
func (sl *slice) missing() {
	sl.path.mu.Lock()
	known := sl.doubt || sl.lost
	sl.lost = true
	switch {
	case sl.doubt: // it was told all there is
		for n := range sl.parts {
			sl.know(n, &sl.parts[n])
		}
	case !known:
		sl.end()
		sl.path.keys.store.open.end(sl.record)
		if sl.path.places != nil {
			sl.path.places.lose()
		}
	}
	sl.path.mu.Unlock()
	if !known {
		sl.charge()
	}
}

// charge charges what was used of a slice that Redis has lost, as far as it was not told before.
func (sl *slice) charge() {
	p := sl.path
	p.mu.Lock()
	var holds []hold
	for n, i := range p.amounts {
		part := &sl.parts[n]
		if owed := part.used - part.knownUsed; owed > 0 {
			holds = append(holds, hold{rule: p.rules[i], amount: owed, mark: part.mark})
		}
		sl.know(n, part)
	}
	sl.losses++
	id := sl.id + "/" + strconv.Itoa(sl.losses)
	p.mu.Unlock()
	if len(holds) > 0 {
		p.keys.store.hold(id, holds)
	}
}
