package failover

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
	"github.com/amanycodes/pine-gate/limiter/memory"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// sharedReservation is a reservation made in Redis. If it moves to another candidate while Redis is
// unavailable, the new candidate's part is local. Redis's record is then settled for the old candidate
// with the request's usage, so that the old candidate's own token limits are charged too.
type sharedReservation struct {
	guard  *Limiter
	req    limiter.Request
	shared *redis.Reservation

	mu        sync.Mutex // guards the fields below
	local     limiter.Reservation
	candidate int // of local
	moves     int
	settled   bool
}

// Candidate implements [limiter.Reservation].
func (r *sharedReservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.local != nil {
		return r.candidate
	}
	return r.shared.Candidate()
}

// Cap implements [limiter.Reservation].
func (r *sharedReservation) Cap() int64 {
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

// States implements [limiter.Reservation].
func (r *sharedReservation) States() []limiter.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.shared.States()
	common, _ := r.shared.Seen()
	if r.local == nil {
		return all
	}
	return append(all[:min(len(common), len(all))], r.local.States()...)
}

// Settle implements [limiter.Reservation]. It does not block.
func (r *sharedReservation) Settle(ctx context.Context, used limiter.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settled = true
	r.shared.Settle(ctx, used)
	if r.local != nil {
		r.local.Settle(ctx, used)
	}
}

// Move implements [limiter.Reservation].
func (r *sharedReservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return limiter.ErrSettled
	}
	if err := account.CheckCandidate(candidate, len(r.req.Candidates)); err != nil {
		return err
	}
	away := r.guard.away.Load()
	if away == nil && r.local == nil {
		err := r.shared.Move(ctx, candidate)
		if err == nil {
			_, own := r.shared.Seen()
			r.guard.known.setHolds(own)
			return nil
		}
		if away = r.guard.lost(err); away == nil {
			return err
		}
	}
	return r.moveLocal(ctx, away, candidate)
}

// moveLocal reserves the part of a candidate separately from Redis's record: without Redis during the
// outage, or in Redis once it is available again.
func (r *sharedReservation) moveLocal(ctx context.Context, away *outage, candidate int) error {
	part := r.req
	part.Rules, part.Candidates = nil, nil
	if candidate < len(r.req.Candidates) {
		part.Candidates = [][]*limiter.Rule{account.Distinct(r.req.Candidates[candidate], r.req.Rules)}
	}
	r.moves++
	part.ID = r.req.ID + "/moved/" + strconv.Itoa(r.moves)
	reserve := r.guard.Reserve
	if away != nil {
		reserve = func(_ context.Context, req limiter.Request) (limiter.Reservation, error) {
			return r.guard.reserveAway(away, req)
		}
	}
	local, err := reserve(ctx, part)
	if err != nil {
		return err
	}
	if r.local != nil {
		r.local.Settle(ctx, limiter.Usage{Dispatched: true, Failed: true})
	}
	r.local, r.candidate = local, candidate
	return nil
}

// localReservation is a reservation from a gate's share, made while Redis was unavailable. It remains
// one when Redis is available again.
type localReservation struct {
	guard *Limiter
	local *localShare
	req   limiter.Request
	inner *memory.Reservation

	mu        sync.Mutex // guards the fields below; taken before inner's
	settled   bool
	announced bool           // the holds were sent to Redis
	held      []account.Hold // the holds sent to Redis
	epoch     uint64         // of the quotas in held
}

// Candidate implements [limiter.Reservation].
func (r *localReservation) Candidate() int { return r.inner.Candidate() }

// Cap implements [limiter.Reservation].
func (r *localReservation) Cap() int64 { return r.inner.Cap() }

// States implements [limiter.Reservation].
func (r *localReservation) States() []limiter.State { return r.local.states(r.inner.States()) }

// Move implements [limiter.Reservation]. It reserves from the gate's share, even when Redis is available
// again.
func (r *localReservation) Move(ctx context.Context, candidate int) error {
	return r.local.refused(r.inner.Move(ctx, candidate), &r.req)
}

