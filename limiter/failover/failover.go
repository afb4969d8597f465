// Package failover is a limiter over a Redis store that several gates share. While the store is
// unavailable, each gate enforces its share of every limit, or refuses or admits every request.
package failover

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// Mode is how requests are decided while the shared store is unavailable. Its text form is the word in
// the configuration.
type Mode uint8

// The modes of an outage.
const (
	// Local, the default, enforces each gate's share of every limit, starting from the last known state.
	Local Mode = iota

	// Deny refuses every request, with [limiter.ErrUnavailable].
	Deny

	// Allow admits every request.
	Allow
)

var modeNames = [...]string{"local", "deny", "allow"}

// String returns "local", "deny" or "allow".
func (o Mode) String() string {
	if int(o) < len(modeNames) {
		return modeNames[o]
	}
	return fmt.Sprintf("Mode(%d)", uint8(o))
}

// ParseMode parses a word of [Mode.String]. "" is Local.
func ParseMode(word string) (Mode, error) {
	if word == "" {
		return Local, nil
	}
	for i, name := range modeNames {
		if word == name {
			return Mode(i), nil
		}
	}
	if word == "shadow" {
		return Local, errors.New("shadow is called local now: write local")
	}
	return Local, fmt.Errorf("unknown word %q: expected local, deny or allow", word)
}

const (
	// probeFirst is the first backoff between probes of an unavailable store; it doubles each time,
	// up to probeMost.
	probeFirst, probeMost = 250 * time.Millisecond, time.Second

	// flap is the time since the last outage within which another one is announced even if the first
	// probe succeeds.
	flap = 5 * time.Second

	// awayRetry is the retry time for a request that is too large for a gate's share but not for the
	// limit: the store may be available again by then.
	awayRetry = 2 * time.Second
)

// Options are the options of [New]. The zero value is useful.
type Options struct {
	// Mode is how requests are decided while the store is unavailable. Default: Local.
	Mode Mode

	// Replicas is the number of gates by which Local divides a limit. Default (0): the number counted
	// in Redis before the outage. A gate that has not reached Redis since its start counts only itself.
	Replicas int

	// OnChange is called once when the store becomes unavailable, with the reason, and once when it is
	// available again, with nil. The reason is a [*limiter.Unavailable], which may contain addresses but
	// no credentials. Calls are made in order; OnChange must return soon and not call the store.
	// Default: not called.
	OnChange func(reason error)

	// OnError is called with the error of each call for a request that fails because the store is
	// unavailable. Default: not called.
	OnError func(error)

	// Seed is called under Local if this gate has not seen Redis's count of a quota. Default: nothing
	// was used.
	Seed limiter.Seed

	// Seedable reports an error until the Seed of the Redis store works again. When Redis is available
	// again, it is called until it returns nil, for at most 3 seconds, before Redis decides. Without it,
	// the first requests under quotas that Redis has lost are refused if Seed takes longer to recover
	// than Redis. Default: Seed always works.
	Seedable func(context.Context) error
}

// Limiter is a Redis store with a fallback for its outages.
//
// The first call that fails with [limiter.ErrUnavailable] marks the store as unavailable. That request,
// and those whose calls are under way, have waited for the store's timeout; no other request waits
// until the store is available again. A background probe checks Redis at once, after 250 ms, and then
// with a backoff that doubles up to one second. A store that answers the first probe, and had been
// available for 5 seconds before, was only slow: OnChange is not called, and requests were decided in
// the outage's mode only while the probe ran.
//
// Under [Local], one of n gates enforces 1/n of each limit, at least one request or permit, in memory. A
// rate starts with 1/n of what was left when this gate last saw it, plus the refill since. A quota starts
// with 1/n of what was left, or with 1/n of the amount if its window has ended since. A quota that this
// gate has not seen starts with 1/n of what Seed leaves; a budget of money, with a tenth of that. So all
// gates together admit in an outage no more than a burst and the refill of each rate, or the amount of
// each quota: together with what was admitted before the outage, the excess is at most one burst. If a
// limit is smaller than the number of gates, each gate admits one request. Permits of requests that were
// admitted before the outage are not counted in it.
//
// What was admitted under Local is charged to Redis before Redis decides again, by id and so only once:
// what was used, and what is reserved until it is settled. Rates go into debt for it, by at most a day's
// refill. Quotas are charged in the window of the admission; a quota that Redis does not have is seeded,
// and the seed includes the charge. A gate that finds Redis available again is counted once it has
// charged. It waits up to 3 seconds for the gates that were counted before, or for Replicas, so that it
// neither spends what they have yet to charge nor seeds a quota with usage that they then charge again.
// If Redis has lost its buckets, they start full less what was charged: again the excess is at most one
// burst. Concurrent limits start without the requests that Local admitted and that are still in flight.
//
// Under [Allow], only the usage of quotas is charged.
type Limiter struct {
	primary *redis.Store
	opts    Options
	known   lastStates
	ctx     context.Context // done when the limiter is closed
	stop    context.CancelFunc

	away      atomic.Pointer[outage] // nil while Redis decides
	announced atomic.Pointer[outage] // the outage that OnChange was called for
	probing   sync.WaitGroup

	mu     sync.Mutex // guards the fields below, and writes to away
	closed bool
	back   time.Time // when the last outage ended
	gates  int       // counted before the last outage

	open openReservations
}

// outage is one outage of the store.
type outage struct {
	mode     Mode
	local    *localShare
	reason   error // of the first call that failed
	gates    int   // counted before the outage
	flapping bool  // announce the outage at once
}

