package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
	redislimit "github.com/amanycodes/pine-gate/limiter/redis"
)

// sharedLimits holds the sharedState of each Redis, by its configuration. Like
// [states] it outlives a configuration: each configuration and each request in
// flight holds a reference.
var sharedLimits = caddy.NewUsagePool()

// sharedState holds the limits of a `store redis`. Everything else that is
// shared, the ledger included, is in localState, so that a change of the Redis
// opens no second ledger.
type sharedState struct {
	*localState
	pooled   string   // key in sharedLimits
	leased   refCount // held by requests in flight
	options  redislimit.Options
	registry *registry.Registry // runtime keys
	guarding failover.Options
	metrics  atomic.Pointer[metrics.Metrics] // of the last configuration

	// Opened at the first use and not while provisioning: validating a
	// configuration must not use the network.
	mu   sync.Mutex
	open atomic.Pointer[failover.Limiter]

	peers atomic.Pointer[peers] // opened likewise
}

// sharedFor returns the shared state of a configuration's store, nil if limits
// are local. The caller must drop it.
func sharedFor(c *Config, local *localState) (*sharedState, error) {
	if c.Store.Kind() != "redis" {
		return nil, nil
	}
	rc := c.Store.Redis
	if rc == nil {
		rc = new(config.Redis)
	}
	options, err := rc.Options()
	if err != nil {
		return nil, err
	}
	mode, err := failover.ParseMode(rc.Outage)
	if err != nil {
		return nil, err
	}
	key, err := rc.Key(local.key)
	if err != nil {
		return nil, err
	}
	value, _, err := sharedLimits.LoadOrNew(key, func() (caddy.Destructor, error) {
		l := &sharedState{localState: local, pooled: key, options: options}
		l.metrics.Store(c.Metrics)
		l.options.Seed, l.options.Epoch, l.options.OnError = local.used, local.epoch, l.failed
		l.guarding = failover.Options{
			Mode: mode, Replicas: rc.Replicas, Seed: local.usedHere, Seedable: local.usageIsBack,
			OnChange: l.changed, OnError: l.count,
		}
		l.registry = newRegistry(func() (registry.Storage, error) { return openRedisKeys(options) })
		return l, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*sharedState), nil
}

// start opens the shared state and sets in the configuration's metrics whether
// Redis is available.
func (l *sharedState) start(c *Config) {
	l.metrics.Store(c.Metrics)
	l.openPeers()
	away := false
	if guarded, err := l.guarded(); err == nil {
		_, away = guarded.Away()
	}
	c.Metrics.StoreUp("redis", !away)
}

// guarded returns the limiter, opening it on first use.
func (l *sharedState) guarded() (*failover.Limiter, error) {
	if g := l.open.Load(); g != nil {
		return g, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if g := l.open.Load(); g != nil {
		return g, nil
	}
	quietRedis()
	store, err := redislimit.New(l.options)
	if err != nil {
		return nil, err
	}
	g := failover.New(store, l.guarding)
	l.open.Store(g)
	return g, nil
}

// Limiter returns the limiter.
func (l *sharedState) Limiter() limiter.Limiter {
	g, err := l.guarded()
	if err != nil {
		return noLimiter{err} // provisioning has checked the options
	}
	return g
}

// Acquire adds a reference for a request in flight.
func (l *sharedState) Acquire() {
	l.localState.Acquire()
	l.leased.acquire(func() { sharedLimits.LoadOrStore(l.pooled, l) })
}

// Release removes a request's reference.
func (l *sharedState) Release() {
	l.leased.release(l.drop)
	l.localState.Release()
}

// drop removes a reference; the last one closes the store. It must be called
// before that of the localState, whose ledger seeds quotas.
func (l *sharedState) drop() {
	_, _ = sharedLimits.Delete(l.pooled) // Destruct has logged its error
}

// changed logs that Redis is unavailable, or available again.
func (l *sharedState) changed(up bool, reason error) {
	l.metrics.Load().StoreUp("redis", up)
	logger := caddy.Log().Named("pinegate")
	if up {
		logger.Info("rate-limit store available again", zap.String("store", "redis"))
		return
	}
	why := limiter.ReasonOther
	if known := new(limiter.Unavailable); errors.As(reason, &known) {
		why = known.Reason
	}
	logger.Error("rate-limit store unavailable", zap.String("store", "redis"),
		zap.Stringer("outage", l.guarding.Mode), zap.String("reason", why), zap.Error(reason))
}

// count counts a failed call of the store. changed logs the outage once.
func (l *sharedState) count(error) { l.metrics.Load().StoreError("redis") }

// failed counts and reports failed calls in the background: a gate without
// requests makes no others.
func (l *sharedState) failed(err error) {
	l.count(err)
	if g := l.open.Load(); g != nil {
		g.Report(err)
	}
}

// Destruct closes the store once the last reference is gone.
func (l *sharedState) Destruct() error {
	err := l.registry.Close()
	if p := l.peers.Load(); p != nil {
		err = errors.Join(err, p.Close())
	}
	if g := l.open.Load(); g != nil {
		err = errors.Join(err, g.Close())
	}
	if err != nil {
		caddy.Log().Named("pinegate").Error("closing the store failed", zap.Error(err))
	}
	return err
}

// quietRedis redirects the log of the Redis client, which is one for all
// clients of a process, to Caddy's log at debug level: it reports for each
// connection what is logged here once.
var quietRedis = sync.OnceFunc(func() { redis.SetLogger(redisLog{}) })

type redisLog struct{}

func (redisLog) Printf(_ context.Context, format string, args ...any) {
	if entry := caddy.Log().Named("pinegate").Check(zap.DebugLevel, "the client of Redis says"); entry != nil {
		entry.Write(zap.String("message", fmt.Sprintf(format, args...)))
	}
}

// noLimiter is a Limiter whose calls fail.
type noLimiter struct{ err error }

func (n noLimiter) Reserve(context.Context, limiter.Request) (limiter.Reservation, error) {
	return nil, n.err
}

func (n noLimiter) Peek(context.Context, []*limiter.Rule) ([]limiter.State, error) {
	return nil, n.err
}

func (n noLimiter) Close() error { return nil }