// Settle implements [limiter.Reservation]. It does not block: Redis is charged in the background, once it
// is available again.
func (r *localReservation) Settle(ctx context.Context, used limiter.Usage) {
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
		holds[i].Amount = 0
	}
	primary := r.guard.primary
	held := slices.Clone(r.held)
	if primary.Epoch() != r.epoch { // quotas were seeded again since, without these holds
		held = slices.DeleteFunc(held, func(h account.Hold) bool { return h.Rule.Limit.Window.Quota() })
	}
	left := slices.DeleteFunc(held, func(h account.Hold) bool {
		for i := range holds {
			if holds[i].Rule.Name() == h.Rule.Name() {
				holds[i].Amount, holds[i].Mark = h.Amount, h.Mark
				return true
			}
		}
		return false
	})
	r.local.addCharged(holds)
	primary.Charge(r.req.ID+"/used", holds, used)
	// The holds on backends that the reservation has moved away from since: those attempts failed.
	primary.Charge(r.req.ID+"/left", left, limiter.Usage{Dispatched: true, Failed: true})
}

// holdInRedis reserves the holds in Redis until the reservation is settled.
func (r *localReservation) holdInRedis() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled || r.announced {
		return
	}
	r.announced, r.held, r.epoch = true, r.holds(), r.guard.primary.Epoch()
	r.guard.primary.Hold(r.req.ID+"/held", r.held)
}

// holds returns the reservation's holds, under the request's own rules instead of their shares.
func (r *localReservation) holds() []account.Hold {
	holds := r.inner.Holds()
	for i := range holds {
		holds[i].Rule, holds[i].Counter = r.local.asked(holds[i].Rule), nil
	}
	return holds
}

// openReservations are the unsettled reservations from shares.
type openReservations struct {
	mu  sync.Mutex
	all map[*localReservation]struct{}
}

func (o *openReservations) add(r *localReservation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[*localReservation]struct{})
	}
	o.all[r] = struct{}{}
}

func (o *openReservations) remove(r *localReservation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, r)
}

func (o *openReservations) list() []*localReservation {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*localReservation, 0, len(o.all))
	for r := range o.all {
		list = append(list, r)
	}
	return list
}

// freeReservation is a reservation under [Allow]. It holds nothing.
type freeReservation struct {
	guard *Limiter
	req   limiter.Request
	at    time.Time

	mu        sync.Mutex // guards the fields below
	candidate int
	settled   bool
}

func newFreeReservation(g *Limiter, req limiter.Request) *freeReservation {
	return &freeReservation{guard: g, req: req, at: time.Now()}
}

// Candidate implements [limiter.Reservation].
func (r *freeReservation) Candidate() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.candidate
}

// Cap implements [limiter.Reservation]. No quota is checked, so none lowers the cap.
func (r *freeReservation) Cap() int64 { return -1 }

// States implements [limiter.Reservation]. The states are unknown.
func (r *freeReservation) States() []limiter.State { return nil }

// Move implements [limiter.Reservation].
func (r *freeReservation) Move(ctx context.Context, candidate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return limiter.ErrSettled
	}
	if candidates := max(len(r.req.Candidates), 1); candidate < 0 || candidate >= candidates {
		return fmt.Errorf("moving a reservation to candidate %d of %d", candidate, candidates)
	}
	r.candidate = candidate
	return nil
}

// Settle implements [limiter.Reservation]. It charges quotas once Redis is available again: usage counts,
// however it was admitted. It does not charge rates, which were not enforced.
func (r *freeReservation) Settle(_ context.Context, used limiter.Usage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settled {
		return
	}
	r.settled = true
	rules := account.Distinct(r.req.Rules, nil)
	if r.candidate < len(r.req.Candidates) {
		rules = append(rules, account.Distinct(r.req.Candidates[r.candidate], rules)...)
	}
	var holds []account.Hold
	for _, rule := range rules {
		if w := rule.Limit.Window; w.Quota() {
			start, _ := w.Bounds(r.at)
			holds = append(holds, account.Hold{Rule: rule, Mark: start.UnixNano()})
		}
	}
	if away := r.guard.away.Load(); away != nil {
		away.local.addCharged(holds)
	}
	r.guard.primary.Charge(r.req.ID+"/used", holds, used)
}
