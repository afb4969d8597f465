package limiter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

var errClosed = &Unavailable{Reason: ReasonClosed, Err: errors.New("the store was closed")}

// Reserve implements [Limiter]. An error that is neither a *Refusal nor that of ctx is ErrUnavailable.
// An ID that was used already returns what was reserved by it.
func (r *Redis) Reserve(ctx context.Context, req Request) (Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.closed.Load() {
		return nil, errClosed
	}
	if req.ID == "" {
		req.ID = rand.Text()
	}
	req = req.normalised()
	res, err := r.reserve(ctx, req)
	if err != nil {
		return nil, err
	}
	return res, nil
}

// reserve asks Redis.
func (r *Redis) reserve(ctx context.Context, req Request) (*redisReservation, error) {
	res := &redisReservation{store: r, req: req}
	res.out = res.req.wanted()
	common := distinct(req.Rules, nil)
	candidates := make([][]*Rule, len(req.Candidates))
	for i, rules := range req.Candidates {
		candidates[i] = distinct(rules, common)
	}
	if refusal := r.denied.refusal(&res.req, common); refusal != nil {
		return nil, refusal
	}
	var err error
	if r.cluster {
		err = r.reserveByNode(ctx, res, common, candidates)
	} else {
		err = r.reserveAtOnce(ctx, res, common, candidates)
	}
	if err != nil {
		return nil, err
	}
	r.open.add(res)
	return res, nil
}

// distinct returns the rules without those whose counter one of seen, or of them before it, has.
func distinct(rules, seen []*Rule) []*Rule {
	out := rules[:0:0]
next:
	for _, rule := range rules {
		for _, s := range seen {
			if s.name == rule.name {
				continue next
			}
		}
		for _, s := range out {
			if s.name == rule.name {
				continue next
			}
		}
		out = append(out, rule)
	}
	return out
}

// reserveAtOnce reserves on a single Redis: all limits are one call.
func (r *Redis) reserveAtOnce(ctx context.Context, res *redisReservation, common []*Rule, candidates [][]*Rule) error {
	a := &ask{mode: luaReserve, id: res.req.ID, req: &res.req, out: res.out, common: common, candidates: candidates, turn: r.denied.ask()}
	if len(common) == 0 && !limited(candidates) {
		return nil
	}
	got, err := r.call(ctx, a)
	if err != nil {
		return err
	}
	if got.status != luaAdmitted {
		return r.refused(a, got)
	}
	res.candidate, res.out, res.at, res.movedAt = got.candidate, got.out, got.at, got.at
	res.common, res.own = a.taken(got)
	res.parts = []part{{id: a.id, holds: append(res.common[:len(res.common):len(res.common)], res.own...)}}
	return nil
}

func limited(candidates [][]*Rule) bool {
	for _, rules := range candidates {
		if len(rules) > 0 {
			return true
		}
	}
	return false
}

// refused makes the error of an answer that admitted nothing, and remembers it for those who come next.
func (r *Redis) refused(a *ask, got *answer) error {
	if got.status == luaGivenUp {
		return ErrSettled
	}
	common, candidates := a.seen(got)
	if got.bad {
		return unavailable(errReply)
	}
	refusal := a.req.explain(a.out, common, candidates, got.at)
	if refusal == nil {
		return unavailable(errDisagree)
	}
	r.denied.remember(a.turn, refusal, a.common, common)
	return refusal
}

// group is the rules that lie on one node.
type group struct {
	tag   string
	rules []*Rule
}

// byTag groups rules in the order in which their nodes come first.
func (r *Redis) byTag(rules []*Rule) (groups []group) {
next:
	for _, rule := range rules {
		tag := r.tag(rule)
		for i := range groups {
			if groups[i].tag == tag {
				groups[i].rules = append(groups[i].rules, rule)
				continue next
			}
		}
		groups = append(groups, group{tag, []*Rule{rule}})
	}
	return groups
}

// reserveByNode reserves on a Cluster: a call for each group of rules in turn, then one for each
// candidate until one has room. Each goes by what those before it have left of the output, and where
// a later one leaves less, one more call of each of those before gives back what they took for more.
func (r *Redis) reserveByNode(ctx context.Context, res *redisReservation, common []*Rule, candidates [][]*Rule) (err error) {
	defer func() {
		if err != nil {
			r.giveBack(res.parts)
		}
	}()
	groups := r.byTag(common)
	for _, g := range groups {
		a := &ask{mode: luaReserve, tag: g.tag, id: res.req.ID, req: &res.req, out: res.out, common: g.rules}
		got, err := r.call(ctx, a)
		if err != nil {
			return err
		}
		if got.status != luaAdmitted {
			return r.refusedByNode(ctx, res, a, got, common, candidates)
		}
		res.out, res.at = got.out, got.at
		holds, _ := a.taken(got)
		res.common = append(res.common, holds...)
		res.parts = append(res.parts, part{tag: g.tag, id: a.id, holds: holds})
	}
	if err := r.reserveCandidate(ctx, res, common, candidates); err != nil {
		return err
	}
	r.shrink(ctx, res)
	return nil
}

