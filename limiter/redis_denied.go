package limiter

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// deniedMost is how many refusals are remembered.
const deniedMost = 10_000

// denied remembers for a moment who was refused, so that a key which is over its limit and keeps
// asking costs Redis nothing. It repeats a refusal only while it can't have changed by time: where
// what is used of a quota leaves no room, or a bucket with all that has come in since does not. What
// requests in flight hold is not remembered, and what this gate settles is forgotten. So it refuses
// too much only where another gate gives tokens back to a rate, and for 100 ms at most.
type denied struct {
	now  func() time.Time
	last time.Duration // how long a refusal is remembered

	count atomic.Int64
	mu    sync.Mutex
	rules map[string]denial // by the name of the rule that refused; guarded by mu

	// When, in turns, something came back last to the counters of a slot, whether or not a refusal
	// was remembered: one that was made before is not remembered after it.
	turn  atomic.Uint64
	freed [256]atomic.Uint64
}

// denial is a refusal and what led to it.
type denial struct {
	refusal *Refusal
	rules   []*Rule // of the request that was refused
	counter counter // of the rule that refused; not to be changed
	at      time.Time
	until   time.Time
}

func (d *denied) start(t redisTuning) {
	d.now, d.last = t.now, t.denied
	if d.now == nil {
		d.now = time.Now
	}
}

// ask begins what may end in a refusal, and returns its turn.
func (d *denied) ask() (turn uint64) { return d.turn.Add(1) }

func (d *denied) slot(rule *Rule) *atomic.Uint64 {
	return &d.freed[rule.hash%uint64(len(d.freed))]
}

// remember notes a refusal of rules, which the holds are of, if it is of a kind that lasts and nothing
// has come back since its turn.
func (d *denied) remember(turn uint64, r *Refusal, rules []*Rule, holds []hold) {
	if d.last <= 0 || r.TooLarge || r.Reserved || r.Rule.Limit.Unit == Concurrent {
		return
	}
	for i := range holds {
		if holds[i].rule != r.Rule {
			continue
		}
		now := d.now()
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.rules == nil || len(d.rules) >= deniedMost {
			d.rules = make(map[string]denial)
		}
		d.rules[r.Rule.name] = denial{
			refusal: r, rules: slices.Clone(rules), counter: holds[i].counter,
			at: now, until: now.Add(min(d.last, r.RetryAfter)),
		}
		d.count.Store(int64(len(d.rules)))
		if d.slot(r.Rule).Load() > turn { // looked at last: forget marks it before it looks for what to drop
			delete(d.rules, r.Rule.name)
			d.count.Store(int64(len(d.rules)))
		}
		return
	}
}

// refusal repeats a refusal of the same rules, nil where none is remembered or the request may pass.
func (d *denied) refusal(req *Request, rules []*Rule) *Refusal {
	if d.count.Load() == 0 {
		return nil
	}
	now := d.now()
	for _, rule := range rules {
		d.mu.Lock()
		known, ok := d.rules[rule.name]
		d.mu.Unlock()
		if ok && now.Before(known.until) && slices.Equal(known.rules, rules) {
			if again := known.again(req, rule, now.Sub(known.at)); again != nil {
				return again
			}
		}
	}
	return nil
}

// again makes the refusal of a request by what was known of the counter some time ago.
func (d denial) again(req *Request, rule *Rule, elapsed time.Duration) *Refusal {
	again := *d.refusal
	l := rule.Limit
	least, _ := req.need(l, req.least())
	room := int64(0)
	switch c := d.counter.(type) {
	case *bucket:
		b := *c
		b.fill(instant{mono: b.last + int64(elapsed)})
		room = b.level
		again.Requested, _ = req.need(l, req.wanted().total)
		again.RetryAfter = fillTime(again.Requested-b.level, b.fraction, l)
		again.Used = max(l.Amount, l.Capacity()) - room
	case *quota:
		room = l.Amount - c.used
		again.Requested = least
		again.RetryAfter -= elapsed
	}
	if least <= room || least == 0 {
		return nil
	}
	if _, fits := req.need(l, req.least()); !fits {
		return nil // Redis tells better
	}
	if l.Window.Rate() {
		again.Remaining = max(room, 0)
	}
	again.RetryAfter = max(again.RetryAfter, time.Microsecond)
	again.States = slices.Clone(again.States)
	return &again
}

// forget drops what is remembered of counters to which something may have come back.
func (d *denied) forget(holds []hold) {
	turn := d.ask()
	for i := range holds {
		slot := d.slot(holds[i].rule)
		for before := slot.Load(); before < turn && !slot.CompareAndSwap(before, turn); before = slot.Load() {
			continue // a later turn stays
		}
	}
	if d.count.Load() == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range holds {
		delete(d.rules, holds[i].rule.name)
	}
	d.count.Store(int64(len(d.rules)))
}

// sweep drops what is not remembered any more.
func (d *denied) sweep() {
	now := d.now()
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, known := range d.rules {
		if !now.Before(known.until) {
			delete(d.rules, name)
		}
	}
	d.count.Store(int64(len(d.rules)))
}
