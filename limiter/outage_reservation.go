package limiter

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"
)

// guardedReservation is one that was made in Redis. Where its candidate changes while Redis is away,
// the part of the new one is local, and Redis's record is settled as that of the old one with what the
// request has used: the old candidate's own limits of tokens are charged with it, too.
type guardedReservation struct {
	guard  *Guarded
	req    Request
	shared *redisReservation

	mu        sync.Mutex // guards what follows
	local     Reservation
	candidate int // of local
	moves     int
	settled   bool
}

// Candidate implements [Reservation].
func (r *guardedReservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.local != nil {
		return r.candidate
	}
	return r.shared.Candidate()
}

// Cap implements [Reservation].
func (r *guardedReservation) Cap() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	least := r.shared.Cap()
	if r.local != nil {
		if c := r.local.Cap(); c >= 0 && (least < 0 || c < least) {
			least = c
		}
	}
	return least
}

// States implements [Reservation].
func (r *guardedReservation) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.shared.States()
	if r.local == nil {
		return all
	}
	return append(all[:min(len(r.shared.common), len(all))], r.local.States()...)
}

// Settle implements [Reservation]. It waits for nothing.
func (r *guardedReservation) Settle(ctx context.Context, used Actual) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled = true
	r.shared.Settle(ctx, used)
	if r.local != nil {
		r.local.Settle(ctx, used)
	}
}

// Move implements [Reservation].
func (r *guardedReservation) Move(ctx context.Context, candidate int) error {
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
	away := r.guard.away.Load()
	if away == nil && r.local == nil {
		err := r.shared.Move(ctx, candidate)
		if err == nil {
			r.guard.known.noteHolds(r.shared.own)
			return nil
		}
		if away = r.guard.lost(err); away == nil {
			return err
		}
	}
	return r.moveLocal(ctx, away, candidate)
}

// moveLocal takes the part of a candidate without Redis, or once Redis is back beside what it holds.
func (r *guardedReservation) moveLocal(ctx context.Context, away *absence, candidate int) error {
	part := r.req
	part.Rules, part.Candidates = nil, nil
	if candidate < len(r.req.Candidates) {
		part.Candidates = [][]*Rule{distinct(r.req.Candidates[candidate], r.req.Rules)}
	}
	r.moves++
	part.ID = r.req.ID + "/moved/" + strconv.Itoa(r.moves)
	reserve := r.guard.Reserve
	if away != nil {
		reserve = func(_ context.Context, req Request) (Reservation, error) { return r.guard.reserveAway(away, req) }
	}
	local, err := reserve(ctx, part)
	if err != nil {
		return err
	}
	if r.local != nil {
		r.local.Settle(ctx, Actual{Dispatched: true, Failed: true})
	}
	r.local, r.candidate = local, candidate
	return nil
}

// shadowReservation is one that was made of a gate's share while Redis was away. It stays one when
// Redis is back.
type shadowReservation struct {
	guard  *Guarded
	shadow *shadow
	req    Request
	inner  *reservation

	mu      sync.Mutex // guards what follows; taken before the inner one's
	settled bool
	told    bool   // Redis was told what is reserved
	held    []hold // and was told this
	epoch   uint64 // of the quotas among them
}

// Candidate implements [Reservation].
func (r *shadowReservation) Candidate() int { return r.inner.Candidate() }

// Cap implements [Reservation].
func (r *shadowReservation) Cap() int64 { return r.inner.Cap() }

// States implements [Reservation].
func (r *shadowReservation) States() []State { return r.shadow.states(r.inner.States()) }

// Move implements [Reservation]. It takes of the gate's share, also when Redis is back.
func (r *shadowReservation) Move(ctx context.Context, candidate int) error {
	return r.shadow.refused(r.inner.Move(ctx, candidate), &r.req)
}

