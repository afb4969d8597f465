package limiter

import "context"

// admission is what a request holds of its counters. It is used by one goroutine at a time.
type admission struct {
	store *Memory
	req   Request

	common  int // how many of the holds are the request's own; the others are the candidate's
	holds   []hold
	out     output
	at      instant // of the admission
	movedAt instant // of the last move, else of the admission: the candidate's holds are of then

	// first is where the holds lie as long as they are few.
	first [8]hold
}

// newAdmission returns one with nothing taken. A pool of them spares the garbage collector, which
// with a million keys present would cost more for each request than all else.
func (m *Memory) newAdmission(req Request) *admission {
	a, ok := m.spare.Get().(*admission)
	if !ok {
		a = &admission{store: m}
	}
	a.req = req.normalised()
	return a
}

// release gives the admission back to the pool, without its pointers: they would keep a
// configuration alive that a reload has replaced.
func (a *admission) release() {
	*a = admission{store: a.store}
	a.store.spare.Put(a)
}

// rulesOf returns the rules of a candidate.
func (a *admission) rulesOf(candidate int) []*Rule {
	if candidate < len(a.req.Candidates) {
		return a.req.Candidates[candidate]
	}
	return nil
}

func (a *admission) states() []State {
	all := states(make([]State, 0, len(a.holds)), a.holds[:a.common], a.at)
	return states(all, a.holds[a.common:], a.movedAt)
}

// take takes what the request needs of each hold.
func (a *admission) take(holds []hold) {
	for i := range holds {
		holds[i].amount, _ = a.req.need(holds[i].rule.Limit, a.out.total)
		holds[i].take()
	}
}

// settle gives all holds up.
func (a *admission) settle(used Actual) {
	var locks shardSet
	locks.addHolds(a.holds)
	now := a.store.instant()
	a.store.lock(&locks)
	defer a.store.unlock(&locks)
	for i := range a.holds {
		a.holds[i].settle(now, used)
	}
}

// moveTo gives up the holds of the present candidate for those of another. The error is that of
// reserve.
func (a *admission) moveTo(ctx context.Context, candidate int) error {
	var locks shardSet
	locks.addHolds(a.holds[a.common:])
	locks.addRules(a.rulesOf(candidate))
	var refusal *Refusal
	_, err := a.store.whileLocked(ctx, &locks, func(at instant) (unseeded *Rule) {
		refusal, unseeded = a.move(a.rulesOf(candidate), at)
		return unseeded
	})
	if err == nil && refusal != nil {
		err = refusal
	}
	return err
}

// failedAttempt is what a candidate is charged that is given up by a move.
var failedAttempt = Actual{Dispatched: true, Failed: true}

// move is moveTo with the shards locked.
func (a *admission) move(rules []*Rule, at instant) (_ *Refusal, unseeded *Rule) {
	own, old := a.holds[:a.common], a.holds[a.common:]
	holds, unseeded := a.store.enlist(nil, own, rules, at)
	if unseeded != nil {
		return nil, unseeded
	}
	out := a.req.lowered(a.out, holds, old)
	if v := a.req.judge(out, holds, old, at); v.refused() {
		all := make([]State, 0, len(own)+len(holds))
		return v.refusal(v.hold.rule, states(states(all, own, a.at), holds, at)), nil
	}
	for i := range old {
		old[i].settle(at, failedAttempt)
	}
	a.out, a.movedAt = out, at
	a.take(holds)
	a.holds = append(own, holds...)
	return nil, nil
}
