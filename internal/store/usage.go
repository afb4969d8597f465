package store

import (
	"go.uber.org/zap"

	redislimit "github.com/amanycodes/pine-gate/limiter/redis"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/replica"
)

// usageHealth returns the reporter of the usage that gates share in Redis.
func (s *localState) usageHealth() healthReporter {
	const store = "usage"
	return healthReporter{
		store: store, metrics: &s.metrics,
		fails:  "shared usage store unavailable: this gate keeps what it records, and does not know what other gates record",
		works:  "shared usage store available again",
		fields: []zap.Field{zap.String("store", store)}, reason: redislimit.ReasonOf,
	}
}

// shareUsage shares the ledger with the gates of a Redis, nil: with none. The
// ledger holds the shared state as long as it uses the client. s.mu must be held.
func (s *localState) shareUsage(in *sharedState) {
	if s.ledger.Load() != nil && s.sharing == in {
		return
	}
	if shared := s.replica(); shared != nil {
		if err := shared.Detach(); err != nil {
			gateLog().Warn("not all usage was delivered to the previous Redis", zap.Error(err))
		}
		defer s.sharing.drop()
	}
	s.sharing = in
	if in == nil {
		s.ledger.Store(&ledgerHolder{s.own})
		return
	}
	in.hold()
	s.ledger.Store(&ledgerHolder{replica.New(s.own.(*boltdb.Ledger), replica.Options{
		Client: in.connect().client, Prefix: in.prefix, OnDelivery: s.delivered,
		Warn: func(message string) { gateLog().Warn(message) },
	})})
}

// delivered reports the outcome of a delivery of usage to Redis.
func (s *localState) delivered(err error) {
	if err != nil {
		s.usage.count()
	}
	s.usage.report(err)
}

// replica returns the ledger if it is shared and open, else nil.
func (s *localState) replica() *replica.Ledger {
	if l := s.ledger.Load(); l != nil {
		shared, _ := l.Ledger.(*replica.Ledger)
		return shared
	}
	return nil
}
