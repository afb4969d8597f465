package pinegate

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	usagememory "github.com/amanycodes/pine-gate/usage/memory"
)

// openLedger opens the ledger of a store.
type openLedger func(o ledgerOptions) (usage.Ledger, error)

// ledgerOptions are what a ledger is opened with.
type ledgerOptions struct {
	usage.Settings
	shared     bool        // with other gates
	hideModels bool        // in events
	status     func(error) // told when its disk begins to fail and when it works again
}

// opener tells a store's key in the pool and how to open its ledger.
func opener(store *StoreConfig, logger *zap.Logger) (string, openLedger, error) {
	if store == nil {
		store = new(StoreConfig)
	}
	switch store.Type {
	case "memory":
		return "memory", func(o ledgerOptions) (usage.Ledger, error) {
			return usagememory.New(o.Retention), nil
		}, nil
	case "", "file", "redis":
	default:
		return "", nil, fmt.Errorf("unknown store %q: expected file, memory or redis", store.Type)
	}
	dir, err := store.dir()
	if err != nil {
		return "", nil, err
	}
	return "file " + dir, func(o ledgerOptions) (usage.Ledger, error) {
		events := caddy.Log().Named(gateModule).Named(handlers.EventsLogger)
		return boltdb.Open(filepath.Join(dir, "usage.db"), boltdb.Options{
			Retention:   o.Retention,
			Sync:        o.Sync,
			Shared:      o.shared,
			Warn:        func(message string) { logger.Warn(message) },
			Status:      o.status,
			Interrupted: func(r *usage.Record) { handlers.LogEvent(events, r, o.hideModels) },
		})
	}, nil
}

// dir is the absolute path of the directory of the embedded store.
func (c *StoreConfig) dir() (string, error) {
	var dir string
	if c != nil {
		dir = c.Dir
	}
	if dir == "" {
		dir = filepath.Join(caddy.AppDataDir(), "pinegate")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("resolving the store's directory: %w", err)
	}
	return dir, nil
}

// gateModule is the ID of the gate's module, by which its loggers are named.
const gateModule = "http.handlers.pinegate"

// settings are what of the store may change with a configuration.
func (c *StoreConfig) settings() (usage.Settings, error) {
	if c == nil {
		return usage.Settings{}, nil
	}
	s := usage.Settings{Retention: time.Duration(c.Retention), Sync: time.Duration(c.Sync)}
	switch {
	case c.Redis != nil && c.Type != "redis":
		return s, fmt.Errorf("store %s: expected no redis, which belongs to the type redis", c.Type)
	case s.Retention < 0:
		return s, fmt.Errorf("store retention %s: expected a positive duration", s.Retention)
	case s.Sync < 0:
		return s, fmt.Errorf("store sync %s: expected a positive duration", s.Sync)
	case c.SyncAlways && s.Sync > 0:
		return s, errors.New("store sync: expected either a duration or sync_always")
	case c.SyncAlways:
		s.Sync = usage.SyncAlways
	}
	return s, nil
}
