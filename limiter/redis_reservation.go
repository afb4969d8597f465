package limiter

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// redisReservation is a Reservation of Redis. What it holds is in Redis, by its id; what is here is
// what was told when it was taken.
type redisReservation struct {
	store *Redis
	req   Request

	mu        sync.Mutex // guards what follows
	settled   bool
	candidate int
	out       output
	common    []hold // of the request's own rules
	own       []hold // of the candidate's
	at        instant
	movedAt   instant
	parts     []part
	attempts  int
	renewed   time.Time // on the gate's clock
}

// part is what a reservation holds on one node. On a single Redis there is one; on a Cluster one for
// each group of the request's rules, and then one for the candidate's where it has any.
type part struct {
	tag   string
	id    string
	holds []hold
	own   bool // the candidate's, on a Cluster
}

// nextID is the id of the next candidate's part on a Cluster.
func (r *redisReservation) nextID() string {
	r.attempts++
	return r.req.ID + "/" + strconv.Itoa(r.attempts)
}

// take notes what was admitted of a candidate on a Cluster.
func (r *redisReservation) take(a *ask, got *answer) {
	_, r.own = a.taken(got)
	r.out, r.movedAt = got.out, got.at
	r.parts = append(r.parts, part{tag: a.tag, id: a.id, holds: r.own, own: true})
}

// Candidate implements [Reservation].
func (r *redisReservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.candidate
}

// Cap implements [Reservation].
func (r *redisReservation) Cap() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.cap
}

// States implements [Reservation].
func (r *redisReservation) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := states(make([]State, 0, len(r.common)+len(r.own)), r.common, r.at)
	return states(all, r.own, r.movedAt)
}

// Settle implements [Reservation]. It does not wait: Redis is told in the background.
func (r *redisReservation) Settle(_ context.Context, used Actual) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	r.store.open.remove(r)
	for _, p := range r.parts {
		r.store.settler.add(settlement{tag: p.tag, id: p.id, used: used, holds: p.holds})
	}
}

// Move implements [Reservation]. It is one call, on a Cluster two where the candidates are two
// backends. After ErrUnavailable the reservation is as it was, or holds the other candidate's part in
// the place of its own; settling it is right for both.
func (r *redisReservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return ErrSettled
	}
	if err := r.req.checkCandidate(candidate); err != nil {
		return err
	}
	if r.store.closed.Load() {
		return errClosed
	}
	var rules []*Rule
	if candidate < len(r.req.Candidates) {
		rules = distinct(r.req.Candidates[candidate], distinct(r.req.Rules, nil))
	}
	move := r.moveAtOnce
	if r.store.cluster {
		move = r.moveByNode
	}
	if err := move(ctx, rules); err != nil {
		return err
	}
	r.candidate = candidate
	return nil
}

// moveAtOnce moves on a single Redis.
func (r *redisReservation) moveAtOnce(ctx context.Context, rules []*Rule) error {
	if len(rules) == 0 && len(r.own) == 0 {
		return nil
	}
	a := &ask{mode: luaMove, id: r.req.ID, req: &r.req, out: r.out, candidates: [][]*Rule{rules}}
	got, err := r.store.call(ctx, a)
	if err != nil {
		return err
	}
	if got.status != luaAdmitted {
		return r.stays(a, got)
	}
	_, r.own = a.taken(got)
	r.out, r.movedAt = got.out, got.at
	r.parts = []part{{id: a.id, holds: append(r.common[:len(r.common):len(r.common)], r.own...)}}
	return nil
}

// moveByNode moves on a Cluster: where both candidates are of one node, in one call; else the new one
// is taken first, and the old one given back when that is done.
func (r *redisReservation) moveByNode(ctx context.Context, rules []*Rule) error {
	var old *part
	if n := len(r.parts); n > 0 && r.parts[n-1].own {
		old = &r.parts[n-1]
	}
	a, err := r.store.askCandidate(r, rules)
	if err != nil {
		return err
	}
	if a != nil && old != nil && a.tag == old.tag {
		a.mode, a.id = luaMove, old.id
	}
	var got *answer
	if a != nil {
		if got, err = r.store.call(ctx, a); err != nil {
			return err
		}
		if got.status != luaAdmitted {
			return r.stays(a, got)
		}
	}
	if old != nil {
		if a == nil || a.mode != luaMove {
			r.store.settler.add(settlement{tag: old.tag, id: old.id, used: Actual{Dispatched: true, Failed: true}, holds: old.holds})
		}
		r.parts = r.parts[:len(r.parts)-1]
	}
	r.own = nil
	if a != nil {
		r.take(a, got)
	}
	return nil
}

// stays makes the error of a move that was refused, as admission.move does in memory.
func (r *redisReservation) stays(a *ask, got *answer) error {
	if got.status == luaGivenUp {
		return ErrSettled
	}
	_, candidates := a.seen(got)
	if got.bad {
		return unavailable(errReply)
	}
	holds := candidates[0]
	var old []hold
	if a.mode == luaMove {
		old = append(old, r.own...)
		for i := range old {
			for j := range holds {
				if old[i].rule.name == holds[j].rule.name {
					old[i].counter = holds[j].counter
				}
			}
		}
	}
	v := r.req.judge(r.req.lowered(r.out, holds, old), holds, old, got.at)
	if !v.refused() { // what it held has lapsed
		v = r.req.judge(r.req.lowered(r.out, holds, nil), holds, nil, got.at)
	}
	if !v.refused() {
		return unavailable(errDisagree)
	}
	all := states(make([]State, 0, len(r.common)+len(holds)), r.common, r.at)
	return v.refusal(states(all, holds, got.at))
}
