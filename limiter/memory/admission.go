package memory

import (
	"context"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// admission is what a request holds of its counters. It is used by one goroutine at a time.
type admission struct {
	store *Store
	req   account.Demand

	common  int // number of holds that are the request's own; the rest are the candidate's
	holds   []account.Hold
	out     account.Output
	at      account.Instant // time of the admission
	movedAt account.Instant // time of the candidate's holds: of the last move, else of the admission

	// first is the backing array of holds while they are few.
	first [8]account.Hold
}

// newAdmission returns an admission with nothing taken. Admissions are pooled to reduce garbage: with a
// million keys present, collecting it would dominate the cost of a request.
func (m *Store) newAdmission(req limiter.Request) *admission {
	a, ok := m.spare.Get().(*admission)
	if !ok {
		a = &admission{store: m}
	}
	a.req = account.NewDemand(req)
	return a
}

// release returns the admission to the pool. It clears the pointers, which would keep alive a
// configuration that a reload has replaced.
func (a *admission) release() {
	*a = admission{store: a.store}
	a.store.spare.Put(a)
}

// rulesOf returns the rules of a candidate.
func (a *admission) rulesOf(candidate int) []*limiter.Rule {
	if candidate < len(a.req.Candidates) {
		return a.req.Candidates[candidate]
	}
	return nil
}

func (a *admission) states() []limiter.State {
	all := account.States(make([]limiter.State, 0, len(a.holds)), a.holds[:a.common], a.at)
	return account.States(all, a.holds[a.common:], a.movedAt)
}

// take takes what the request needs of each hold.
func (a *admission) take(holds []account.Hold) {
	for i := range holds {
		holds[i].Amount, _ = a.req.Need(holds[i].Rule.Limit, a.out.Total)
		holds[i].Take()
	}
}

// settle ends all holds and charges what was used.
func (a *admission) settle(used limiter.Usage) {
	var locks shardSet
	locks.addHolds(a.holds)
	now := a.store.instant()
	a.store.lock(&locks)
	defer a.store.unlock(&locks)
	for i := range a.holds {
		a.holds[i].Settle(now, used)
	}
}

// moveTo replaces the holds of the current candidate by those of another. The errors are those of
// reserve.
func (a *admission) moveTo(ctx context.Context, candidate int) error {
	var locks shardSet
	locks.addHolds(a.holds[a.common:])
	locks.addRules(a.rulesOf(candidate))
	var refusal *limiter.Refusal
	_, err := a.store.whileLocked(ctx, &locks, func(at account.Instant) (unseeded *limiter.Rule) {
		refusal, unseeded = a.move(a.rulesOf(candidate), at)
		return unseeded
	})
	if err == nil && refusal != nil {
		err = refusal
	}
	return err
}

// move implements moveTo. The shards must be locked.
func (a *admission) move(rules []*limiter.Rule, at account.Instant) (_ *limiter.Refusal, unseeded *limiter.Rule) {
	own, old := a.holds[:a.common], a.holds[a.common:]
	holds, unseeded := a.store.enlist(nil, own, rules, at)
	if unseeded != nil {
		return nil, unseeded
	}
	out := a.req.Lowered(a.out, holds, old)
	if v := a.req.Judge(out, holds, old, at); v.Refused() {
		all := make([]limiter.State, 0, len(own)+len(holds))
		return v.Refusal(v.Hold.Rule, account.States(account.States(all, own, a.at), holds, at)), nil
	}
	for i := range old {
		old[i].Settle(at, account.FailedAttempt)
	}
	a.out, a.movedAt = out, at
	a.take(holds)
	a.holds = append(own, holds...)
	return nil, nil
}
