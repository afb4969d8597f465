package pinegate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/handlers/stored"
	"github.com/amanycodes/pine-gate/internal/alerts"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/store"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/replica"
)

// states holds what outlives a configuration, by the store it belongs to.
// Each configuration holds a reference and so does each request in flight, so
// that a stream that is older than the last reload still finds its limiter and
// its ledger when it settles.
var states = caddy.NewUsagePool()

// state is what all configurations with one store share.
type state struct {
	key       string
	limiter   *limiter.Memory
	responses *stored.Responses
	requests  handlers.InFlight
	backends  health.Set
	registry  *registry.Registry // of keys that are made at runtime
	budgets   alerts.Budgets     // that were told of
	webhook   *alerts.Webhook

	inflight leases
	closing  context.Context // ends when nobody holds the state any more
	closed   context.CancelFunc

	// The ledger is opened at the first use and not while provisioning:
	// validating a configuration must not take the lock of a store that a
	// running gate holds.
	mu      sync.Mutex
	ledger  atomic.Pointer[ledgerHolder] // own, or what shares it
	own     usage.Ledger                 // of this gate alone
	sharing string                       // key of the Redis that own is shared in; empty: none
	open    openLedger
	maker   *App          // the configuration that made the state, before any runs
	running []*App        // that have been started and not stopped; the last one's settings hold
	settled chan struct{} // closed when nobody makes checkpoints any more; nil: nobody does

	// Where the store's health is shown: the metrics of the last configuration.
	health atomic.Pointer[storeHealth]

	opening condition // whether the ledger can be opened
	seeding condition // whether it tells what quotas have used
}

type storeHealth struct {
	metrics *metrics.Metrics
	store   string
}

type ledgerHolder struct{ usage.Ledger }

// stateFor returns the state of a configuration's store; give it back with
// drop.
func stateFor(app *App) (*state, error) {
	key, open, err := opener(app.Store, app.logger)
	if err != nil {
		return nil, err
	}
	value, _, err := states.LoadOrNew(key, func() (caddy.Destructor, error) {
		s := &state{key: key, open: open, maker: app, responses: stored.NewResponses(responsesKept)}
		s.closing, s.closed = context.WithCancel(context.Background())
		s.opening = condition{fails: "the store is away", works: "the store is back"}
		s.seeding = condition{
			fails: "what quotas have used can't be read: requests under them are refused",
			works: "what quotas have used can be read again",
		}
		s.limiter = limiter.NewMemory(limiter.MemoryOptions{Seed: s.used})
		s.registry = newRegistry(store.KeysOpener(app.Store))
		s.webhook = alerts.NewWebhook(alerts.WebhookOptions{Report: s.reportAlert})
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*state), nil
}

// responsesKept is how many stored responses are remembered with the key
// that made them: 100 bytes each.
const responsesKept = 100_000

// Acquire takes a reference for a request in flight.
func (s *state) Acquire() {
	s.inflight.acquire(func() { states.LoadOrStore(s.key, s) })
}

// Release gives a request's reference back.
func (s *state) Release() {
	s.inflight.release(s.drop)
}

// drop gives a reference back; the last one closes the state.
func (s *state) drop() {
	// The only error is that of Destruct, which the ledger has logged.
	_, _ = states.Delete(s.key)
}

// Limiter is where limits are held.
func (s *state) Limiter() limiter.Limiter { return s.limiter }

// Responses returns the stored responses.
func (s *state) Responses() *stored.Responses { return s.responses }

// Ledger returns the ledger, opened if it is not yet. A failure is told once, and
// tried again at the next call.
func (s *state) Ledger() (usage.Ledger, error) {
	if l := s.ledger.Load(); l != nil {
		return l.Ledger, nil
	}
	ledger, err := s.openLedger()
	s.opening.note(caddy.Log().Named("pinegate"), err)
	return ledger, err
}

func (s *state) openLedger() (usage.Ledger, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.ledger.Load(); l != nil {
		return l.Ledger, nil
	}
	app := s.app()
	settings, err := app.Store.Settings()
	if err != nil {
		return nil, err
	}
	hideModels := app.Metrics != nil && app.Metrics.HideModels
	own, err := s.open(ledgerOptions{settings, app.Store.Kind() == "redis", hideModels, s.showHealth})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s.own = own
	s.settled = make(chan struct{})
	go func() {
		defer close(s.settled)
		s.requests.Run(s.closing, own)
	}()
	s.share(app)
	if s.ledger.Load() == nil { // it is not shared
		s.ledger.Store(&ledgerHolder{own})
	}
	return s.ledger.Load().Ledger, nil
}

// start takes the settings of a configuration over and opens the ledger.
func (s *state) start(app *App) error {
	s.health.Store(&storeHealth{app.metrics, app.Store.LedgerKind()})
	s.mu.Lock()
	s.running = append(s.running, app)
	s.configureWebhook(app)
	s.mu.Unlock()
	ledger, err := s.openLedger() // Caddy tells why a configuration does not start
	if err == nil {
		s.configure()
	}
	if shared, ok := ledger.(*replica.Ledger); ok {
		select {
		case <-shared.Contacted(): // so that the epoch is known
		case <-time.After(time.Second):
		}
	}
	s.showHealth(err)
	return err
}

// stop brings back the settings of the configuration before, if it still runs:
// one that failed to start must not leave its own behind.
func (s *state) stop(app *App) {
	s.mu.Lock()
	s.running = slices.DeleteFunc(s.running, func(a *App) bool { return a == app })
	left := len(s.running)
	if left > 0 {
		s.configureWebhook(s.app())
	}
	s.mu.Unlock()
	if left > 0 {
		s.configure()
	}
}

// configure gives the ledger and the backends the settings of the last
// configuration. A backend that it does not have may still have requests of one
// before: its settings stay.
func (s *state) configure() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, capacity := range s.app().capacities {
		s.backends.Get(name).SetCapacity(capacity)
	}
	if l := s.ledger.Load(); l != nil {
		app := s.app()
		if settings, err := app.Store.Settings(); err == nil { // else it had not been provisioned
			l.Configure(settings)
			s.share(app)
		}
	}
}

