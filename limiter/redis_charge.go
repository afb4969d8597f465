package limiter

import "time"

// luaLapsed is a quota's hold that counts as used.
const luaLapsed = 3

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
	byTag := map[string][]hold{}
	for _, h := range holds {
		if h.rule.Limit.Unit != Concurrent {
			tag := r.tag(h.rule)
			byTag[tag] = append(byTag[tag], h)
		}
	}
	for tag, part := range byTag {
		r.settler.add(settlement{tag: tag, id: id, used: used, charge: r.chargeRecord(tag, part, sign)})
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
func (r *Redis) chargeRecord(tag string, holds []hold, sign float64) []byte {
	p := packed(nil).numbers(0, 0, -1, 0, float64(len(holds)))
	for i := range holds {
		h := &holds[i]
		l := h.rule.Limit
		kind, mark := luaKind(l), 0.0
		if l.Window.Quota() {
			kind, mark = luaLapsed, float64(h.mark/int64(time.Microsecond))
		}
		p = p.numbers(kind, float64(l.Unit), sign*float64(h.amount), mark, luaWindow(l.Window), float64(l.Amount), float64(l.Capacity()))
		p = p.text(r.counterKey(tag, h.rule))
	}
	return p
}
