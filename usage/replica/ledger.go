// Package replica shares usage ledgers between gates through Redis.
package replica

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

// Options are the options of New. Client is required; the zero value of the
// others has the defaults.
type Options struct {
	// Client is the client of a Redis: standalone, behind Sentinel or a Cluster. The
	// caller closes it, after the ledger.
	Client redis.UniversalClient

	// Prefix is the prefix of the keys in Redis. Default: pinegate.
	Prefix string

	// Interval is the interval of deliveries, by which other gates lag behind.
	// Default: 1s.
	Interval time.Duration

	// Timeout is the timeout of one call to Redis. Default: 2s.
	Timeout time.Duration

	// CloseTimeout is the timeout of the last delivery, when the ledger is closed.
	// The rest is delivered after the next start. Default: 5s.
	CloseTimeout time.Duration

	// OnDelivery, if set, is called after each delivery, with nil if it succeeded. It
	// may be called from any goroutine and must not call the ledger.
	OnDelivery func(err error)

	// Warn, if set, is called with one line for each event that an operator should
	// see.
	Warn func(message string)
}

func (o *Options) setDefaults() {
	if o.Prefix == "" {
		o.Prefix = "pinegate"
	}
	if o.Interval <= 0 {
		o.Interval = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = 5 * time.Second
	}
	if o.OnDelivery == nil {
		o.OnDelivery = func(error) {}
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
}

// Ledger is the usage.Ledger of a gate that shares a Redis with others. Each gate
// records to its own [boltdb.Ledger]: no request waits for Redis. The contents of
// that ledger's file are delivered to Redis in the background, and all gates
// answer queries from there.
//
// A delivery holds neither records nor increments, but the sums themselves: the
// blocks of a generation, each with the journal offset through which it counts. A
// block replaces an older one. So it may be delivered any number of times, late,
// or by two gates with copies of a directory, and each record counts once. The
// samples of a generation belong to it alone, and a query sums the generations.
// If Redis loses data, the offsets there are missing or too low. Each gate then
// delivers again all that its file holds, so that everything within the retention
// is restored for each gate whose directory still exists. Meanwhile queries wait
// for the gates that were alive, at most 10 seconds.
//
// A record is lost if it was not delivered and its directory is lost too. That
// can affect the records of the last second, or those since Redis became
// unavailable. In Redis a sample takes some 20 bytes, and expires two days after
// it is no longer read.
//
// A process that starts with a copy of the directory of a running process settles
// the requests in flight in it at their last checkpoint, as if the running
// process had died: both processes count them.
type Ledger struct {
	*boltdb.Ledger
	feed   boltdb.Feed
	opts   Options
	keys   keys
	client redis.UniversalClient

	delivering chan struct{}     // holds one token, taken by the goroutine that delivers
	gates      []string          // generations of the live gates; guarded by delivering
	delivered  map[string]uint64 // offset through which Redis has each generation, as far as known; guarded by delivering
	audited    time.Time         // last time the offsets of all generations were checked; guarded by delivering

	unavailable atomic.Pointer[error]  // why Redis is unavailable; nil if it is not
	own         atomic.Pointer[string] // the generation whose offset must be in Redis; nil: none yet
	epoch       atomic.Uint64

	complete generationSet
	reads    reads

	contacted chan struct{} // closed after the first heartbeat
	contact   sync.Once
	wake      chan struct{}
	detach    sync.Once
	stop      context.CancelFunc
	stopped   chan struct{}
	closing   sync.Once
	closeErr  error
}

// New returns a ledger that shares the past and future records of b with the
// other gates of a Redis. It does not wait for the network. Only one Ledger may
// share b at a time.
func New(b *boltdb.Ledger, opts Options) *Ledger {
	opts.setDefaults()
	l := &Ledger{
		Ledger: b, feed: b.Feed(), opts: opts, client: opts.Client, keys: keys{opts.Prefix},
		delivering: make(chan struct{}, 1), delivered: map[string]uint64{}, reads: newReads(),
		complete:  generationSet{ids: map[string]bool{}},
		contacted: make(chan struct{}), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	go l.run(ctx)
	return l
}

// Contacted returns a channel that is closed after the first call to Redis,
// whether it succeeded or not.
func (l *Ledger) Contacted() <-chan struct{} { return l.contacted }

func (l *Ledger) setContacted() { l.contact.Do(func() { close(l.contacted) }) }

// Epoch returns how often Redis was restored from an old copy, as far as known.
// Anything derived from usage before the epoch changed is wrong. It is 0 before
// Contacted.
func (l *Ledger) Epoch() uint64 { return l.epoch.Load() }

// Unavailable returns the error of the last delivery; nil if it succeeded, or there
// was none yet.
func (l *Ledger) Unavailable() error {
	if err := l.unavailable.Load(); err != nil {
		return *err
	}
	return nil
}

// Query implements usage.Ledger. The error wraps usage.ErrUnavailable if the
// records of other gates are not known. Their records of the last two seconds may
// be missing.
func (l *Ledger) Query(ctx context.Context, q usage.Query) (page *usage.Page, err error) {
	over, err := l.feed.Range(&q)
	if err != nil {
		return nil, err
	}
	err = l.read(ctx, over, func(r *rollup.Reading) (err error) {
		page, err = r.Page(ctx, &q)
		return err
	})
	return page, err
}

// Totals implements usage.Ledger. It returns the errors of Query.
func (l *Ledger) Totals(ctx context.Context, key string, since time.Time) (totals usage.Totals, err error) {
	err = l.read(ctx, rollup.DaysSince(since), func(r *rollup.Reading) (err error) {
		totals, err = r.Totals(key)
		return err
	})
	return totals, err
}

// Deliver delivers everything that was recorded before the call.
func (l *Ledger) Deliver(ctx context.Context) error {
	select {
	case l.delivering <- struct{}{}:
		defer func() { <-l.delivering }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := l.deliver(ctx)
	switch {
	case err == nil:
		l.unavailable.Store(nil)
	case ctx.Err() != nil: // the error is the caller's, not that of Redis
		return err
	default:
		l.unavailable.Store(&err)
	}
	l.opts.OnDelivery(err)
	return err
}

// run delivers until the ledger is closed.
func (l *Ledger) run(ctx context.Context) {
	defer close(l.stopped)
	ticker := time.NewTicker(l.opts.Interval)
	defer ticker.Stop()
	for {
		_ = l.Deliver(ctx) // which calls OnDelivery
		l.setContacted()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-l.wake:
		}
	}
}

// deliverNow makes run deliver without waiting for its interval.
func (l *Ledger) deliverNow() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// Detach stops sharing after a last delivery, as Close does. It leaves the
// boltdb.Ledger open; another Ledger may then share it.
func (l *Ledger) Detach() error {
	var err error
	l.detach.Do(func() {
		l.stop()
		<-l.stopped
		ctx, cancel := context.WithTimeout(context.Background(), l.opts.CloseTimeout)
		defer cancel()
		if l.Unavailable() == nil { // else it would only cost time
			err = l.Deliver(ctx)
			l.leave(ctx)
		}
		l.feed.Stop()
	})
	return err
}

// leave removes the gate from the set of live gates.
func (l *Ledger) leave(ctx context.Context) {
	if own := l.own.Load(); own != nil {
		l.client.ZRem(ctx, l.keys.gates(), *own)
		l.client.ZRem(ctx, l.keys.rebuilding(), *own)
	}
}

// Close implements usage.Ledger. Records that cannot be delivered in time are
// delivered after the next start; the error is that of the boltdb.Ledger only.
func (l *Ledger) Close() error {
	l.closing.Do(func() {
		l.StopRecording()
		if err := l.Detach(); err != nil {
			l.opts.Warn(fmt.Sprintf("usage ledger %s: the next start delivers the rest of the usage: %v", l.Path(), err))
		}
		l.closeErr = l.Ledger.Close()
	})
	return l.closeErr
}

var _ usage.Ledger = (*Ledger)(nil)
