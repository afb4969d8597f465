package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/handlers/inflight"
	"github.com/amanycodes/pine-gate/handlers/stored"
	"github.com/amanycodes/pine-gate/internal/alerts"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/replica"
)

// states holds the localState of each ledger, which outlives a configuration.
// Each configuration holds a reference, and so does each request in flight: a
// stream that is older than the last reload still finds its limiter and its
// ledger when it settles.
var states = caddy.NewUsagePool()

// localState is the state that all configurations of one store share.
type localState struct {
	key       string
	limiter   *memory.Store
	responses *stored.Responses
	requests  inflight.Set
	backends  health.Set
	registry  *registry.Registry // runtime keys
	budgets   alerts.Budgets     // the alerts raised
	webhook   *alerts.Webhook

	inflight refCount
	closing  context.Context // cancelled when the last reference is dropped
	closed   context.CancelFunc

	// The ledger is opened at the first use and not while provisioning:
	// validating a configuration must not take the lock of a store that a running
	// gate holds.
	mu      sync.Mutex
	ledger  atomic.Pointer[ledgerHolder] // own, or a replica of it
	own     usage.Ledger                 // of this gate alone
	sharing *sharedState                 // the Redis that own is shared in; nil: none
	open    openLedger
	maker   *Store        // of the configuration that made the state, before any runs
	running []*Store      // started and not stopped; the settings of the last one apply
	settled chan struct{} // closed when checkpoints have stopped; nil: not started

	redisMu sync.Mutex
	redises map[string]*sharedState // by the settings of a Redis; guarded by redisMu

	metrics atomic.Pointer[metrics.Metrics] // of the last configuration
	opening healthReporter                  // of opening the ledger
	disk    healthReporter                  // of writing to the ledger, which logs by itself
	seeding healthReporter                  // of reading the usage of quotas
	usage   healthReporter                  // of sharing the ledger
}

type ledgerHolder struct{ usage.Ledger }

// localFor returns the state of a store. The caller must drop it.
func localFor(maker *Store) (*localState, error) {
	c := maker.config
	key, open, err := opener(c.Store, c.Logger)
	if err != nil {
		return nil, err
	}
	value, _, err := states.LoadOrNew(key, func() (caddy.Destructor, error) {
		s := &localState{key: key, open: open, maker: maker, responses: stored.NewResponses(responsesKept)}
		s.closing, s.closed = context.WithCancel(context.Background())
		s.opening = healthReporter{fails: "store unavailable", works: "store available again"}
		s.seeding = healthReporter{
			fails: "cannot read what quotas have used: requests under them are refused",
			works: "what quotas have used can be read again",
		}
		s.disk = healthReporter{store: c.Store.LedgerKind(), metrics: &s.metrics}
		s.usage = s.usageHealth()
		s.limiter = memory.New(memory.Options{Seed: s.used})
		s.registry = newRegistry(KeysOpener(c.Store))
		s.webhook = alerts.NewWebhook(alerts.WebhookOptions{Report: s.reportAlert})
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*localState), nil
}

// responsesKept is how many stored responses are recorded with their owners, at
// 100 bytes each.
const responsesKept = 100_000

// Acquire adds a reference for a request in flight.
func (s *localState) Acquire() {
	s.inflight.acquire(func() { states.LoadOrStore(s.key, s) })
}

// Release removes a request's reference.
func (s *localState) Release() {
	s.inflight.release(s.drop)
}

// drop removes a reference. The last one closes the state.
func (s *localState) drop() {
	// The only error is that of Destruct. The ledger has logged it.
	_, _ = states.Delete(s.key)
}

// Limiter returns the limiter.
func (s *localState) Limiter() limiter.Limiter { return s.limiter }

// Responses returns the stored responses.
func (s *localState) Responses() *stored.Responses { return s.responses }

// Ledger returns the ledger, opening it on first use. A failure is logged once,
// and the next call tries again.
func (s *localState) Ledger() (usage.Ledger, error) {
	if l := s.ledger.Load(); l != nil {
		return l.Ledger, nil
	}
	ledger, err := s.openLedger()
	s.opening.report(err)
	return ledger, err
}

func (s *localState) openLedger() (usage.Ledger, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.ledger.Load(); l != nil {
		return l.Ledger, nil
	}
	store := s.current()
	c := store.config
	settings, err := c.Store.Settings()
	if err != nil {
		return nil, err
	}
	own, err := s.open(ledgerOptions{settings, c.Store.Kind() == config.KindRedis, c.HideModels, s.disk.report})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s.own = own
	s.settled = make(chan struct{})
	go func() {
		defer close(s.settled)
		s.requests.Run(s.closing, own)
	}()
	s.shareUsage(store.shared)
	return s.ledger.Load().Ledger, nil
}

// start applies the settings of a configuration and opens the ledger.
func (s *localState) start(store *Store) error {
	s.mu.Lock()
	s.running = append(s.running, store)
	s.metrics.Store(store.config.Metrics)
	s.configureWebhook(store.config)
	s.mu.Unlock()
	ledger, err := s.openLedger() // Caddy logs why a configuration does not start
	if err == nil {
		s.configure()
	}
	if shared, ok := ledger.(*replica.Ledger); ok {
		select {
		case <-shared.Contacted(): // so that the epoch is known
		case <-time.After(time.Second):
		}
	}
	s.disk.report(err)
	return err
}

// stop restores the settings of the previous configuration, if it still runs:
// one that failed to start must not leave its own behind.
func (s *localState) stop(store *Store) {
	s.mu.Lock()
	s.running = slices.DeleteFunc(s.running, func(other *Store) bool { return other == store })
	left := len(s.running)
	if left > 0 {
		s.metrics.Store(s.current().config.Metrics)
		s.configureWebhook(s.current().config)
	}
	s.mu.Unlock()
	if left > 0 {
		s.configure()
	}
}

// configure applies the settings of the last configuration to the ledger and
// the backends. A backend that this configuration lacks keeps its settings: it
// may still serve requests of an earlier one.
func (s *localState) configure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := s.current()
	for name, capacity := range store.config.Capacities {
		s.backends.Get(name).SetCapacity(capacity)
	}
	if l := s.ledger.Load(); l != nil {
		if settings, err := store.config.Store.Settings(); err == nil { // else it would not have been provisioned
			l.Configure(settings)
			s.shareUsage(store.shared)
		}
	}
	s.usage.show()
	if store.shared != nil {
		store.shared.health.show()
	}
}

