package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/limiter"
)

// Key is a key as the registry shows it: all but its secrets.
type Key struct {
	// Names the key for good: see keys.Config.
	ID string `json:"id"`

	KeySpec

	// Its secrets, the newest first: one, or several while rotating; none once it
	// is revoked.
	Secrets []Secret `json:"secrets"`

	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"`

	// When it was revoked, which can't be undone; null: it was not.
	Revoked *time.Time `json:"revoked_at"`

	// Counts the changes of this key, from 1. A change can be bound to the
	// version that its author has seen.
	Version int64 `json:"version"`

	parsed *keys.Key // as callers are judged by it; set by check
}

// KeySpec is what may be said of a key and changed later.
type KeySpec struct {
	// The team whose limits it shares. Default: none.
	Team string `json:"team,omitempty"`

	// Patterns of the models that it may use; ["none"]: none. Default: every
	// model that is configured.
	Models []string `json:"models,omitempty"`

	// The groups of endpoints that it may use. Default: all.
	Endpoints []string `json:"endpoints,omitempty"`

	// Its limits, as in "60 requests/minute burst 10". Default: those of the gate.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// An RFC 3339 time from which on it is refused, or a date, which is the last
	// day in UTC on which it works. Default: never.
	Expires string `json:"expires,omitempty"`

	// The client addresses that it works from: networks, or single addresses.
	// Default: any.
	AllowIP []string `json:"allow_ip,omitempty"`

	// Refuses it without forgetting it. Default: false.
	Disabled bool `json:"disabled,omitempty"`

	// Whatever its owner wants to remember of it: at most 16 entries of up to 64
	// and 256 characters. It is shown to whoever has the admin key, and goes into
	// no log and no metric.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Secret is one secret of a key, by its hash.
type Secret struct {
	Hash    keys.Hash  `json:"-"`
	Last4   string     `json:"last4"`
	Created time.Time  `json:"created_at"`
	Expires *time.Time `json:"expires_at"` // null: with the key; else it was rotated out
}

// Team is a team as the registry shows it.
type Team struct {
	ID string `json:"id"`
	TeamSpec
	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"`
	Version int64     `json:"version"`

	parsed *keys.Team
}

// TeamSpec is what may be said of a team and changed later.
type TeamSpec struct {
	// Patterns of the models that its keys may use; theirs narrow them further.
	// Default: every model that is configured.
	Models []string `json:"models,omitempty"`

	// Limits that all keys of the team share.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// As a key's.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// config is the key without its secrets.
func (k *Key) config() keys.Config {
	return keys.Config{
		ID: k.ID, Team: k.Team, Models: k.Models, Endpoints: k.Endpoints, Limits: k.Limits,
		Expires: k.Expires, AllowIP: k.AllowIP, Disabled: k.Disabled,
	}
}

// check validates a key by the rules of a configured one.
func (k *Key) check() error {
	parsed, err := k.config().Key()
	if err != nil {
		return invalid(strings.TrimPrefix(err.Error(), fmt.Sprintf("key %q: ", k.ID)))
	}
	parsed.Runtime, k.parsed = true, parsed
	for _, limit := range k.Limits {
		if err := limit.Validate(); err != nil {
			return invalid("limits: " + err.Error())
		}
	}
	return checkMetadata(k.Metadata)
}

func (t *Team) check() error {
	if err := keys.CheckID(t.ID); err != nil {
		return invalid("id of a team: " + err.Error())
	}
	// What a team has in common with a key goes by the same rules.
	like := &Key{ID: t.ID, KeySpec: KeySpec{Models: t.Models, Limits: t.Limits, Metadata: t.Metadata}}
	if err := like.check(); err != nil {
		return err
	}
	t.parsed = &keys.Team{ID: t.ID, Models: like.parsed.Models, Limits: like.parsed.Limits}
	return nil
}

const (
	maxMetadata      = 16
	maxMetadataName  = 64  // bytes
	maxMetadataValue = 256 // bytes
)

func checkMetadata(metadata map[string]string) error {
	if len(metadata) > maxMetadata {
		return invalid(fmt.Sprintf("metadata: %d entries: expected at most %d", len(metadata), maxMetadata))
	}
	for _, name := range slices.Sorted(maps.Keys(metadata)) {
		switch value := metadata[name]; {
		case name == "" || len(name) > maxMetadataName:
			return invalid(fmt.Sprintf("metadata: a name is of %d bytes: expected 1 to %d", len(name), maxMetadataName))
		case len(value) > maxMetadataValue:
			return invalid(fmt.Sprintf("metadata: %q is of %d bytes: expected at most %d", name, len(value), maxMetadataValue))
		}
	}
	return nil
}

// live returns the secrets that open the key at a time, and when that changes
// next; zero: never by itself.
func (k *Key) live(now time.Time) (open []keys.Hash, next time.Time) {
	for _, s := range k.Secrets {
		if s.Expires == nil {
			open = append(open, s.Hash)
			continue
		}
		if now.Before(*s.Expires) {
			open = append(open, s.Hash)
			if next.IsZero() || s.Expires.Before(next) {
				next = *s.Expires
			}
		}
	}
	return open, next
}
