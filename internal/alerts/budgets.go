// Package alerts detects quotas and budgets whose usage reaches a percentage, and sends an alert for
// each to a webhook, once.
package alerts

import (
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Budgets holds the usage of quotas, and which percentages were alerted, so that each is alerted once
// in each window. The zero value is ready to use. It is safe for concurrent use.
//
// A quota is identified by the name of its rule and its amount: when the amount changes, its
// percentages are alerted again.
type Budgets struct {
	mu      sync.Mutex
	seen    map[counter]*budget
	sweepAt int // number of budgets at which those whose window has ended are removed
}

// sweepFirst is the number of budgets at which ended windows are first removed.
const sweepFirst = 1024

type counter struct {
	name   string
	amount int64
}

// budget is one window of a quota.
type budget struct {
	since, until time.Time
	used         int64     // lower bound
	alerted      [2]uint64 // one bit for each percentage
}

// Note adds charged to the usage of the quota in s; charged is 0 for a request that was refused. It
// returns an alert for each of percents, from 1 to 100, that is reached and was not alerted yet. For
// limits that are no quotas it returns nothing.
//
// It must be called before the charge is settled: the known usage then never exceeds the actual usage,
// and no alert is early. It counts charges of this gate at once, however many requests are in flight,
// and those of other gates with the next state.
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
		// 100 times the largest amount fits into an int64.
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

// current returns the budget of the window of s; nil if a later window has begun. b.mu must be held.
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

// sweep removes the budgets whose window has ended, each time their number has doubled since the last
// sweep. b.mu must be held.
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