// current returns the store whose settings apply. s.mu must be held.
func (s *localState) current() *Store {
	if n := len(s.running); n > 0 {
		return s.running[n-1]
	}
	return s.maker
}

// InFlight returns the requests in flight.
func (s *localState) InFlight() *inflight.Set { return &s.requests }

// used returns the usage of a quota since the given time, from the ledger, so
// that quotas survive a restart. If it fails, requests under the quota are
// refused.
func (s *localState) used(rule *limiter.Rule, since time.Time) (int64, error) {
	ledger, err := s.Ledger()
	if err != nil {
		return 0, err
	}
	used, err := quotaUsed(ledger, rule, since)
	s.seeding.report(err)
	return used, err
}

// usedHere returns the usage of a quota as this gate alone has recorded it, for
// when the usage shared with other gates is unavailable.
func (s *localState) usedHere(rule *limiter.Rule, since time.Time) (int64, error) {
	ledger, err := s.Ledger()
	if err != nil {
		return 0, err
	}
	if shared, ok := ledger.(*replica.Ledger); ok {
		ledger = shared.Ledger
	}
	return quotaUsed(ledger, rule, since)
}

// usageIsBack tries Redis again if the shared usage is unavailable, and
// delivers what this gate has recorded meanwhile. It returns an error if used
// cannot return the usage of all gates.
func (s *localState) usageIsBack(ctx context.Context) error {
	ledger, err := s.Ledger()
	if err != nil {
		return err
	}
	if shared, ok := ledger.(*replica.Ledger); ok && shared.Unavailable() != nil {
		return shared.Deliver(ctx)
	}
	return nil
}

// epoch returns how often the shared usage was lost. After each loss, quotas
// must be seeded again.
func (s *localState) epoch() uint64 {
	if shared := s.replica(); shared != nil {
		return shared.Epoch()
	}
	return 0
}

// settleAll cancels all requests in flight and waits for them, at most as long
// as wait. The process exits after the servers have stopped: without this,
// streams longer than the grace period would never settle.
func (s *localState) settleAll(wait time.Duration) {
	s.requests.End(inflight.ErrShutdown)
	deadline := time.Now().Add(wait)
	for s.inflight.count() > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
}

// Destruct closes the ledger once the last reference is gone.
func (s *localState) Destruct() error {
	s.closed()
	s.closeWebhook()
	err := errors.Join(s.limiter.Close(), s.registry.Close())
	if l := s.ledger.Load(); l != nil {
		<-s.settled
		err = errors.Join(err, l.Close())
	}
	if s.sharing != nil {
		s.sharing.drop()
	}
	return err
}
