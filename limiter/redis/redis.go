// Package redis is the limiter of several gates that share a Redis or Valkey.
package redis

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// DefaultPrefix is what the names of keys in Redis begin with by default.
const DefaultPrefix = "pinegate"

// Options are the options of [New]. URLs is needed; the zero value of all else is useful.
type Options struct {
	// URLs say where Redis is: redis://, rediss:// (TLS) or unix://, with a user, a password and a
	// number of a database where there are any: redis://user:password@host:6379/0. Several are nodes
	// of one Cluster, of which the others are found; so name at least two of a Cluster. With
	// Sentinel, they are those of the sentinels.
	URLs []string

	// Sentinel is the name of the master that sentinels at URLs watch. Default: no sentinels.
	Sentinel string

	// Username and Password are those of Redis, before any in a URL. Default: those of the URLs.
	Username, Password string

	// Credentials returns the user and the password for each new connection to Redis, so that they may
	// change while the store is open; those that stand keep theirs. Its error, which must hold no
	// secret, keeps the connection from coming up. Default: Username and Password, or those of the URLs.
	Credentials func() (username, password string, err error)

	// SentinelUsername and SentinelPassword are those of the sentinels. Default: none.
	SentinelUsername, SentinelPassword string

	// TLS is the configuration of TLS for rediss: URLs. With it, redis: URLs use TLS too. Default:
	// Go's, with the roots of the system.
	TLS *tls.Config

	// Prefix is what the names of all keys begin with, so that several gates can share a Redis and
	// not their limits. Default: "pinegate".
	Prefix string

	// Timeout is the budget of one round trip, with the connection where there is none; an admission
	// takes one where no quota must be seeded.
	// Default: 50 ms.
	Timeout time.Duration

	// Seed is asked when a quota's counter is not in Redis, as at the first request of a window or
	// after a FLUSHALL, and the request waits for it, outside of Timeout. Of several gates that ask at
	// the same time, the first to answer counts. Default: nothing was used.
	Seed limiter.Seed

	// Epoch, if set, returns another number, and a larger one, when quotas must be seeded anew because Redis has not what was counted, as
	// after it came back from an old copy: it is then another number than before, and larger. It is
	// asked for each quota of a call, and must not wait. Default: never.
	Epoch func() uint64

	// GateID names this gate among those that share the Redis, for [Store.Replicas]. Default: a
	// random one for each store.
	GateID string

	// OnError is called with errors in the background (settling, renewing, counting gates), where no
	// caller gets them. It must return soon and may be called from several goroutines. Default:
	// it is not called.
	OnError func(error)
}

// timing are the times of a store; tests have their own.
type timing struct {
	// lease is how long what a reservation holds outlives its last renewal. A permit of a concurrent
	// limit is free that long after its gate died.
	lease time.Duration

	// renew is how often a reservation is renewed: twice may fail before the lease ends.
	renew time.Duration

	// heartbeat is how often the gate is counted, and what is due to be renewed is looked for.
	heartbeat time.Duration

	// keep is how long the record of a reservation is kept after its last renewal, so that a gate
	// which was cut off can still settle, and another one can reap what a dead one held.
	keep time.Duration

	// batchDelay is how long a settlement may wait for others to share a call with.
	batchDelay time.Duration

	// overLimit is how long a refusal is repeated without asking Redis, at most.
	overLimit time.Duration

	// closing is how long Close waits for settlements to be delivered.
	closing time.Duration

	// now, if set, is the clock that scripts go by in the place of Redis's; then nothing expires by
	// Redis's either, but after keep.
	now func() time.Time
}

var defaultTuning = timing{
	lease: 30 * time.Second, renew: 10 * time.Second, heartbeat: 5 * time.Second, keep: 48 * time.Hour,
	batchDelay: time.Millisecond, overLimit: 100 * time.Millisecond, closing: 2 * time.Second,
}

