package memory

import (
	"context"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// reserve admits the request and returns the chosen candidate. The error is a *Refusal, that of ctx, or
// that a quota can't be seeded.
func (a *admission) reserve(ctx context.Context) (candidate int, err error) {
	var locks shardSet
	locks.addRules(a.req.Rules)
	for _, rules := range a.req.Candidates {
		locks.addRules(rules)
	}
	var refusal *limiter.Refusal
	a.at, err = a.store.whileLocked(ctx, &locks, func(at account.Instant) (unseeded *limiter.Rule) {
		candidate, refusal, unseeded = a.admit(at)
		return unseeded
	})
	a.movedAt = a.at
	if err == nil && refusal != nil {
		err = refusal
	}
	return candidate, err
}

// admit implements reserve: it checks all limits before it takes anything. The shards must be locked.
func (a *admission) admit(at account.Instant) (candidate int, _ *limiter.Refusal, unseeded *limiter.Rule) {
	if a.holds, unseeded = a.store.enlist(a.first[:0], nil, a.req.Rules, at); unseeded != nil {
		return 0, nil, unseeded
	}
	a.common = len(a.holds)
	out := a.req.Lowered(a.req.Wanted(), a.holds, nil)
	verdict := a.req.Judge(out, a.holds, nil, at)

	choice, unseeded := a.choose(out, at)
	if unseeded != nil {
		return 0, nil, unseeded
	}
	if choice.verdict.Later(verdict) {
		verdict = choice.verdict
	}
	if verdict.Refused() {
		return 0, verdict.Refusal(verdict.Hold.Rule, account.States(make([]limiter.State, 0, len(a.holds)), a.holds, at)), nil
	}
	a.out = choice.out
	a.take(a.holds)
	return choice.candidate, nil, nil
}

// choice is a candidate with the verdict of its rules.
type choice struct {
	candidate int
	out       account.Output
	verdict   account.Verdict
}

// choose returns the first candidate with room, else the one that has room first, and leaves its holds
// after the request's own in a.holds.
func (a *admission) choose(out account.Output, at account.Instant) (best choice, unseeded *limiter.Rule) {
	best.out = out
	for i, rules := range a.req.Candidates {
		c, unseeded := a.consider(i, rules, out, at)
		if unseeded != nil {
			return best, unseeded
		}
		if !c.verdict.Refused() {
			return c, nil
		}
		if i == 0 || best.verdict.Later(c.verdict) {
			best = c
		}
	}
	if best.verdict.Refused() && best.candidate != len(a.req.Candidates)-1 {
		// a.holds has the holds of the last candidate.
		return a.consider(best.candidate, a.req.Candidates[best.candidate], out, at)
	}
	return best, nil
}

// consider returns the verdict on candidate i, and leaves its holds in a.holds.
func (a *admission) consider(i int, rules []*limiter.Rule, out account.Output, at account.Instant) (c choice, unseeded *limiter.Rule) {
	if a.holds, unseeded = a.store.enlist(a.holds[:a.common], nil, rules, at); unseeded != nil {
		return c, unseeded
	}
	holds := a.holds[a.common:]
	out = a.req.Lowered(out, holds, nil)
	return choice{candidate: i, out: out, verdict: a.req.Judge(out, holds, nil, at)}, nil
}
