package redis

import (
	"context"
	"slices"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// Charge charges Redis in the background with what a request has used that was admitted without it:
// once for each id, however often it is sent, and whatever room there is. The holds' amounts are
// what [Store.Hold] has taken for it, which is given back. Rates owe at most a day's refill; quotas are
// charged in the window that their mark says; one that Redis does not know is not charged, because what
// comes next is seeded with what was used. Concurrent limits have nothing to charge.
func (r *Store) Charge(id string, holds []account.Hold, used limiter.Usage) {
	taken := false
	for i := range holds {
		taken = taken || holds[i].Amount > 0
	}
	if used.Dispatched || taken {
		r.queueCharge(id, holds, used, 1)
	}
}

// Hold takes in Redis, in the background, what a request holds that was admitted without it.
func (r *Store) Hold(id string, holds []account.Hold) { r.queueCharge(id, holds, limiter.Usage{}, -1) }

func (r *Store) queueCharge(id string, holds []account.Hold, used limiter.Usage, sign float64) {
	holds = slices.DeleteFunc(slices.Clone(holds), func(h account.Hold) bool { return h.Rule.Limit.Unit == limiter.Concurrent })
	if len(holds) > 0 {
		r.settler.add(settlement{id: id, used: used, charge: r.chargeRecord(holds, sign)})
	}
}

// SetUncharged sets whether this gate has yet to charge what it admitted while Redis was away. It is then not
// counted.
func (r *Store) SetUncharged(uncharged bool) { r.uncharged.Store(uncharged) }

// Flush waits until all that was settled and charged before is delivered. The error is ErrUnavailable.
func (r *Store) Flush(ctx context.Context) error {
	if err := r.settler.flush(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Epoch is that of the quotas' counters by now: see [Options.Epoch].
func (r *Store) Epoch() uint64 {
	if r.opts.Epoch == nil {
		return 0
	}
	return r.opts.Epoch()
}

// chargeRecord is a record that nobody has stored, in the form that counter.lua describes: settling
// it gives back the amounts, or takes them where sign is -1, and charges what was used.
func (r *Store) chargeRecord(holds []account.Hold, sign float64) []byte {
	p := packed(nil).record(len(holds))
	for i := range holds {
		h := &holds[i]
		kind := luaKind(h.Rule.Limit)
		if kind == luaQuota {
			kind = luaReaped
		}
		p = p.hold(kind, h.Rule, r.counterKey(h.Rule), sign*float64(h.Amount), h.Mark)
	}
	return p
}
