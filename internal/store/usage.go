package store

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	redislimit "github.com/amanycodes/pine-gate/limiter/redis"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/replica"
)

// usageStore is the label in metrics of the usage that gates share in Redis:
// the limits there are another store, with connections of its own.
const usageStore = "usage"

// share starts to share the ledger in the Redis of a configuration, or stops
// it. s.mu must be held.
func (s *localState) share(c *Config) {
	own, ok := s.own.(*boltdb.Ledger)
	if !ok {
		return
	}
	logger := caddy.Log().Named("pinegate")
	key, err := c.sharingKey()
	if err != nil {
		logger.Error("cannot share usage as configured", zap.Error(err))
		return
	}
	var old *replica.Ledger
	shared := false
	if l := s.ledger.Load(); l != nil {
		old, shared = l.Ledger.(*replica.Ledger)
	}
	if key == s.sharing {
		if shared {
			s.showUsage(old.Unavailable())
		}
		return
	}
	if shared {
		if err := old.Detach(); err != nil {
			logger.Warn("not all usage was delivered to the previous Redis", zap.Error(err))
		}
	}
	s.sharing = ""
	if key == "" {
		s.ledger.Store(&ledgerHolder{own})
		return
	}
	quietRedis()
	options, err := c.Store.Redis.Options()
	var client redis.UniversalClient
	if err == nil {
		client, err = redislimit.NewClient(options)
	}
	if err != nil { // provisioning has checked them: a file was removed since
		s.ledger.Store(&ledgerHolder{own})
		logger.Error("cannot share usage as configured", zap.Error(err))
		return
	}
	s.sharing = key
	s.ledger.Store(&ledgerHolder{replica.New(own, replica.Options{
		Client: client, Prefix: options.Prefix,
		OnChange: s.usageChanged(),
		OnError:  func(error) { s.usageFailed() },
		Warn:     func(message string) { logger.Warn(message) },
	})})
}

// sharingKey returns a key that identifies the Redis in which usage is shared,
// empty if there is none.
func (c *Config) sharingKey() (string, error) {
	if !c.Store.SharesUsage() {
		return "", nil
	}
	// How limits behave in an outage does not matter to usage.
	rc := *c.Store.Redis
	rc.Outage, rc.Replicas, rc.Timeout = "", 0, 0
	return rc.Key("")
}

// usageChanged returns a function that reports the health of the shared usage
// store to metrics, and each change of it to the log.
func (s *localState) usageChanged() func(error) {
	away := healthReporter{
		fails: "shared usage store unavailable: this gate keeps what it records, and does not know what other gates record",
		works: "shared usage store available again",
	}
	return func(err error) {
		s.showUsage(err)
		logger := caddy.Log().Named("pinegate").With(zap.String("store", usageStore))
		if err != nil {
			logger = logger.With(zap.String("reason", redislimit.ReasonOf(err)))
		}
		away.report(logger, err)
	}
}

func (s *localState) showUsage(err error) {
	if h := s.health.Load(); h != nil {
		h.metrics.StoreUp(usageStore, err == nil)
	}
}

func (s *localState) usageFailed() {
	if h := s.health.Load(); h != nil {
		h.metrics.StoreError(usageStore)
	}
}
