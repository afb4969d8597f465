package limiter

import (
	"context"
	"errors"
	"net"

	"github.com/redis/go-redis/v9"
)

// ask is one call of the admission script: the limits of one node.
type ask struct {
	mode       float64
	tag        string
	id         string // of the reservation on that node
	req        *Request
	out        output
	common     []*Rule
	candidates [][]*Rule
	turn       uint64 // when it was asked, for the memory of refusals
}

// answer is what came of it; the holds that follow are read by who knows what was asked.
type answer struct {
	reply
	status    int64
	at        instant
	candidate int
	out       output
}

// seed is what a quota has used since its window began, in microseconds.
type seed struct{ used, since float64 }

// rules calls f for each rule that is asked for, in order.
func (a *ask) rules(f func(i int, rule *Rule)) {
	i := 0
	for _, rule := range a.common {
		f(i, rule)
		i++
	}
	for _, candidate := range a.candidates {
		for _, rule := range candidate {
			f(i, rule)
			i++
		}
	}
}

// call makes the call, and tells what was used of quotas where it is asked. The error is that of ctx or ErrUnavailable; then nothing is held, or not for long.
func (r *Redis) call(ctx context.Context, a *ask) (*answer, error) {
	got, err := r.send(ctx, a, nil)
	if err == nil && got.status == luaUnseeded {
		got, err = r.seed(ctx, a, got)
	}
	if err == nil && got.bad {
		err = errReply
	}
	if err == nil {
		return got, nil
	}
	if a.mode == luaReserve && mayHaveRun(err) {
		r.settler.add(settlement{tag: a.tag, id: a.id, givenUp: true})
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, r.failed(err)
}

// mayHaveRun reports whether Redis may run, or have run, a script whose answer was lost. One that had no
// seed has taken nothing.
func mayHaveRun(err error) bool {
	var answered redis.Error
	var dialled *net.OpError
	return !errors.As(err, &answered) && !errors.As(err, new(errQueued)) && !errors.As(err, new(*Unavailable)) &&
		(!errors.As(err, &dialled) || dialled.Op != "dial")
}

// size is how many keys an admission has, beside the index of its node.
func (a *ask) size() int {
	n := 1 + len(a.common)
	for _, rules := range a.candidates {
		n += len(rules)
	}
	return n
}

// taken reads what was admitted: of the request's rules and of the candidate's.
func (a *ask) taken(got *answer) (common, own []hold) {
	common = a.amounts(got.holds(a.common), got.out)
	if len(a.candidates) > 0 {
		own = a.amounts(got.holds(a.candidates[got.candidate]), got.out)
	}
	return common, own
}

func (a *ask) amounts(holds []hold, out output) []hold {
	for i := range holds {
		holds[i].amount, _ = a.req.need(holds[i].rule.Limit, out.total)
	}
	return holds
}

// seen reads the states of all counters of a refusal.
func (a *ask) seen(got *answer) (common []hold, candidates [][]hold) {
	common = got.holds(a.common)
	candidates = make([][]hold, len(a.candidates))
	for i, rules := range a.candidates {
		candidates[i] = got.holds(rules)
	}
	return common, candidates
}

// explain finds out who refused, as admission.admit does in memory. It returns nil where nobody did.
func (q *Request) explain(out output, common []hold, candidates [][]hold, at instant) *Refusal {
	out = q.lowered(out, common, nil)
	worst := q.judge(out, common, nil, at)
	var first verdict // of the candidate that frees first
	var own []hold
	for i, holds := range candidates {
		v := q.judge(q.lowered(out, holds, nil), holds, nil, at)
		if i == 0 || first.later(v) {
			first, own = v, holds
		}
		if !v.refused() {
			break
		}
	}
	if first.later(worst) {
		worst = first
	}
	if !worst.refused() {
		return nil
	}
	all := make([]State, 0, len(common)+len(own))
	return worst.refusal(states(states(all, common, at), own, at))
}

// errDisagree is for what must not be: a script refuses what the gate would admit.
var errDisagree = errors.New("the script refused, and no limit did")
