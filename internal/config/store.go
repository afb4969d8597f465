package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/usage"
)

// Kinds of stores.
const (
	KindFile   = "file"
	KindMemory = "memory"
	KindRedis  = "redis"
)

// Kind returns the kind of the store: the type, or file if none is configured.
// c may be nil.
func (c *Store) Kind() string {
	if c == nil || c.Type == "" {
		return KindFile
	}
	return c.Type
}

// LedgerKind returns the kind of store that holds the gate's own usage: with
// Redis, each gate keeps its journal in files.
func (c *Store) LedgerKind() string {
	if kind := c.Kind(); kind != KindRedis {
		return kind
	}
	return KindFile
}

// Path returns the absolute path of the directory of the embedded store. c may
// be nil.
func (c *Store) Path() (string, error) {
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

// Settings returns the settings of the ledger that a reload may change. It fails
// if the configuration of the store contradicts itself. c may be nil.
func (c *Store) Settings() (usage.Settings, error) {
	if c == nil {
		return usage.Settings{}, nil
	}
	s := usage.Settings{Retention: time.Duration(c.Retention), Sync: time.Duration(c.Sync)}
	switch {
	case c.Redis != nil && c.Type != KindRedis:
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
