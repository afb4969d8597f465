package limiter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Outage is what limits do while the store that gates share is away. Its text form is the word in the
// configuration.
type Outage uint8

// The modes of an outage.
const (
	// Shadow enforces on each gate its share of every limit, from the last state known: the default.
	Shadow Outage = iota

	// Deny refuses every request, with [ErrUnavailable].
	Deny

	// Allow admits every request.
	Allow
)

var outageNames = [...]string{"shadow", "deny", "allow"}

// String returns "shadow", "deny" or "allow".
func (o Outage) String() string {
	if int(o) < len(outageNames) {
		return outageNames[o]
	}
	return fmt.Sprintf("Outage(%d)", uint8(o))
}

// ParseOutage reads a word of [Outage.String]. "" is Shadow.
func ParseOutage(word string) (Outage, error) {
	if word == "" {
		return Shadow, nil
	}
	for i, name := range outageNames {
		if word == name {
			return Outage(i), nil
		}
	}
	return Shadow, fmt.Errorf("unknown word %q: expected shadow, deny or allow", word)
}

const (
	// probeFirst is how long a store that is away is left alone before it is asked again, twice as
	// long each time, up to probeMost.
	probeFirst, probeMost = 250 * time.Millisecond, time.Second

	// blip is within what time of the last one an outage is told even if the store answers at once.
	blip = 5 * time.Second

	// awayRetry is when a caller may come back who was refused by a share of a limit that has room
	// for the request: the store may be back then.
	awayRetry = 2 * time.Second
)

// GuardedOptions are the options of [NewGuarded]. The zero value is useful.
type GuardedOptions struct {
	// Mode is what limits do while the store is away. Default: Shadow.
	Mode Outage

	// Replicas is over how many gates Shadow divides a limit. Default (0): as many as were counted in
	// Redis before it was away. A gate that has not seen Redis since its start takes itself for the
	// only one.
	Replicas int

	// OnChange is told once when the store is found to be away, with the reason, and once when it is
	// back. The reason is an [*Unavailable], which may hold addresses and holds no credential. Calls
	// come in order; it must return soon and not call the store. Default: nobody is told.
	OnChange func(up bool, reason error)

	// OnError is told of each call for a request that fails because the store is away. Default: nobody
	// is told.
	OnError func(error)

	// Seed is asked under Shadow where this gate has not seen what Redis counted of a quota in its
	// window. Default: nothing was used.
	Seed Seed

	// Seedable tells whether the Seed of the Redis store works again: it is asked when Redis is back,
	// for 3 seconds at most or until its error is nil, before Redis decides. Without it, the first
	// requests under quotas that Redis has lost are refused where the Seed takes longer to find out
	// that Redis is back. Default: it always works.
	Seedable func(context.Context) error
}

// Guarded is a Redis store and what is done while it is away.
//
// The first call that fails with [ErrUnavailable] marks the store as away; that request, and those
// whose calls are under way, have waited for the store's timeout, and until it is back nobody else
// waits for anything: a dead Redis is asked by a probe in the background, at once, after 250 ms, and
// twice as long each time up to a second. A store that answers the first probe and was not away within
// the last 5 seconds was slow once: OnChange is not told, and limits were in the outage's mode for as
// long as the probe took.
//
// Under [Shadow] a gate of n enforces 1/n of each limit, at least one request or place, in memory. A
// rate starts with 1/n of what was left when this gate last looked, with what has come in since; a
// quota with 1/n of what was left, and where this gate has not looked in this window, of what Seed says.
// A budget of money of which neither is known keeps an allowance of a tenth of that. So all gates
// together admit in an outage no more than a burst and the refill of each rate, or the amount of each
// quota: together with what was admitted before it, the excess is at most one burst. Where a limit is
// smaller than the number of gates, that is one request for each gate. Places of requests that were
// admitted before the outage are not counted in it.
//
// What was admitted under Shadow is charged to Redis before it decides again, by id and so once: what
// was used, and what is still reserved until it is settled. Rates go into debt for it, at most a day's
// refill. Quotas are charged in the window of the admission; one of which Redis knows nothing is
// seeded, and has it from there. A gate that finds Redis back is counted when it has charged, and waits
// up to 3 seconds for those that were counted before, or for Replicas, so that it neither spends what they have still to
// charge nor seeds a quota with what they then charge once more. Where Redis has lost
// its buckets, they begin full less what was charged: again the excess is at most one burst. Concurrent
// limits begin without the requests that Shadow admitted and that are still in flight.
//
// Under [Allow] only what quotas have used is charged.
type Guarded struct {
	primary *Redis
	opts    GuardedOptions
	known   lastStates
	ctx     context.Context // done when it is closed
	stop    context.CancelFunc

	away    atomic.Pointer[absence] // nil while Redis decides
	told    atomic.Pointer[absence] // of which OnChange was told
	probing sync.WaitGroup

	mu     sync.Mutex // guards what follows, and changes of away
	closed bool
	back   time.Time // when the last absence ended
	gates  int       // counted before the last absence, while it was not told otherwise

	open openShadows
}

