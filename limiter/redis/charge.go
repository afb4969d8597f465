package redis

import (
	"context"
	"slices"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// Charge charges the usage of a request that was admitted without Redis, in the background: once for each
// id, even if it is sent repeatedly, and even if there is no room. The holds' amounts are what
// [Store.Hold] has taken, and are returned. Rates go into debt by at most a day's refill. Quotas are
// charged in the window given by their mark; a quota that Redis does not have is not charged, because
// its seed will include the usage. Concurrent limits are not charged.
func (r *Store) Charge(id string, holds []account.Hold, used limiter.Usage) {
	taken := false
	for i := range holds {
		taken = taken || holds[i].Amount > 0
	}
	if used.Dispatched || taken {
		r.queueCharge(id, holds, used, 1)
	}
}

// Hold takes in Redis, in the background, the holds of a request that was admitted without Redis.
func (r *Store) Hold(id string, holds []account.Hold) { r.queueCharge(id, holds, limiter.Usage{}, -1) }

func (r *Store) queueCharge(id string, holds []account.Hold, used limiter.Usage, sign float64) {
	holds = slices.DeleteFunc(slices.Clone(holds), func(h account.Hold) bool { return h.Rule.Limit.Unit == limiter.Concurrent })
	if len(holds) > 0 {
		r.settler.add(settlement{id: id, used: used, charge: r.chargeRecord(holds, sign)})
	}
}

// SetUncharged sets whether this gate has yet to charge what it admitted while Redis was unavailable. While
// set, the gate is not counted.
func (r *Store) SetUncharged(uncharged bool) { r.uncharged.Store(uncharged) }

// Flush waits until all previous settlements and charges are delivered. The error is ErrUnavailable.
func (r *Store) Flush(ctx context.Context) error {
	if err := r.settler.flush(ctx); err != nil {
		return unavailable(err)
	}
	return nil
}

// Epoch returns the current epoch of the quotas' counters: see [Options.Epoch].
func (r *Store) Epoch() uint64 {
	if r.opts.Epoch == nil {
		return 0
	}
	return r.opts.Epoch()
}

// chargeRecord returns a record that is not stored in Redis, in the format of counter.lua. Settling it
// returns the amounts of holds, or takes them if sign is -1, and charges what was used.
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
