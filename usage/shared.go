package usage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrAway is wrapped by the errors of a shared ledger that can't tell what other
// gates have recorded.
var ErrAway = errors.New("the shared store of usage is away")

// SharedOptions are those of Share. Client is needed; the zero value of all else
// is useful.
type SharedOptions struct {
	// Client is that of Redis: standalone, behind Sentinel or a Cluster. It is
	// closed with the ledger.
	Client redis.UniversalClient

	// Prefix is what the names of keys begin with. Default: pinegate.
	Prefix string

	// Every is how often what was recorded is delivered, and so how far other
	// gates are behind. Default: 1s.
	Every time.Duration

	// Timeout bounds one call to Redis. Default: 2s.
	Timeout time.Duration

	// CloseTimeout bounds the delivery when the ledger is closed. What is left
	// is delivered after the next start. Default: 5s.
	CloseTimeout time.Duration

	// Changed is told at the first delivery, and whenever Redis is away or back:
	// err is why it is away, nil where it is there. It may be called from any
	// goroutine and must not call the ledger. Default: nobody is told.
	Changed func(err error)

	// OnError is told each delivery that failed, as Changed is. Default: nobody
	// is told.
	OnError func(err error)

	// Warn is told, in one line each, what an operator should know. Default:
	// nobody is told.
	Warn func(message string)
}

