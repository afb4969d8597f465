package limiter

import "slices"

// charge charges Redis in the background with what a request has used that was admitted without it:
// once for each id, however often that is told, and whatever room there is. The holds' amounts are
// what [Redis.hold] has taken for it, which is given back. Rates owe at most a day's refill; quotas are
// charged in the window that their mark says; one that Redis does not know is not charged, because what
// comes next is seeded with what was used. Concurrent limits have nothing to charge.
func (r *Redis) charge(id string, holds []hold, used Actual) {
	taken := false
	for i := range holds {
		taken = taken || holds[i].amount > 0
	}
	if used.Dispatched || taken {
		r.queueCharge(id, holds, used, 1)
	}
}

// hold takes in Redis, in the background, what a request holds that was admitted without it.
func (r *Redis) hold(id string, holds []hold) { r.queueCharge(id, holds, Actual{}, -1) }

func (r *Redis) queueCharge(id string, holds []hold, used Actual, sign float64) {
	holds = slices.DeleteFunc(slices.Clone(holds), func(h hold) bool { return h.rule.Limit.Unit == Concurrent })
	if len(holds) > 0 {
		r.settler.add(settlement{id: id, used: used, charge: r.chargeRecord(holds, sign)})
	}
}

// epoch is that of the quotas' counters by now: see [RedisOptions.Epoch].
func (r *Redis) epoch() uint64 {
	if r.opts.Epoch == nil {
		return 0
	}
	return r.opts.Epoch()
}

// chargeRecord is a record that nobody has stored, in the form that counter.lua describes: settling
// it gives back the amounts, or takes them where sign is -1, and charges what was used.
func (r *Redis) chargeRecord(holds []hold, sign float64) []byte {
	p := packed(nil).record(len(holds))
	for i := range holds {
		h := &holds[i]
		kind := luaKind(h.rule.Limit)
		if kind == luaQuota {
			kind = luaReaped
		}
		p = p.hold(kind, h.rule, r.counterKey(h.rule), sign*float64(h.amount), h.mark)
	}
	return p
}
