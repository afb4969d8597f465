package store

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	usagememory "github.com/amanycodes/pine-gate/usage/memory"
)

// openLedger opens the ledger of a store.
type openLedger func(o ledgerOptions) (usage.Ledger, error)

// ledgerOptions holds the options of a ledger.
type ledgerOptions struct {
	usage.Settings
	shared     bool        // with other gates
	hideModels bool        // in events
	status     func(error) // called when its disk begins to fail, and when it works again
}

// opener returns the key of a store in the pool, and the function that opens
// its ledger.
func opener(c *config.Store, logger *zap.Logger) (string, openLedger, error) {
	switch c.Kind() {
	case "memory":
		return "memory", func(o ledgerOptions) (usage.Ledger, error) {
			return usagememory.New(o.Retention), nil
		}, nil
	case "file", "redis":
	default:
		return "", nil, fmt.Errorf("unknown store %q: expected file, memory or redis", c.Type)
	}
	dir, err := c.Path()
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

// gateModule is the ID of the gate's module, from which loggers take their
// names.
const gateModule = "http.handlers.pinegate"