func (o *SharedOptions) setDefaults() {
	if o.Prefix == "" {
		o.Prefix = "pinegate"
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Second
	}
	if o.CloseTimeout <= 0 {
		o.CloseTimeout = 5 * time.Second
	}
	if o.Changed == nil {
		o.Changed = func(error) {}
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
}

// Shared is the ledger of several gates that share a Redis. Each has a [Bolt] of
// its own, to which it records: Redis is not asked while a request waits. What
// the file of the Bolt holds is delivered to Redis in the background, and there
// it is what all gates answer from.
//
// What is delivered are not records and not what was added, but the sums
// themselves: the blocks of a run (see run), each with the number of the last
// entry of the journal that it counts. A block replaces an older one, so that it
// may be delivered any number of times, late, or by two who have copies of a
// directory: each record counts once. Sums of a run belong to it alone, and a
// query adds runs up. When Redis loses what it had, which shows in marks that are
// gone or behind, each gate delivers again all that its file holds: that is as
// much as the retention says, of every gate whose directory is still there.
// Queries wait meanwhile for the gates that were alive, at most 10 seconds.
//
// A record is lost where it was not delivered and its directory is lost too: what
// was recorded in the last second, or since Redis is away. In Redis a run takes
// some 20 bytes for each cell (see [Memory]) and expires two days after it is not
// read any more.
//
// A copy of the directory of a process that still runs settles the requests that
// were open in it at their last checkpoint, as if that process had died: they are
// counted by both.
type Shared struct {
	*Bolt
	opts   SharedOptions
	keys   sharedKeys
	client redis.UniversalClient

	delivering chan struct{} // holds one token; taken by who delivers
	gates      []string      // runs of those that live; guarded by delivering
	marks      marks         // guarded by delivering
	told       bool          // Changed was called; guarded by delivering

	away  atomic.Pointer[error]  // why Redis is away, nil where it is there
	mark  atomic.Pointer[string] // the run whose mark must be in Redis; nil: none yet
	epoch atomic.Uint64

	reads reads

	begun    chan struct{} // closed after the first beat
	begin    sync.Once
	wake     chan struct{}
	detach   sync.Once
	stop     context.CancelFunc
	stopped  chan struct{}
	closing  sync.Once
	closeErr error
}

// Share makes a ledger that shares what b records, now and before, with the other
// gates of a Redis. It does not wait for the network. Only one may share b at a
// time.
func Share(b *Bolt, opts SharedOptions) *Shared {
	opts.setDefaults()
	s := &Shared{
		Bolt: b, opts: opts, client: opts.Client, keys: sharedKeys{opts.Prefix},
		delivering: make(chan struct{}, 1), marks: newMarks(), reads: newReads(),
		begun: make(chan struct{}), wake: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	go s.run(ctx)
	return s
}

// Begun is closed when Redis was asked for the first time, whether it answered or
// not.
func (s *Shared) Begun() <-chan struct{} { return s.begun }

func (s *Shared) beaten() { s.begin.Do(func() { close(s.begun) }) }

// Epoch tells how often Redis came back from an old copy, once that is known: what
// was derived from usage before it changed is wrong. It is 0 before Begun.
func (s *Shared) Epoch() uint64 { return s.epoch.Load() }

// Away is why Redis is away; nil where it is there, or was not asked yet.
func (s *Shared) Away() error {
	if err := s.away.Load(); err != nil {
		return *err
	}
	return nil
}

// Query implements Ledger. The error wraps ErrAway where it is not known what
// other gates have recorded. What they have recorded within the last two seconds
// may be missing.
func (s *Shared) Query(ctx context.Context, q Query) (page *Page, err error) {
	from, to, err := s.sums.resolve(&q)
	if err != nil {
		return nil, err
	}
	err = s.read(ctx, q.Width.level(), from, to, func(r *reading) (err error) {
		page, err = r.page(ctx, &q, to)
		return err
	})
	return page, err
}

// Totals implements Ledger, as Query does.
func (s *Shared) Totals(ctx context.Context, key string, since time.Time) (totals Totals, err error) {
	err = s.read(ctx, days, floor(max(0, since.Unix()), 86400), maxUnix+1, func(r *reading) (err error) {
		totals, err = r.totals(key, since)
		return err
	})
	return totals, err
}

// Deliver delivers all that was recorded before the call.
func (s *Shared) Deliver(ctx context.Context) error {
	select {
	case s.delivering <- struct{}{}:
		defer func() { <-s.delivering }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := s.deliver(ctx)
	if ctx.Err() == nil || err == nil {
		s.tell(err)
	}
	return err
}

// tell tells of a change between there and away.
func (s *Shared) tell(err error) {
	if err != nil {
		s.opts.OnError(err)
	}
	before := s.Away()
	if s.told && (before == nil) == (err == nil) {
		return
	}
	s.told = true
	if err == nil {
		s.away.Store(nil)
	} else {
		s.away.Store(&err)
	}
	s.opts.Changed(err)
}

// run delivers until the ledger is closed.
func (s *Shared) run(ctx context.Context) {
	defer close(s.stopped)
	ticker := time.NewTicker(s.opts.Every)
	defer ticker.Stop()
	for {
		_ = s.Deliver(ctx) // it tells
		s.beaten()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.wake:
		}
	}
}

// poke makes run deliver now.
func (s *Shared) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Detach ends the sharing and closes the client, after a last delivery, as Close
// does, but leaves the Bolt open: somebody else may share it.
func (s *Shared) Detach() error {
	var err error
	s.detach.Do(func() {
		s.stop()
		<-s.stopped
		ctx, cancel := context.WithTimeout(context.Background(), s.opts.CloseTimeout)
		defer cancel()
		if s.Away() == nil { // else it would only take time
			err = s.Deliver(ctx)
			s.leave(ctx)
		}
		s.forgetChanges()
		if closeErr := s.client.Close(); closeErr != nil {
			err = errors.Join(err, fmt.Errorf("closing the connections to Redis: %w", closeErr))
		}
	})
	return err
}

// leave takes the gate out of those that live.
func (s *Shared) leave(ctx context.Context) {
	if run := s.mark.Load(); run != nil {
		s.client.ZRem(ctx, s.keys.gates(), *run)
		s.client.ZRem(ctx, s.keys.rebuilding(), *run)
	}
}

// Close implements Ledger. What can't be delivered in time is delivered after the
// next start: the error is that of the Bolt alone.
func (s *Shared) Close() error {
	s.closing.Do(func() {
		s.seal()
		if err := s.Detach(); err != nil {
			s.opts.Warn(fmt.Sprintf("usage ledger %s: not all was delivered, which the next start will do: %v", s.path, err))
		}
		s.closeErr = s.Bolt.Close()
	})
	return s.closeErr
}

// marks are what is known to be in Redis, by run: up to which entry.
type marks struct {
	delivered map[string]uint64
	audited   time.Time // when the marks of all runs were looked at
}

func newMarks() marks { return marks{delivered: map[string]uint64{}} }

var _ Ledger = (*Shared)(nil)