// Settle implements [Reservation]. It waits for nothing: Redis is told in the background, when it is
// back.
func (r *shadowReservation) Settle(ctx context.Context, used Actual) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	holds := r.holds()
	r.inner.Settle(ctx, used)
	r.guard.open.remove(r)
	for i := range holds {
		holds[i].amount = 0
	}
	primary := r.guard.primary
	held := slices.Clone(r.held)
	if primary.epoch() != r.epoch { // quotas were seeded anew since, and hold nothing of it
		held = slices.DeleteFunc(held, func(h hold) bool { return h.rule.Limit.Window.Quota() })
	}
	left := slices.DeleteFunc(held, func(h hold) bool {
		for i := range holds {
			if holds[i].rule.name == h.rule.name {
				holds[i].amount, holds[i].mark = h.amount, h.mark
				return true
			}
		}
		return false
	})
	r.shadow.noteCharged(holds)
	primary.charge(r.req.ID+"/used", holds, used)
	// The parts of backends that it has moved away from since: those attempts failed.
	primary.charge(r.req.ID+"/left", left, Actual{Dispatched: true, Failed: true})
}

// holdInRedis tells Redis what is reserved, until it is settled.
func (r *shadowReservation) holdInRedis() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled || r.told {
		return
	}
	r.told, r.held, r.epoch = true, r.holds(), r.guard.primary.epoch()
	r.guard.primary.hold(r.req.ID+"/held", r.held)
}

// holds returns what is held, by the rules that were asked.
func (r *shadowReservation) holds() []hold {
	r.inner.mu.Lock()
	defer r.inner.mu.Unlock()
	if r.inner.admission == nil {
		return nil
	}
	holds := slices.Clone(r.inner.admission.holds)
	for i := range holds {
		holds[i].rule, holds[i].counter = r.shadow.asked(holds[i].rule), nil
	}
	return holds
}

// openShadows are the reservations of shares that are not settled.
type openShadows struct {
	mu  sync.Mutex
	all map[*shadowReservation]struct{}
}

func (o *openShadows) add(r *shadowReservation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[*shadowReservation]struct{})
	}
	o.all[r] = struct{}{}
}

func (o *openShadows) remove(r *shadowReservation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, r)
}

func (o *openShadows) list() []*shadowReservation {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*shadowReservation, 0, len(o.all))
	for r := range o.all {
		list = append(list, r)
	}
	return list
}

// freeReservation holds nothing.
type freeReservation struct {
	guard *Guarded
	req   Request
	at    time.Time

	mu        sync.Mutex // guards what follows
	candidate int
	settled   bool
}

func newFreeReservation(g *Guarded, req Request) *freeReservation {
	return &freeReservation{guard: g, req: req, at: time.Now()}
}

// Candidate implements [Reservation].
func (r *freeReservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.candidate
}

// Cap implements [Reservation]. No quota is asked, so that none lowers it.
func (r *freeReservation) Cap() int64 { return -1 }

// States implements [Reservation]. Nothing is known.
func (r *freeReservation) States() []State { return nil }

// Move implements [Reservation].
func (r *freeReservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return ErrSettled
	}
	if candidates := max(len(r.req.Candidates), 1); candidate < 0 || candidate >= candidates {
		return fmt.Errorf("moving a reservation to candidate %d of %d", candidate, candidates)
	}
	r.candidate = candidate
	return nil
}

// Settle implements [Reservation]. Quotas are charged when Redis is back: what was used counts,
// whoever admitted it. Rates are not: nobody held back.
func (r *freeReservation) Settle(_ context.Context, used Actual) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	rules := distinct(r.req.Rules, nil)
	if r.candidate < len(r.req.Candidates) {
		rules = append(rules, distinct(r.req.Candidates[r.candidate], rules)...)
	}
	var holds []hold
	for _, rule := range rules {
		if w := rule.Limit.Window; w.Quota() {
			start, _ := w.Bounds(r.at)
			holds = append(holds, hold{rule: rule, mark: start.UnixNano()})
		}
	}
	if away := r.guard.away.Load(); away != nil {
		away.shadow.noteCharged(holds)
	}
	r.guard.primary.charge(r.req.ID+"/used", holds, used)
}
