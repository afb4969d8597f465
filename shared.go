package pinegate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/throttle"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// keyStore makes the live set of a gate's keys. The app starts it with the
// configuration: provisioning only reads.
func (h *Handler) keyStore(ctx caddy.Context, app *App) (*keys.Store, error) {
	for _, config := range h.Keys {
		if err := app.define("key", config.ID, config); err != nil {
			return nil, err
		}
	}
	config := keys.StoreConfig{Keys: h.Keys, Files: h.KeyFiles, Admin: h.AdminKeys}
	if h.KeyStore {
		app.runtimeKeys, config.Runtime = true, app.registry()
	}
	return newKeyStore(ctx.Logger(), app, config)
}

// newKeyStore makes a store that reads placeholders as Caddy does and tells the
// log what it could not take over.
func newKeyStore(logger *zap.Logger, app *App, config keys.StoreConfig) (*keys.Store, error) {
	replacer := caddy.NewReplacer()
	config.Resolve = func(placeholder string) (string, error) {
		return replacer.ReplaceOrErr(placeholder, true, true)
	}
	config.OnError = func(err error) {
		logger.Error("keys were not changed: what was read can't be taken over", zap.Error(err))
	}
	config.OnWarning = func(err error) { logger.Warn("keys file", zap.Error(err)) }
	config.OnChange = func(ring *keys.Ring) { logger.Info("keys changed", zap.Int("keys", ring.Len())) }
	store, err := keys.NewStore(config)
	if err != nil {
		return nil, err
	}
	for _, other := range app.keyStores {
		if err := checkApart(store.Ring(), other.Ring()); err != nil {
			return nil, err
		}
	}
	app.keyStores = append(app.keyStores, store)
	return store, nil
}

// checkApart refuses two sets of keys of which one holds as a caller's what
// opens the other's administration. Within one set the ring refuses it; what a
// file of keys brings later is not held against other sites.
func checkApart(a, b *keys.Ring) error {
	key := a.Opened(b)
	if key == nil {
		key = b.Opened(a)
	}
	if key == nil {
		return nil
	}
	return fmt.Errorf("key %q has a secret in common with an admin key of another site or of pinegate_admin", key.ID)
}

// throttles holds the throttles by their configuration: a reload must not give
// a guesser a fresh allowance.
var throttles = caddy.NewUsagePool()

type pooledThrottle struct{ *throttle.Throttle }

func (pooledThrottle) Destruct() error { return nil }

// throttleFor returns the process's throttle of a configuration, nil for off.
// It stays for the process: there are as many as configurations were written,
// and each is bounded.
func throttleFor(config *ThrottleConfig) (*throttle.Throttle, error) {
	c := throttle.Config{}
	if config != nil {
		if config.Off {
			return nil, nil
		}
		if config.Amount < 0 || config.Burst < 0 || config.Window.Quota() {
			return nil, fmt.Errorf("throttle: expected positive numbers and a window of a second, minute or hour")
		}
		c = throttle.Config{All: config.All, N: config.Amount, Window: config.Window.Duration(), Burst: config.Burst}
	}
	value, _, err := throttles.LoadOrNew(c, func() (caddy.Destructor, error) {
		return pooledThrottle{throttle.New(c, 0, time.Now)}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(pooledThrottle).Throttle, nil
}

// quotaUsed sums up, from the ledger, what a quota has used since the time.
func quotaUsed(ledger usage.Ledger, rule *limiter.Rule, since time.Time) (int64, error) {
	query := usage.Query{Start: since, End: time.Now().Add(time.Second), Width: usage.Day, Limit: 31}
	match := func(usage.Result) bool { return true }
	switch rule.Kind {
	case limiter.ScopeKey:
		query.Keys = []string{rule.ID}
	case limiter.ScopeTeam:
		query.Teams = []string{rule.ID}
	case limiter.ScopeModel:
		query.GroupBy = []usage.Dimension{usage.ByModel}
		p, err := pattern.Parse(rule.ID)
		if err != nil {
			return 0, err
		}
		match = func(r usage.Result) bool { return p.Match(*r.Model) }
	case limiter.ScopeBackend:
		query.GroupBy = []usage.Dimension{usage.ByBackend}
		match = func(r usage.Result) bool { return *r.Backend == rule.ID }
	}
	var used int64
	for more := true; more; { // thousands of models make more than one page
		page, err := ledger.Query(context.Background(), query)
		if err != nil {
			return 0, err
		}
		for _, bucket := range page.Data {
			query.Start = time.Unix(bucket.EndTime, 0)
			for _, result := range bucket.Results {
				if match(result) {
					used += inUnit(rule.Limit.Unit, result)
				}
			}
		}
		more = page.HasMore
	}
	return used, nil
}

// inUnit returns what a limit of the unit counts of a sum.
func inUnit(unit limiter.Unit, r usage.Result) int64 {
	if unit == limiter.Requests {
		return r.Requests
	}
	used := limiter.Actual{Dispatched: true, Input: r.InputTokens, Output: r.OutputTokens}
	if r.CostUSD != nil {
		used.Cost = int64(*r.CostUSD)
	}
	return used.Charge(unit)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