// absence is one outage.
type absence struct {
	mode   Outage
	shadow *shadow
	reason error // of the first call that failed
	gates  int   // that were counted before it
	loud   bool  // to be told at once
}

// NewGuarded guards a store, which is closed with it.
func NewGuarded(primary *Redis, opts GuardedOptions) *Guarded {
	if opts.OnChange == nil {
		opts.OnChange = func(bool, error) {}
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	g := &Guarded{primary: primary, opts: opts}
	g.ctx, g.stop = context.WithCancel(context.Background())
	// Where Redis is away from the start, that is known before the first request.
	g.probing.Go(func() {
		if err := primary.Ping(g.ctx); err != nil {
			g.leave(err)
		}
	})
	return g
}

// Reserve implements [Limiter]. The error is ErrUnavailable only under Deny, where a quota can't be
// seeded, and once the store is closed.
func (g *Guarded) Reserve(ctx context.Context, req Request) (Reservation, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	away := g.away.Load()
	if away == nil {
		res, err := g.primary.Reserve(ctx, req)
		if err == nil {
			shared := res.(*redisReservation)
			g.known.noteHolds(shared.common)
			g.known.noteHolds(shared.own)
			return &guardedReservation{guard: g, req: req, shared: shared}, nil
		}
		if refusal := new(Refusal); errors.As(err, &refusal) {
			g.known.noteStates(refusal.States)
		}
		if away = g.lost(err); away == nil {
			return nil, err
		}
	}
	return g.reserveAway(away, req)
}

// reserveAway reserves in the mode of an outage.
func (g *Guarded) reserveAway(away *absence, req Request) (Reservation, error) {
	switch away.mode {
	case Deny:
		return nil, away.reason
	case Allow:
		return newFreeReservation(g, req), nil
	default:
		return away.shadow.reserve(g, req)
	}
}

// Peek implements [Limiter]. While the store is away, the states are those of this gate's share under
// Shadow, else the last ones known. The error is that of ctx, or that the store is closed.
func (g *Guarded) Peek(ctx context.Context, rules []*Rule) ([]State, error) {
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
	return away.shadow.peek(ctx, rules)
}

// Report notes an error that the store has met in the background, see [RedisOptions.OnError]: so a gate
// without requests knows that the store is away.
func (g *Guarded) Report(err error) { g.leave(err) }

// Gates is how many gates were counted in the store last, this one among them; 1 before the first time.
func (g *Guarded) Gates() int { return max(g.primary.Replicas(), 1) }

// Ready reports an error while requests are refused because the store is away: under Deny only.
func (g *Guarded) Ready() error {
	if away := g.away.Load(); away != nil && away.mode == Deny {
		return away.reason
	}
	return nil
}

// Away tells what limits do because the store is away, and false while it decides. It does not tell
// of a store that was slow once.
func (g *Guarded) Away() (Outage, bool) { return g.opts.Mode, g.told.Load() != nil }

// Decides tells whether the store decides now. While it does not, Peek tells of this gate alone.
func (g *Guarded) Decides() bool { return g.away.Load() == nil }

// Close closes the store. It may be called more than once.
func (g *Guarded) Close() error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.stop()
	g.probing.Wait()
	if away := g.away.Load(); away != nil {
		_ = away.shadow.memory.Close() // it has no error
	}
	return g.primary.Close()
}

// lost notes that a call for a request has failed because the store is away. It returns nil for errors
// that say something else.
func (g *Guarded) lost(err error) *absence {
	away := g.leave(err)
	if away != nil {
		g.opts.OnError(err)
	}
	return away
}

// leave makes the store be away.
func (g *Guarded) leave(err error) *absence {
	reason := new(Unavailable)
	if !errors.As(err, &reason) || reason.Reason == ReasonClosed || reason.Reason == ReasonSeed {
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
	if g.opts.Mode == Shadow {
		share = gates
		if g.opts.Replicas > 0 {
			share = g.opts.Replicas
		}
	}
	away := &absence{
		mode: g.opts.Mode, shadow: newShadow(share, &g.known, g.opts.Seed), reason: err,
		gates: gates, loud: now.Sub(g.back) < blip,
	}
	g.away.Store(away)
	g.primary.owes.Store(true)
	g.probing.Go(func() { g.probe(away) })
	return away
}

// tell tells once that the store is away.
func (g *Guarded) tell(away *absence) {
	if g.told.CompareAndSwap(nil, away) {
		g.opts.OnChange(false, away.reason)
	}
}

// restore lets the store decide again. The next absence can't begin before this one's end is told.
func (g *Guarded) restore(away *absence) {
	g.mu.Lock()
	g.back = time.Now()
	g.away.Store(nil)
	if g.told.Swap(nil) != nil {
		g.opts.OnChange(true, nil)
	}
	g.mu.Unlock()
	_ = away.shadow.memory.Close() // it has no error
}

var _ Limiter = (*Guarded)(nil)