// New returns a limiter over primary. Close closes primary too.
func New(primary *redis.Store, opts Options) *Limiter {
	if opts.OnChange == nil {
		opts.OnChange = func(error) {}
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	g := &Limiter{primary: primary, opts: opts}
	g.ctx, g.stop = context.WithCancel(context.Background())
	// Detect before the first request that Redis is unavailable from the start.
	g.probing.Go(func() {
		if err := primary.Ping(g.ctx); err != nil {
			g.leave(err)
		}
	})
	return g
}

// Reserve implements [limiter.Limiter]. The error is ErrUnavailable only under Deny, if a quota can't be
// seeded, and once the store is closed.
func (g *Limiter) Reserve(ctx context.Context, req limiter.Request) (limiter.Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	away := g.away.Load()
	if away == nil {
		res, err := g.primary.Reserve(ctx, req)
		if err == nil {
			shared := res.(*redis.Reservation)
			common, own := shared.Seen()
			g.known.setHolds(common)
			g.known.setHolds(own)
			return &sharedReservation{guard: g, req: req, shared: shared}, nil
		}
		if refusal := new(limiter.Refusal); errors.As(err, &refusal) {
			g.known.setStates(refusal.States)
		}
		if away = g.lost(err); away == nil {
			return nil, err
		}
	}
	return g.reserveAway(away, req)
}

// reserveAway reserves req in the mode of an outage.
func (g *Limiter) reserveAway(away *outage, req limiter.Request) (limiter.Reservation, error) {
	switch away.mode {
	case Deny:
		return nil, away.reason
	case Allow:
		return newFreeReservation(g, req), nil
	default:
		return away.local.reserve(g, req)
	}
}

// Peek implements [limiter.Limiter]. While the store is unavailable, it returns the states of this gate's
// share under Local, else the last known states. The error is that of ctx, or that the store is closed.
func (g *Limiter) Peek(ctx context.Context, rules []*limiter.Rule) ([]limiter.State, error) {
	away := g.away.Load()
	if away == nil {
		all, err := g.primary.Peek(ctx, rules)
		if err == nil {
			return all, nil
		}
		if away = g.lost(err); away == nil {
			return nil, err
		}
	}
	return away.local.peek(ctx, rules)
}

// Report handles an error of the store's background work, see [redis.Options]. It lets a gate without
// requests detect that the store is unavailable.
func (g *Limiter) Report(err error) { g.leave(err) }

// Gates returns the number of gates, this one included, that were last counted in the store; 1 before
// the first count.
func (g *Limiter) Gates() int { return max(g.primary.Replicas(), 1) }

// Ready reports an error while requests are refused because the store is unavailable: under Deny only.
func (g *Limiter) Ready() error {
	if away := g.away.Load(); away != nil && away.mode == Deny {
		return away.reason
	}
	return nil
}

// Away returns the mode, and reports whether it applies because the store is unavailable. A store that
// was only slow once does not count as unavailable.
func (g *Limiter) Away() (Mode, bool) { return g.opts.Mode, g.announced.Load() != nil }

// Decides reports whether the store decides now. While it does not, Peek returns the states of this gate
// alone.
func (g *Limiter) Decides() bool { return g.away.Load() == nil }

// Close closes the store. It may be called more than once.
func (g *Limiter) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.stop()
	g.probing.Wait()
	if away := g.away.Load(); away != nil {
		_ = away.local.memory.Close() // it has no error
	}
	return g.primary.Close()
}

// lost starts an outage because a call for a request failed with err. It returns nil for errors
// that have another cause.
func (g *Limiter) lost(err error) *outage {
	away := g.leave(err)
	if away != nil {
		g.opts.OnError(err)
	}
	return away
}

// leave marks the store as unavailable, starts probing it and returns the outage. It returns nil if err
// does not mean that the store is unavailable.
func (g *Limiter) leave(err error) *outage {
	reason := new(limiter.Unavailable)
	if !errors.As(err, &reason) || reason.Reason == limiter.ReasonClosed || reason.Reason == limiter.ReasonSeed || reason.Reason == limiter.ReasonDamaged {
		return nil // Redis is available
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if away := g.away.Load(); away != nil || g.closed {
		return away
	}
	now := time.Now()
	// A Redis that restarted empty has counted only few gates when it fails again.
	gates := g.primary.Replicas()
	if now.Sub(g.back) < gatesForgotten {
		gates = max(gates, g.gates)
	}
	g.gates = gates
	share := 1
	if g.opts.Mode == Local {
		share = gates
		if g.opts.Replicas > 0 {
			share = g.opts.Replicas
		}
	}
	away := &outage{
		mode: g.opts.Mode, local: newLocalShare(share, &g.known, g.opts.Seed), reason: err,
		gates: gates, flapping: now.Sub(g.back) < flap,
	}
	g.away.Store(away)
	g.primary.SetUncharged(true)
	g.probing.Go(func() { g.probe(away) })
	return away
}

// announce calls OnChange for an outage, once.
func (g *Limiter) announce(away *outage) {
	if g.announced.CompareAndSwap(nil, away) {
		g.opts.OnChange(away.reason)
	}
}

// restore ends an outage: the store decides again. The next outage can't start before the end of this
// one is announced.
func (g *Limiter) restore(away *outage) {
	g.mu.Lock()
	g.back = time.Now()
	g.away.Store(nil)
	if g.announced.Swap(nil) != nil {
		g.opts.OnChange(nil)
	}
	g.mu.Unlock()
	_ = away.local.memory.Close() // it has no error
}

var _ limiter.Limiter = (*Limiter)(nil)
