package registry

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/limiter"
)

// Key is a key as the registry returns it, without its secrets.
type Key struct {
	// Its id, which does not change: see keys.Config.
	ID string `json:"id"`

	KeySpec

	// Its secrets, the newest first: one, or several while rotating; none once it
	// is revoked.
	Secrets []Secret `json:"secrets"`

	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"`

	// When it was revoked, which can't be undone; null if it was not.
	Revoked *time.Time `json:"revoked_at"`

	// The number of changes of this key, from 1. A change can be made conditional
	// on the version that its author has seen.
	Version int64 `json:"version"`

	parsed *keys.Key // set by check
}

// KeySpec holds the fields of a key that can be set, and changed later.
type KeySpec struct {
	keys.Spec

	// Notes of its owner: at most 16 entries, with names of up to 64 and values of
	// up to 256 bytes. It is shown to holders of the admin key, and appears in no
	// log and no metric.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// Secret is one secret of a key, by its hash.
type Secret struct {
	Hash    keys.Hash  `json:"-"`
	Last4   string     `json:"last4"`
	Created time.Time  `json:"created_at"`
	Expires *time.Time `json:"expires_at"` // set for a secret that was rotated out; null: it expires with the key
}

// Team is a team as the registry returns it.
type Team struct {
	ID string `json:"id"`
	TeamSpec
	Created time.Time `json:"created_at"`
	Updated time.Time `json:"updated_at"`
	Version int64     `json:"version"`

	parsed *keys.Team
}

// TeamSpec holds the fields of a team that can be set, and changed later.
type TeamSpec struct {
	// Patterns of the models that its keys may use; those of a key restrict them
	// further. Default: every configured model.
	Models []string `json:"models,omitempty"`

	// Limits that all keys of the team share.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// As for a key.
	Metadata map[string]string `json:"metadata,omitempty"`
}

// check validates a key by the rules for configured keys, and sets parsed.
func (k *Key) check() error {
	parsed, err := k.Spec.Key(k.ID)
	if err != nil {
		return invalid(err.Error())
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
	// The fields that a team has in common with a key have the same rules.
	like := &Key{ID: t.ID, KeySpec: KeySpec{Spec: keys.Spec{Models: t.Models, Limits: t.Limits}, Metadata: t.Metadata}}
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

// live returns the secrets of the key that are valid at now, and when the next
// of them expires; zero if none does.
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