// Store is the limiter.Limiter of several gates that share a Redis or Valkey: standalone, behind Sentinel, or
// a Cluster. Needed: Redis 5 or newer, or Valkey, which is not tested; a user who may run scripts and their commands on
// keys that begin with the prefix; a policy of maxmemory that evicts no counters (noeviction).
//
// An admission is one script, which is one round trip; admissions that come while some are on their
// way share one. On a Cluster all keys of a prefix have one hash tag and lie on one node, so that it is one
// there, too: a Cluster is for availability, and several prefixes are for more than one node can do.
//
// Time is Redis's. Where its clock steps back, buckets do not fill until it is where it was (for at
// most a day); where it steps forward, buckets fill and leases end as if that time had passed.
//
// What a gate holds when it dies, or is cut off from Redis for 30 seconds, is reaped: its permits of
// concurrent limits become free and are not taken back; what it reserved of a quota counts as used,
// and of a rate fills up again. If it settles after all, within 2 days, the quota is put right.
//
// After a FLUSHALL, or a failover that loses writes, rates and concurrent limits begin anew, so that
// they may admit their burst once more. Quotas are seeded again, and what is settled afterwards is
// charged although its reservation is lost.
type Store struct {
	opts   Options
	tuning timing
	client redis.UniversalClient
	prefix string // of all keys; on a Cluster their hash tag, so that all lie on one node

	seeding   [64]account.SeedTurn
	batcher   batcher
	overLimit overLimit
	open      openReservations
	settler   settler
	replicas  atomic.Int64
	beating   sync.Mutex
	uncharged atomic.Bool // see setUncharged

	closed   atomic.Bool
	closing  sync.Once
	stop     context.CancelFunc // ends the keeper
	keeping  sync.WaitGroup
	closeErr error
}

// New returns a store. It does not wait for the network: a Redis that is away shows in the first
// call, as ErrUnavailable. The error is about the options, and holds nothing secret. The store works
// in the background until it is closed.
func New(opts Options) (*Store, error) { return newStore(opts, defaultTuning) }

func newStore(opts Options, tuning timing) (*Store, error) {
	if len(opts.URLs) == 0 {
		return nil, errors.New("redis: no URL")
	}
	if opts.Prefix == "" {
		opts.Prefix = DefaultPrefix
	}
	if strings.ContainsAny(opts.Prefix, "{}") {
		return nil, fmt.Errorf("redis: prefix %q: braces would put all keys on one node", opts.Prefix)
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
	client, cluster, err := newClient(&opts)
	if err != nil {
		return nil, err
	}
	r := &Store{opts: opts, tuning: tuning, client: client, prefix: opts.Prefix + ":"}
	if cluster {
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
	return r, nil
}

// Ping reports whether Redis can decide now: it makes the same kinds of calls as an admission, writes
// included, within Timeout. The error is ErrUnavailable.
func (r *Store) Ping(ctx context.Context) error {
	return r.heartbeat(ctx)
}

// Replicas is the number of gates that were seen last, this one included: at least 1. It does not
// wait, and keeps what it knew while Redis is away. A gate that died counts for 15 seconds more.
func (r *Store) Replicas() int { return int(r.replicas.Load()) }

// Stats are counts of what a store does in the background.
type Stats struct {
	Queued  int    // settlements that wait for Redis; at most 100,000
	Dropped uint64 // settlements given up since the start: their reservations are reaped, see Store
	Open    int    // reservations that hold something and are not settled
}

// Stats returns the counts. It does not wait.
func (r *Store) Stats() Stats {
	queued, dropped := r.settler.stats()
	return Stats{Queued: queued, Dropped: dropped, Open: r.open.len()}
}

// Close delivers the settlements that wait, for as long as 2 seconds, and ends what the store does in
// the background. A reservation that is settled after it is reaped. It may be called more than once.
func (r *Store) Close() error {
	r.closing.Do(func() {
		r.closed.Store(true)
		r.stop()
		r.keeping.Wait()
		r.settler.close()
		r.leave()
		if err := r.client.Close(); err != nil {
			r.closeErr = fmt.Errorf("closing the connections to Redis: %w", err)
		}
	})
	return r.closeErr
}

// key is the name of a key in Redis. A rule's counter has the rule's name.
func (r *Store) key(name string) string { return r.prefix + name }

// recordKey is the key of a reservation's record.
func (r *Store) recordKey(id string) string { return r.key("r/" + id) }

// counterKey is the key of a rule's counter. That of a quota has the epoch in its name: another one
// has nothing of what was counted before, and is seeded.
func (r *Store) counterKey(rule *limiter.Rule) string {
	if r.opts.Epoch != nil && rule.Limit.Window.Quota() {
		if epoch := r.opts.Epoch(); epoch > 0 {
			return r.key(rule.Name()) + "@" + strconv.FormatUint(epoch, 10)
		}
	}
	return r.key(rule.Name())
}

// given is the time that scripts go by, if it is not Redis's.
func (r *Store) given() float64 {
	if r.tuning.now == nil {
		return -1
	}
	return float64(r.tuning.now().UnixMicro())
}

// frozen is how long counters are kept where time is given, in milliseconds.
func (r *Store) frozen() float64 {
	if r.tuning.now == nil {
		return 0
	}
	return millis(r.tuning.keep)
}

var _ limiter.Limiter = (*Store)(nil)