// reserveCandidate reserves for the first candidate with room.
func (r *Redis) reserveCandidate(ctx context.Context, res *redisReservation, common []*Rule, candidates [][]*Rule) error {
	var a *ask
	var got *answer
	for i, rules := range candidates {
		var err error
		if a, err = r.askCandidate(res, rules); err != nil {
			return err
		}
		res.candidate = i
		if a == nil {
			return nil
		}
		if got, err = r.call(ctx, a); err != nil {
			return err
		}
		if got.status == luaAdmitted {
			res.take(a, got)
			return nil
		}
	}
	if len(candidates) == 0 {
		return nil
	}
	return r.refusedByNode(ctx, res, a, got, common, candidates)
}

// shrink gives back what groups took for more output than those after them have left. Where it fails,
// that comes back when the request is settled.
func (r *Redis) shrink(ctx context.Context, res *redisReservation) {
	first := 0 // of the part's holds among those of the request
	for i := range res.parts {
		p := &res.parts[i]
		if p.own {
			return
		}
		holds := res.common[first : first+len(p.holds)]
		first += len(p.holds)
		a := &ask{mode: luaShrink, tag: p.tag, id: p.id, req: &res.req, out: res.out}
		less := false
		for _, h := range holds {
			a.common = append(a.common, h.rule)
			n, _ := res.req.need(h.rule.Limit, res.out.total)
			less = less || n < h.amount
		}
		if !less {
			continue
		}
		got, err := r.call(ctx, a)
		if err != nil || got.status != luaAdmitted {
			continue
		}
		if after, _ := a.taken(got); !got.bad {
			copy(holds, after)
			p.holds = after
		}
	}
}

// askCandidate asks for the rules of a candidate, nil where it has none. They must be of one node: the
// rules of a candidate are those of one backend.
func (r *Redis) askCandidate(res *redisReservation, rules []*Rule) (*ask, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	tag := r.tag(rules[0])
	for _, rule := range rules[1:] {
		if r.tag(rule) != tag {
			return nil, fmt.Errorf("a candidate has rules of two things, %s and %s, which a Cluster may keep on two nodes", rules[0].name, rule.name)
		}
	}
	return &ask{mode: luaReserve, tag: tag, id: res.nextID(), req: &res.req, out: res.out, candidates: [][]*Rule{rules}}, nil
}

// refusedByNode makes the error of a refusal by one node of a Cluster. Who else refuses is found by
// looking at all of them, when what was taken is given back.
func (r *Redis) refusedByNode(ctx context.Context, res *redisReservation, a *ask, got *answer, common []*Rule, candidates [][]*Rule) error {
	if got.status == luaGivenUp {
		return ErrSettled
	}
	r.giveBack(res.parts)
	res.parts = nil
	turn := r.denied.ask()
	all, at, err := r.lookAt(ctx, &res.req, append([][]*Rule{common}, candidates...))
	if err != nil {
		return err
	}
	if refusal := res.req.explain(res.req.wanted(), all[0], all[1:], at); refusal != nil {
		r.denied.remember(turn, refusal, common, all[0])
		return refusal
	}
	// It has become free since: the answer is what the node said.
	own, ownCandidates := a.seen(got)
	if refusal := a.req.explain(a.out, own, ownCandidates, got.at); refusal != nil && !got.bad {
		return refusal
	}
	return unavailable(errDisagree)
}

// Peek implements [Limiter]. The error is that of ctx or ErrUnavailable.
func (r *Redis) Peek(ctx context.Context, rules []*Rule) ([]State, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.closed.Load() {
		return nil, errClosed
	}
	if len(rules) == 0 {
		return []State{}, nil
	}
	all, at, err := r.lookAt(ctx, new(Request), [][]*Rule{rules})
	if err != nil {
		return nil, err
	}
	return states(make([]State, 0, len(rules)), all[0], at), nil
}

// lookAt reads the counters of lists of rules, with a call for each node, and takes nothing.
func (r *Redis) lookAt(ctx context.Context, req *Request, lists [][]*Rule) (all [][]hold, at instant, err error) {
	var every []*Rule
	for _, rules := range lists {
		every = append(every, rules...)
	}
	found := make(map[string]hold, len(every))
	for _, g := range r.byTag(distinct(every, nil)) {
		a := &ask{mode: luaPeek, tag: g.tag, id: "-", req: req, common: g.rules}
		got, err := r.call(ctx, a)
		if err != nil {
			return nil, at, err
		}
		at = got.at
		for _, h := range got.holds(g.rules) {
			found[h.rule.name] = h
		}
		if got.bad {
			return nil, at, unavailable(errReply)
		}
	}
	all = make([][]hold, len(lists))
	for i, rules := range lists {
		for _, rule := range rules {
			h := found[rule.name]
			h.rule = rule
			all[i] = append(all[i], h)
		}
	}
	return all, at, nil
}
