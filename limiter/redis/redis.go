// Package redis implements the limiter for several gates that share a Redis or Valkey.
package redis

import (
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// DefaultPrefix is the default prefix of keys in Redis.
const DefaultPrefix = "pinegate"

// Options are the options of [New]. Client is required; the zero value of every other field is useful.
type Options struct {
	// Client is a client of [Opener]. The caller closes it, after the store.
	Client redis.UniversalClient

	// Prefix is the prefix of all keys, so that gates can share a Redis without sharing limits. It must
	// not contain braces, which would put all keys on one node of a Cluster. Default: "pinegate".
	Prefix string

	// Timeout is the timeout of one round trip, including the dial if there is no connection. An
	// admission takes one round trip if no quota must be seeded. Default: 50 ms.
	Timeout time.Duration

	// Seed is called when a quota's counter is not in Redis, as at the first request of a window or
	// after a FLUSHALL. The request waits for it, outside of Timeout. If several gates seed a quota at
	// the same time, the first result counts. Default: nothing was used.
	Seed limiter.Seed

	// Epoch, if set, returns the epoch of the quotas' counters. It must return a larger number once
	// quotas must be seeded again because Redis has lost counts, as after a restore from an old copy.
	// It is called for each quota of a call, and must not block. Default: quotas are never seeded again.
	Epoch func() uint64

	// GateID identifies this gate among those that share the Redis, for [Store.Replicas]. Default: a
	// random id for each store.
	GateID string

	// OnError is called with errors of background work (settling, renewing, counting gates), which no
	// caller receives. It must return soon and be safe for concurrent use. Default: not called.
	OnError func(error)
}

// timing are the intervals and timeouts of a store; tests set their own.
type timing struct {
	// lease is how long a reservation is valid after its last renewal. A permit of a concurrent limit
	// is freed that long after its gate died.
	lease time.Duration

	// renew is the interval at which a reservation is renewed: two renewals may fail before the lease
	// ends.
	renew time.Duration

	// heartbeat is the interval at which the gate registers itself and checks which reservations are
	// due for renewal.
	heartbeat time.Duration

	// keep is how long the record of a reservation is kept after its last renewal, so that a gate
	// which was cut off can still settle, and another gate can reap the reservations of a dead one.
	keep time.Duration

	// batchDelay is how long a settlement may wait for others, or an admission, to share a call with.
	batchDelay time.Duration

	// overLimit is the longest time for which a refusal is repeated without a call to Redis.
	overLimit time.Duration

	// closing is how long Close waits for settlements to be delivered.
	closing time.Duration

	// now, if set, is the clock that scripts use instead of Redis's; then nothing expires by Redis's
	// clock either, until keep has passed.
	now func() time.Time
}

var defaultTuning = timing{
	lease: 30 * time.Second, renew: 10 * time.Second, heartbeat: 5 * time.Second, keep: 48 * time.Hour,
	batchDelay: 5 * time.Millisecond, overLimit: 100 * time.Millisecond, closing: 2 * time.Second,
}

// Store is the limiter.Limiter for several gates that share a Redis or Valkey: standalone, behind
// Sentinel, or a Cluster. It requires Redis 5 or newer, or Valkey, which is not tested; a user who may
// run scripts and their commands on keys that begin with the prefix; and a maxmemory policy that evicts
// no counters (noeviction).
//
// An admission is one script call, in one round trip; admissions that arrive while others are under way
// share a call. On a Cluster all keys of a prefix have one hash tag and are on one node, so that an
// admission is one call there too: use a Cluster for availability, and several prefixes for more load
// than one node can handle.
//
// The store uses Redis's clock. If that steps back, buckets do not fill until it catches up (for at
// most a day); if it steps forward, buckets fill and leases end as if that time had passed.
//
// The reservations of a gate that dies, or is cut off from Redis for 30 seconds, are reaped: their
// permits of concurrent limits are freed for good, what they reserved of a quota counts as used, and
// rates refill. If the gate still settles within 2 days, the quota is corrected.
//
// After a FLUSHALL, or a failover that loses writes, rates and concurrent limits start anew, so that
// they may admit their burst once more. Quotas are seeded again, and later settlements are charged
// although their reservations are lost.
type Store struct {
	opts   Options
	tuning timing
	client redis.UniversalClient
	prefix string  // of all keys; on a Cluster their hash tag, so that all are on one node
	number float64 // of this store, random: the permits of each are counted by themselves

	seeding   [64]account.SeedTurn
	batcher   batcher
	overLimit overLimit
	open      openReservations
	settler   settler
	replicas  atomic.Int64
	beating   sync.Mutex
	uncharged atomic.Bool // see SetUncharged

	closed  atomic.Bool
	closing sync.Once
	stop    context.CancelFunc // stops maintain
	keeping sync.WaitGroup
}

// New returns a store, which works in the background until it is closed. It does not wait for the
// network: if Redis is unavailable, the first call returns ErrUnavailable.
func New(opts Options) *Store { return newStore(opts, defaultTuning) }

func newStore(opts Options, tuning timing) *Store {
	if opts.Prefix == "" {
		opts.Prefix = DefaultPrefix
	}
	if opts.Timeout <= 0 {
		opts.Timeout = 50 * time.Millisecond
	}
	if opts.GateID == "" {
		opts.GateID = rand.Text()
	}
	if opts.OnError == nil {
		opts.OnError = func(error) {}
	}
	r := &Store{opts: opts, tuning: tuning, client: opts.Client, prefix: opts.Prefix + ":", number: float64(mathrand.Int64N(1 << 53))}
	if _, cluster := r.client.(*redis.ClusterClient); cluster {
		r.prefix = "{" + opts.Prefix + "}:"
	}
	for i := range r.seeding {
		r.seeding[i] = account.NewSeedTurn()
	}
	r.replicas.Store(1)
	r.overLimit.start(tuning)
	r.settler.start(r)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	r.keeping.Go(func() { r.maintain(ctx) })
	return r
}

// Ping reports an error, which is ErrUnavailable, if Redis can't decide now. It makes the same kinds of
// calls as an admission, writes included, within Timeout.
func (r *Store) Ping(ctx context.Context) error {
	return r.heartbeat(ctx)
}

// Replicas returns the last count of gates, this one included: at least 1. It does not block. While
// Redis is unavailable, the last count remains. A gate that died is counted for 15 more seconds.
func (r *Store) Replicas() int { return int(r.replicas.Load()) }

// Stats are counts of a store's background work.
type Stats struct {
	Queued  int    // settlements waiting for Redis; at most 100,000
	Dropped uint64 // settlements dropped since the start: their reservations are reaped, see Store
	Open    int    // unsettled reservations that hold something
}

// Stats returns the counts. It does not block.
func (r *Store) Stats() Stats {
	queued, dropped := r.settler.stats()
	return Stats{Queued: queued, Dropped: dropped, Open: r.open.len()}
}

// Close delivers the queued settlements, for at most 2 seconds, and stops the background work. A
// reservation that is settled after Close is reaped. Close may be called more than once. Its error is
// always nil.
func (r *Store) Close() error {
	r.closing.Do(func() {
		r.closed.Store(true)
		r.stop()
		r.keeping.Wait()
		r.settler.close()
		r.leave()
	})
	return nil
}

// key returns the key in Redis for a name. The name of a counter is that of its rule.
func (r *Store) key(name string) string { return r.prefix + name }

// recordKeys returns the keys of the index of open reservations and of their records.
func (r *Store) recordKeys() []string { return []string{r.key("open"), r.key("reservations")} }

// counterKey returns the key of a rule's counter. A quota's key contains the epoch: in a new epoch,
// the counter is empty and is seeded.
func (r *Store) counterKey(rule *limiter.Rule) string {
	if r.opts.Epoch != nil && rule.Limit.Window.Quota() {
		if epoch := r.opts.Epoch(); epoch > 0 {
			return r.key(rule.Name()) + "@" + strconv.FormatUint(epoch, 10)
		}
	}
	return r.key(rule.Name())
}

// given returns the time that scripts use instead of Redis's clock; -1: none.
func (r *Store) given() float64 {
	if r.tuning.now == nil {
		return -1
	}
	return float64(r.tuning.now().UnixMicro())
}

// frozen returns how long counters are kept if the time is given, in milliseconds; else 0.
func (r *Store) frozen() float64 {
	if r.tuning.now == nil {
		return 0
	}
	return millis(r.tuning.keep)
}

var _ limiter.Limiter = (*Store)(nil)
