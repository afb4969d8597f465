// Package failover is a limiter over a store that several gates share: while that is away, each gate enforces
// its share of every limit, or refuses or admits every request.
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

// Mode is what limits do while the store that gates share is away. Its text form is the word in the
// configuration.
type Mode uint8

// The modes of an outage.
const (
	// Local enforces on each gate its share of every limit, from the last state known: the default.
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
	// probeFirst is how long a store that is away is not asked again at first; it is twice as
	// long each time, up to probeMost.
	probeFirst, probeMost = 250 * time.Millisecond, time.Second

	// flap is within what time of the last outage one is announced even if the store answers at once.
	flap = 5 * time.Second

	// awayRetry is when a caller may come back who was refused by a share of a limit that has room
	// for the request: the store may be back then.
	awayRetry = 2 * time.Second
)

// Options are the options of [New]. The zero value is useful.
type Options struct {
	// Mode is what limits do while the store is away. Default: Local.
	Mode Mode

	// Replicas is over how many gates Local divides a limit. Default (0): as many as were counted in
	// Redis before it was away. A gate that has not seen Redis since its start takes itself for the
	// only one.
	Replicas int

	// OnChange is called once when the store is found to be away, with the reason, and once when it is
	// back. The reason is a [*limiter.Unavailable], which may hold addresses and holds no credential. Calls
	// come in order; it must return soon and not call the store. Default: it is not called.
	OnChange func(up bool, reason error)

	// OnError is called with the error of each call for a request that fails because the store is away.
	// Default: it is not called.
	OnError func(error)

	// Seed is asked under Local where this gate has not seen what Redis counted of a quota in its
	// window. Default: nothing was used.
	Seed limiter.Seed

	// Seedable reports an error until the Seed of the Redis store works again: it is asked when Redis is back,
	// for 3 seconds at most or until its error is nil, before Redis decides. Without it, the first
	// requests under quotas that Redis has lost are refused where the Seed takes longer to find out
	// that Redis is back. Default: it always works.
	Seedable func(context.Context) error
}

// Limiter is a Redis store and what is done while it is away.
//
// The first call that fails with [limiter.ErrUnavailable] marks the store as away; that request, and those
// whose calls are under way, have waited for the store's timeout, and until it is back nobody else
// waits for anything: a dead Redis is asked by a probe in the background, at once, after 250 ms, and
// twice as long each time up to a second. A store that answers the first probe and was not away within
// the last 5 seconds was slow once: OnChange is not called, and limits were in the outage's mode for as
// long as the probe took.
//
// Under [Local] a gate of n enforces 1/n of each limit, at least one request or permit, in memory. A
// rate starts with 1/n of what was left when this gate last looked, with what has come in since; a
// quota with 1/n of what was left, and where this gate has not looked in this window, of what Seed says.
// A budget of money of which neither is known keeps an allowance of a tenth of that. So all gates
// together admit in an outage no more than a burst and the refill of each rate, or the amount of each
// quota: together with what was admitted before it, the excess is at most one burst. Where a limit is
// smaller than the number of gates, that is one request for each gate. Permits of requests that were
// admitted before the outage are not counted in it.
//
// What was admitted under Local is charged to Redis before it decides again, by id and so once: what
// was used, and what is still reserved until it is settled. Rates go into debt for it, at most a day's
// refill. Quotas are charged in the window of the admission; one of which Redis knows nothing is
// seeded, and has it from there. A gate that finds Redis back is counted when it has charged, and waits
// up to 3 seconds for those that were counted before, or for Replicas, so that it neither spends what they have still to
// charge nor seeds a quota with what they then charge once more. Where Redis has lost
// its buckets, they begin full less what was charged: again the excess is at most one burst. Concurrent
// limits begin without the requests that Local admitted and that are still in flight.
//
// Under [Allow] only what quotas have used is charged.
type Limiter struct {
	primary *redis.Store
	opts    Options
	known   lastStates
	ctx     context.Context // done when it is closed
	stop    context.CancelFunc

	away      atomic.Pointer[outage] // nil while Redis decides
	announced atomic.Pointer[outage] // the outage that OnChange was called for
	probing   sync.WaitGroup

	mu     sync.Mutex // guards what follows, and changes of away
	closed bool
	back   time.Time // when the last outage ended
	gates  int       // counted before the last outage

	open openReservations
}

// outage is one outage.
type outage struct {
	mode     Mode
	local    *localShare
	reason   error // of the first call that failed
	gates    int   // that were counted before it
	flapping bool  // to be announced at once
}

// New returns a limiter over a store, which is closed with it.
func New(primary *redis.Store, opts Options) *Limiter {
	if opts.OnChange == nil {
		opts.OnChange = func(bool, error) {}
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	g := &Limiter{primary: primary, opts: opts}
	g.ctx, g.stop = context.WithCancel(context.Background())
	// Where Redis is away from the start, that is known before the first request.
	g.probing.Go(func() {
		if err := primary.Ping(g.ctx); err != nil {
			g.leave(err)
		}
	})
	return g
}

// Reserve implements [limiter.Limiter]. The error is ErrUnavailable only under Deny, where a quota can't be
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

// reserveAway reserves in the mode of an outage.
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

// Peek implements [limiter.Limiter]. While the store is away, the states are those of this gate's share under
// Local, else the last ones known. The error is that of ctx, or that the store is closed.
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

// Report takes an error that the store has met in the background, see [redis.Options]: so a gate without
// requests finds that the store is away.
func (g *Limiter) Report(err error) { g.leave(err) }

// Gates is how many gates were counted in the store last, this one among them; 1 before the first time.
func (g *Limiter) Gates() int { return max(g.primary.Replicas(), 1) }

// Ready reports an error while requests are refused because the store is away: under Deny only.
func (g *Limiter) Ready() error {
	if away := g.away.Load(); away != nil && away.mode == Deny {
		return away.reason
	}
	return nil
}

// Away returns what limits do because the store is away, and false while it decides. A store that was slow
// once is not away.
func (g *Limiter) Away() (Mode, bool) { return g.opts.Mode, g.announced.Load() != nil }

// Decides reports whether the store decides now. While it does not, Peek returns states of this gate alone.
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

// lost begins an outage because a call for a request has failed. It returns nil for errors
// that say something else.
func (g *Limiter) lost(err error) *outage {
	away := g.leave(err)
	if away != nil {
		g.opts.OnError(err)
	}
	return away
}

// leave makes the store be away.
func (g *Limiter) leave(err error) *outage {
	reason := new(limiter.Unavailable)
	if !errors.As(err, &reason) || reason.Reason == limiter.ReasonClosed || reason.Reason == limiter.ReasonSeed {
		return nil // Redis is not away
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if away := g.away.Load(); away != nil || g.closed {
		return away
	}
	now := time.Now()
	// A Redis that came back empty has counted few of the gates when it goes away again.
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

// announce calls OnChange once for an outage.
func (g *Limiter) announce(away *outage) {
	if g.announced.CompareAndSwap(nil, away) {
		g.opts.OnChange(false, away.reason)
	}
}

// restore lets the store decide again. The next outage can't begin before this one's end is announced.
func (g *Limiter) restore(away *outage) {
	g.mu.Lock()
	g.back = time.Now()
	g.away.Store(nil)
	if g.announced.Swap(nil) != nil {
		g.opts.OnChange(true, nil)
	}
	g.mu.Unlock()
	_ = away.local.memory.Close() // it has no error
}

var _ limiter.Limiter = (*Limiter)(nil)
