package pinegate

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// states holds what outlives a configuration, by the store it belongs to.
// Each configuration holds a reference and so does each request in flight, so
// that a stream that is older than the last reload still finds its limiter and
// its ledger when it settles.
var states = caddy.NewUsagePool()

// state is what all configurations with one store share.
type state struct {
	key           string
	limiter       *limiter.Memory
	conversations *handlers.Conversations

	inflight atomic.Int64
	exiting  context.Context
	exit     context.CancelCauseFunc

	// The ledger is opened at the first use and not while provisioning:
	// validating a configuration must not take the lock of a store that a
	// running gate holds.
	mu     sync.Mutex
	ledger atomic.Pointer[ledgerHolder]
	open   func() (usage.Ledger, error)
}

type ledgerHolder struct{ usage.Ledger }

// stateFor returns the state of a store; release it with [state.Release].
func stateFor(store *StoreConfig, logger *zap.Logger) (*state, error) {
	key, open, err := opener(store, logger)
	if err != nil {
		return nil, err
	}
	value, _, err := states.LoadOrNew(key, func() (caddy.Destructor, error) {
		s := &state{key: key, open: open, conversations: handlers.NewConversations(conversationsKept)}
		s.exiting, s.exit = context.WithCancelCause(context.Background())
		s.limiter = limiter.NewMemory(limiter.MemoryOptions{Seed: s.used})
		return s, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(*state), nil
}

// conversationsKept is how many stored responses are remembered with the key
// that made them: 100 bytes each.
const conversationsKept = 100_000

// opener tells a store's key in the pool and how to open its ledger.
func opener(store *StoreConfig, logger *zap.Logger) (string, func() (usage.Ledger, error), error) {
	retention := defaultRetention
	if store != nil && store.Retention > 0 {
		retention = time.Duration(store.Retention)
	}
	switch {
	case store != nil && store.Type == "memory":
		return "memory", func() (usage.Ledger, error) { return usage.NewMemory(retention), nil }, nil
	case store == nil || store.Type == "" || store.Type == "file":
		dir := filepath.Join(caddy.AppDataDir(), "pinegate")
		if store != nil && store.Dir != "" {
			dir = store.Dir
		}
		dir, err := filepath.Abs(dir)
		if err != nil {
			return "", nil, fmt.Errorf("resolving the store's directory: %w", err)
		}
		return "file " + dir, func() (usage.Ledger, error) {
			return usage.OpenBolt(filepath.Join(dir, "usage.db"), usage.BoltOptions{
				Retention: retention,
				Warn:      func(message string) { logger.Warn(message) },
			})
		}, nil
	default:
		return "", nil, fmt.Errorf("unknown store %q: expected file or memory", store.Type)
	}
}

const defaultRetention = 400 * 24 * time.Hour

// Acquire takes a reference for a request in flight.
func (s *state) Acquire() {
	s.inflight.Add(1)
	states.LoadOrStore(s.key, s)
}

// Release gives a request's reference back.
func (s *state) Release() {
	s.inflight.Add(-1)
	s.drop()
}

// drop gives a reference back; the last one closes the state.
func (s *state) drop() {
	// The only error is that of Destruct, which the ledger has logged.
	_, _ = states.Delete(s.key)
}

// Exiting ends when the process is about to exit, before requests are cut.
func (s *state) Exiting() context.Context { return s.exiting }

// Limiter is where limits are held.
func (s *state) Limiter() limiter.Limiter { return s.limiter }

// Conversations remembers who made the responses that backends keep.
func (s *state) Conversations() *handlers.Conversations { return s.conversations }

// Ledger returns the ledger, opened if it is not yet. A failure is tried again
// at the next call.
func (s *state) Ledger() (usage.Ledger, error) {
	if l := s.ledger.Load(); l != nil {
		return l.Ledger, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.ledger.Load(); l != nil {
		return l.Ledger, nil
	}
	ledger, err := s.open()
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	s.ledger.Store(&ledgerHolder{ledger})
	return ledger, nil
}

// used tells what a quota has used since the time, from the ledger: so quotas
// survive a restart.
func (s *state) used(rule *limiter.Rule, since time.Time) int64 {
	ledger, err := s.Ledger()
	if err != nil {
		return 0
	}
	return quotaUsed(ledger, rule, since)
}

// settleAll tells every request in flight to end and waits for them, at most
// as long as said. The process exits after the servers have stopped: without
// this, streams longer than the grace period would never settle.
func (s *state) settleAll(wait time.Duration) {
	s.exit(handlers.ErrShutdown)
	deadline := time.Now().Add(wait)
	for s.inflight.Load() > 0 && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
}

// Destruct closes the ledger once the last reference is gone.
func (s *state) Destruct() error {
	s.exit(nil)
	err := s.limiter.Close()
	if l := s.ledger.Load(); l != nil {
		if closeErr := l.Close(); closeErr != nil {
			return closeErr
		}
	}
	return err
}