// app is the configuration whose settings hold. It must be called with s.mu
// held.
func (s *state) app() *App {
	if n := len(s.running); n > 0 {
		return s.running[n-1]
	}
	return s.maker
}

// showHealth shows whether the store works: err is why it does not.
func (s *state) showHealth(err error) {
	if h := s.health.Load(); h != nil {
		h.metrics.StoreUp(h.store, err == nil)
	}
}

// InFlight knows the requests that are with a backend.
func (s *state) InFlight() *handlers.InFlight { return &s.requests }

// used tells what a quota has used since the time, from the ledger: so quotas
// survive a restart. Where it can't be told, requests under the quota are refused.
func (s *state) used(rule *limiter.Rule, since time.Time) (int64, error) {
	ledger, err := s.Ledger()
	if err != nil {
		return 0, err
	}
	used, err := quotaUsed(ledger, rule, since)
	s.seeding.note(caddy.Log().Named("pinegate"), err)
	return used, err
}

// usedHere is used as far as this gate knows, for when what it shares with others
// is away.
func (s *state) usedHere(rule *limiter.Rule, since time.Time) (int64, error) {
	ledger, err := s.Ledger()
	if err != nil {
		return 0, err
	}
	if shared, ok := ledger.(*replica.Ledger); ok {
		ledger = shared.Ledger
	}
	return quotaUsed(ledger, rule, since)
}

// usageIsBack asks Redis again, where what gates share of usage is away, and
// delivers what this gate has recorded meanwhile. The error is why used can't tell
// what all gates have used.
func (s *state) usageIsBack(ctx context.Context) error {
	ledger, err := s.Ledger()
	if err != nil {
		return err
	}
	if shared, ok := ledger.(*replica.Ledger); ok && shared.Unavailable() != nil {
		return shared.Deliver(ctx)
	}
	return nil
}

// epoch tells how often what gates share of usage was lost, and quotas must be
// seeded anew.
func (s *state) epoch() uint64 {
	if l := s.ledger.Load(); l != nil {
		if shared, ok := l.Ledger.(*replica.Ledger); ok {
			return shared.Epoch()
		}
	}
	return 0
}

// settleAll tells every request in flight to end and waits for them, at most
// as long as said. The process exits after the servers have stopped: without
// this, streams longer than the grace period would never settle.
func (s *state) settleAll(wait time.Duration) {
	s.requests.End(handlers.ErrShutdown)
	deadline := time.Now().Add(wait)
	for s.inflight.count() > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
}

// Destruct closes the ledger once the last reference is gone.
func (s *state) Destruct() error {
	s.closed()
	s.closeWebhook()
	err := errors.Join(s.limiter.Close(), s.registry.Close())
	if l := s.ledger.Load(); l != nil {
		<-s.settled
		if closeErr := l.Close(); closeErr != nil {
			return closeErr
		}
	}
	return err
}
