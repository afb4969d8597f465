package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/stored"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
	redislimit "github.com/amanycodes/pine-gate/limiter/redis"
)

// sharedState is what the gates of one Redis share: limits, usage, runtime keys,
// the owners of the responses that backends store, and the cooldowns of backends.
// All of it uses one client. While Redis is unavailable, each gate uses its own
// state, the localState.
type sharedState struct {
	*localState
	key      string                       // in localState.redises
	holders  int                          // configurations, requests in flight, and the ledger; guarded by localState.redisMu
	client   func() redis.UniversalClient // opens one
	prefix   string
	timeout  time.Duration // of an admission; zero: the default
	guarding failover.Options
	registry *registry.Registry // runtime keys
	health   healthReporter     // of the limits

	nextDamage atomic.Int64 // when a damaged counter is logged again, in nanoseconds since 1970

	// Opened at the first use and not while provisioning: validating a
	// configuration must not use the network.
	mu         sync.Mutex
	connection atomic.Pointer[connection]
}

// connection is the part of a sharedState that uses the network.
type connection struct {
	client    redis.UniversalClient
	limiter   *failover.Limiter
	owners    *stored.Shared
	responses *stored.Responses
	cooldowns *health.SharedCooldowns
}

// defaultResponsesTimeout is the timeout of the lookup of a response that another
// gate may have recorded, if the store has no timeout.
const defaultResponsesTimeout = 50 * time.Millisecond

// sharedFor returns the state that a configuration shares with other gates, nil if
// it shares none. The caller must drop it.
func (s *localState) sharedFor(c *Config) (*sharedState, error) {
	if c.Store.Kind() != config.KindRedis {
		return nil, nil
	}
	rc := c.Store.Redis
	if rc == nil {
		rc = new(config.Redis)
	}
	open, err := rc.Opener()
	if err != nil {
		return nil, err
	}
	mode, err := failover.ParseMode(rc.Outage)
	if err != nil {
		return nil, err
	}
	s.redisMu.Lock()
	defer s.redisMu.Unlock()
	l := s.redises[rc.Key()]
	if l == nil {
		l = &sharedState{
			localState: s, key: rc.Key(), client: open, prefix: cmp.Or(rc.Prefix, redislimit.DefaultPrefix), timeout: time.Duration(rc.Timeout),
		}
		l.health = healthReporter{
			store: "redis", metrics: &s.metrics, known: true,
			fails: "rate-limit store unavailable", works: "rate-limit store available again",
			fields: []zap.Field{zap.String("store", "redis"), zap.Stringer("outage", mode)}, reason: redislimit.ReasonOf,
		}
		l.guarding = failover.Options{
			Mode: mode, Replicas: rc.Replicas, Seed: s.usedHere, Seedable: s.usageIsBack,
			OnChange: l.health.report, OnError: func(error) { l.health.count() },
		}
		l.registry = newRegistry(func() (registry.Storage, error) { return registry.NewRedis(l.connect().client, l.prefix), nil })
		if s.redises == nil {
			s.redises = make(map[string]*sharedState)
		}
		s.redises[l.key] = l
	}
	l.holders++
	return l, nil
}

// hold adds a holder.
func (l *sharedState) hold() {
	l.redisMu.Lock()
	defer l.redisMu.Unlock()
	l.holders++
}

// drop removes a holder. The last one closes the state.
func (l *sharedState) drop() {
	l.redisMu.Lock()
	l.holders--
	last := l.holders == 0
	if last && l.redises[l.key] == l {
		delete(l.redises, l.key)
	}
	l.redisMu.Unlock()
	if last {
		l.close()
	}
}

// Acquire adds a reference for a request in flight.
func (l *sharedState) Acquire() {
	l.localState.Acquire()
	l.hold()
}

// Release removes a request's reference.
func (l *sharedState) Release() {
	l.drop()
	l.localState.Release()
}

// connect returns the connection, opening it on first use. It does not wait for
// the network.
func (l *sharedState) connect() *connection {
	if c := l.connection.Load(); c != nil {
		return c
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.connection.Load(); c != nil {
		return c
	}
	quietRedis()
	c := &connection{client: l.client()}
	c.limiter = failover.New(redislimit.New(redislimit.Options{
		Client: c.client, Prefix: l.prefix, Timeout: l.timeout, Seed: l.used, Epoch: l.epoch, OnError: l.failed,
	}), l.guarding)
	c.owners = stored.Share(c.client, l.prefix, cmp.Or(l.timeout, defaultResponsesTimeout))
	c.responses = l.responses.With(c.owners)
	c.cooldowns = health.ShareCooldowns(&l.backends, c.client, l.prefix)
	l.connection.Store(c)
	return c
}

// Limiter returns the limiter.
func (l *sharedState) Limiter() limiter.Limiter { return l.connect().limiter }

// Responses returns the stored responses, shared with the other gates.
func (l *sharedState) Responses() *stored.Responses { return l.connect().responses }

// failed counts and reports failed calls in the background: a gate without
// requests makes no others.
func (l *sharedState) failed(err error) {
	l.health.count()
	l.logDamage(err)
	if c := l.connection.Load(); c != nil {
		c.limiter.Report(err)
	}
}

// logDamage logs, at most once a minute, that a counter in Redis is damaged: requests may ask for it often.
func (l *sharedState) logDamage(err error) {
	var reason *limiter.Unavailable
	if !errors.As(err, &reason) || reason.Reason != limiter.ReasonDamaged {
		return
	}
	now, next := time.Now().UnixNano(), l.nextDamage.Load()
	if now >= next && l.nextDamage.CompareAndSwap(next, now+int64(time.Minute)) {
		gateLog().Error("a counter in Redis is damaged, requests under its limit are refused", zap.Error(reason.Err))
	}
}

// close closes the registry and the connection.
func (l *sharedState) close() {
	err := l.registry.Close()
	l.mu.Lock()
	c := l.connection.Swap(nil)
	l.mu.Unlock()
	if c != nil {
		c.owners.Close()
		c.cooldowns.Close()
		err = errors.Join(err, c.limiter.Close(), c.client.Close())
	}
	if err != nil {
		gateLog().Error("closing the store failed", zap.Error(err))
	}
}

// quietRedis redirects the log of the Redis client, which is one for all
// clients of a process, to Caddy's log at debug level: it reports for each
// connection what is logged here once.
var quietRedis = sync.OnceFunc(func() { redis.SetLogger(redisLog{}) })

type redisLog struct{}

func (redisLog) Printf(_ context.Context, format string, args ...any) {
	if entry := gateLog().Check(zap.DebugLevel, "Redis client"); entry != nil {
		entry.Write(zap.String("message", fmt.Sprintf(format, args...)))
	}
}
