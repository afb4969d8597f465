package redis

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// overLimitMost is the maximum number of rules in the over-limit cache.
const overLimitMost = 10_000

// overLimit is a cache of the rules that are over their limit, so that a key which keeps sending requests
// causes no calls to Redis. It repeats a refusal while time alone can't have changed it: while the usage
// of a quota leaves no room, or a bucket has none even with the refill since. It does not cache refusals
// due to requests in flight, drops the rules that this gate settles, and does not add a rule that was settled
// while the refusal was under way. If another gate returns amounts to a rate, requests are wrongly refused
// for 100 ms at most.
type overLimit struct {
	now  func() time.Time
	most time.Duration // how long a refusal is repeated

	settled [256]atomic.Uint64 // settlements so far, by the hash of the rule

	count atomic.Int64
	mu    sync.Mutex
	rules map[string]over // by the name of the rule that refused; guarded by mu
}

// over is the cache entry of a rule that is over its limit.
type over struct {
	refusal   *limiter.Refusal
	rules     []*limiter.Rule // of the refused request
	room      int64           // of a bucket, or the unused part of a quota
	at, until time.Time
}

func (o *overLimit) start(t timing) {
	o.now, o.most = t.now, t.overLimit
	if o.now == nil {
		o.now = time.Now
	}
}

// settlements returns a number that grows when one of rules is settled.
func (o *overLimit) settlements(rules []*limiter.Rule) (n uint64) {
	for _, rule := range rules {
		n += o.settled[rule.Hash()%uint64(len(o.settled))].Load()
	}
	return n
}

// add adds the rule of a refusal if it is one of rules and the refusal can be repeated. before is the number
// of settlements before the call that was refused. add ignores other errors.
func (o *overLimit) add(err error, rules []*limiter.Rule, before uint64) {
	r := new(limiter.Refusal)
	if o.most <= 0 || !errors.As(err, &r) || r.TooLarge || r.Reserved || r.Rule.Limit.Unit == limiter.Concurrent || !slices.Contains(rules, r.Rule) {
		return
	}
	l := r.Rule.Limit
	room := max(l.Amount, l.Capacity()) - r.Used
	if l.Window.Quota() {
		i := slices.IndexFunc(r.States, func(s limiter.State) bool { return s.Rule == r.Rule })
		if i < 0 {
			return
		}
		room = l.Amount - r.States[i].Used
	}
	now := o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.settlements(rules) != before {
		return
	}
	if o.rules == nil || len(o.rules) >= overLimitMost {
		o.rules = make(map[string]over)
	}
	o.rules[r.Rule.Name()] = over{refusal: r, rules: slices.Clone(rules), room: room, at: now, until: now.Add(min(o.most, r.RetryAfter))}
	o.count.Store(int64(len(o.rules)))
}

// refusal returns the refusal of a request under rules; nil if none of them is in the cache as over its
// limit.
func (o *overLimit) refusal(req *account.Demand, rules []*limiter.Rule) *limiter.Refusal {
	if o.count.Load() == 0 {
		return nil
	}
	now := o.now()
	for _, rule := range rules {
		o.mu.Lock()
		known, ok := o.rules[rule.Name()]
		o.mu.Unlock()
		if ok && now.Before(known.until) && slices.Equal(known.rules, rules) {
			if again := known.again(req, now.Sub(known.at)); again != nil {
				return again
			}
		}
	}
	return nil
}

// again returns the refusal of a request elapsed after o.at; nil if the request may pass.
func (o over) again(req *account.Demand, elapsed time.Duration) *limiter.Refusal {
	again := *o.refusal
	l := again.Rule.Limit
	least, fits := req.Need(l, req.Least())
	room := o.room
	if l.Window.Rate() {
		room += account.MulDiv(int64(max(elapsed, 0)), l.Amount, int64(l.Window.Duration())) + 1
	}
	// A request that needs at least as much as the refused one is refused too; a smaller one may pass.
	if !fits || least == 0 || least <= room && least < o.refusal.Requested {
		return nil // Redis decides
	}
	again.Requested = least
	if l.Window.Rate() {
		again.Requested, _ = req.Need(l, req.Wanted().Total)
		again.RetryAfter = min(again.RetryAfter+account.FillTime(again.Requested-o.refusal.Requested, 0, l), account.LongestWait)
	}
	again.RetryAfter = max(again.RetryAfter-elapsed, time.Microsecond)
	again.States = slices.Clone(again.States)
	return &again
}

// forget drops the rules of settlements, which may have room again. It counts them first, so that add either
// sees that or adds a rule before it is dropped here.
func (o *overLimit) forget(settled []settlement) {
	for i := range settled {
		for _, h := range settled[i].holds {
			o.settled[h.Rule.Hash()%uint64(len(o.settled))].Add(1)
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.rules) == 0 {
		return
	}
	for i := range settled {
		for _, h := range settled[i].holds {
			delete(o.rules, h.Rule.Name())
		}
	}
	o.count.Store(int64(len(o.rules)))
}

// sweep drops expired entries.
func (o *overLimit) sweep() {
	now := o.now()
	o.mu.Lock()
	defer o.mu.Unlock()
	for name, known := range o.rules {
		if !now.Before(known.until) {
			delete(o.rules, name)
		}
	}
	o.count.Store(int64(len(o.rules)))
}
