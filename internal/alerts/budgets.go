// Package alerts finds quotas and budgets of which a percentage is used, and sends an alert for each
// to a webhook, once.
package alerts

import (
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Budgets keeps what is used of quotas, and which percentages were alerted, so that each is alerted
// once in each window. The zero value is ready to use. It is safe for concurrent use.
//
// A quota is identified by the name of its rule and its amount: after the amount was changed, its
// percentages are alerted anew.
type Budgets struct {
	mu      sync.Mutex
	seen    map[counter]*budget
	sweepAt int // how many budgets make it worth to look for those whose window has ended
}

// sweepFirst is how many budgets are kept without checking whether their windows have ended.
const sweepFirst = 1024

type counter struct {
	name   string
	amount int64
}

// budget is one window of a quota.
type budget struct {
	since, until time.Time
	used         int64     // at least
	alerted      [2]uint64 // a bit for each percentage
}

// Note adds that a request which saw the state of a quota was charged an amount of it, 0 for one that
// was refused, and returns an alert for each of the percentages, from 1 to 100, that is reached and was
// not alerted yet. For other limits it returns nothing.
//
// It must be called before the charge is settled: then the known amount is never more than what is
// used, and no alert comes early. Charges of this gate are known at once, however many requests are in
// flight, and those of others with the next state.
func (b *Budgets) Note(s limiter.State, charged int64, percents []int) (passed []Alert) {
	if !s.Rule.Limit.Window.Quota() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	current := b.current(s)
	if current == nil {
		return nil
	}
	current.used = min(max(current.used, s.Used)+charged, limiter.MaxAmount)
	for _, percent := range percents {
		// 100 times the largest amount is less than the largest integer.
		if current.used*100 < s.Limit*int64(percent) {
			continue
		}
		bits, bit := &current.alerted[percent/64], uint64(1)<<(percent%64)
		if *bits&bit != 0 {
			continue
		}
		*bits |= bit
		passed = append(passed, Alert{
			Rule: s.Rule, Percent: percent, Used: current.used, Limit: s.Limit, Since: current.since, Until: current.until,
		})
	}
	return passed
}

// current returns the budget of the state's window; nil if that has passed. b.mu must be held.
func (b *Budgets) current(s limiter.State) *budget {
	id := counter{s.Rule.Name(), s.Limit}
	known := b.seen[id]
	switch {
	case known != nil && known.since.Equal(s.Since):
		return known
	case known != nil && known.since.After(s.Since):
		return nil
	case known == nil:
		b.sweep()
	}
	since, until := s.Rule.Limit.Window.Bounds(s.Since)
	known = &budget{since: since, until: until}
	b.seen[id] = known
	return known
}

// sweep removes the budgets whose window has ended, whenever there are twice as many as were left the
// last time. b.mu must be held.
func (b *Budgets) sweep() {
	if b.seen == nil {
		b.seen, b.sweepAt = make(map[counter]*budget), sweepFirst
	}
	if len(b.seen) < b.sweepAt {
		return
	}
	now := time.Now()
	for id, known := range b.seen {
		if now.After(known.until) {
			delete(b.seen, id)
		}
	}
	b.sweepAt = max(sweepFirst, 2*len(b.seen))
}
