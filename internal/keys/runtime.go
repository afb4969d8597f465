package keys

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
)

// Runtime is a source of keys that are created while the gate runs. Its methods
// are safe for concurrent use and do not block.
type Runtime interface {
	// RuntimeKeys returns the keys and teams that are valid at now.
	RuntimeKeys(now time.Time) RuntimeKeys

	// Watch calls f soon after each change, until stop is called. f must not
	// block.
	Watch(f func()) (stop func())

	// UpToDate reports whether the last snapshot is up to date, so that a secret
	// that is missing from it is certain to belong to no key.
	UpToDate() bool

	// Stale reports whether the last snapshot is too old to accept a key from it:
	// the key may have been revoked since.
	Stale() bool
}

// RuntimeKeys is a snapshot of a [Runtime]. It is immutable.
type RuntimeKeys struct {
	Keys  []RuntimeKey
	Teams []*Team
	// The time at which the next snapshot differs without a change, because a
	// secret expires. Zero: never.
	Until time.Time
}

// RuntimeKey is a key with the hashes of its secrets.
type RuntimeKey struct {
	Key    *Key
	Hashes []Hash
}

// Team holds what the keys of a runtime team have in common. It is immutable.
type Team struct {
	ID     string
	Models pattern.List // nil: every model; empty: none
	Limits []limiter.Limit
}

// runtimeName is the name of the runtime source in messages.
const runtimeName = "the key store"

// readRuntime puts a new snapshot into the slot if the last one has expired.
func (s *Store) readRuntime() {
	if s.runtime != nil && !s.runtimeUntil.IsZero() && !s.config.Now().Before(s.runtimeUntil) {
		s.runtime.offer(s.runtimeSet())
	}
}

// runtimeSet returns the current keys of the runtime.
func (s *Store) runtimeSet() *sourceSet {
	snapshot := s.config.Runtime.RuntimeKeys(s.config.Now())
	s.runtimeUntil = snapshot.Until
	set := &sourceSet{keys: make([]*Key, 0, len(snapshot.Keys)), teams: snapshot.Teams}
	for _, k := range snapshot.Keys {
		set.keys = append(set.keys, k.Key)
		for _, h := range k.Hashes {
			set.entries = append(set.entries, entry{h, k.Key})
		}
	}
	return set
}

// withoutConflicts returns the runtime keys that do not conflict with those of
// config and files. The latter take precedence: a runtime key must not override
// the configuration. It reports each key that it leaves out once.
func (s *Store) withoutConflicts(set *sourceSet, others []*Key, entries []entry, admin []Hash) *sourceSet {
	ids := make(map[string]bool, len(others))
	for _, k := range others {
		ids[k.ID] = true
	}
	secrets := make(map[Hash]bool, len(entries)+len(admin))
	for _, e := range entries {
		secrets[e.hash] = true
	}
	for _, h := range admin {
		secrets[h] = true
	}
	left := make(map[*Key]bool)
	for _, e := range set.entries {
		if secrets[e.hash] {
			left[e.key] = true
		}
	}
	for _, k := range set.keys {
		if ids[k.ID] {
			left[k] = true
		}
	}
	s.reportLeftOut(left)
	if len(left) == 0 {
		return set
	}
	return &sourceSet{
		keys:    slices.DeleteFunc(slices.Clone(set.keys), func(k *Key) bool { return left[k] }),
		entries: slices.DeleteFunc(slices.Clone(set.entries), func(e entry) bool { return left[e.key] }),
		teams:   set.teams,
	}
}

func (s *Store) reportLeftOut(left map[*Key]bool) {
	ids := make(map[string]bool, len(left))
	for k := range left {
		ids[k.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if !s.leftOut[id] {
			s.report(fmt.Errorf("key %q of %s is ignored: the configuration has its id or its secret", id, runtimeName))
		}
	}
	s.leftOut = ids
}
