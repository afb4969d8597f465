package keys

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
)

// Runtime is a source of keys that are made while the gate runs. Its methods may
// be called by several goroutines and do not wait for anybody.
type Runtime interface {
	// Snapshot returns what there is at a time.
	Snapshot(now time.Time) RuntimeKeys

	// Watch has f called soon after each change, until stop is called. f does not
	// block.
	Watch(f func()) (stop func())

	// Current tells whether the last snapshot is up to date, so that a secret
	// which is not in it is known to be none.
	Current() bool

	// Stale tells whether it is too old to accept a key by: what was revoked
	// since is not known.
	Stale() bool
}

// RuntimeKeys is a snapshot of a [Runtime]. It is not changed any more.
type RuntimeKeys struct {
	Keys  []RuntimeKey
	Teams []*Team
	// When it is to be asked for again though nothing was changed: a secret ends.
	// Zero: not by itself.
	Until time.Time
}

// RuntimeKey is a key with the hashes of its secrets.
type RuntimeKey struct {
	Key    *Key
	Hashes []Hash
}

// Team is what the keys of a team that was made at runtime have in common. It is
// immutable.
type Team struct {
	ID     string
	Models pattern.List // nil: every model; empty: none
	Limits []limiter.Limit
}

// runtimeName names the source in messages.
const runtimeName = "the store of keys"

// readRuntime takes a new snapshot where the last one has come to its end.
func (s *Store) readRuntime() {
	if s.runtime != nil && !s.runtimeUntil.IsZero() && !s.config.Now().Before(s.runtimeUntil) {
		s.runtime.offer(s.runtimeSet())
	}
}

// runtimeSet makes a set of what the runtime holds now.
func (s *Store) runtimeSet() *keySet {
	snapshot := s.config.Runtime.Snapshot(s.config.Now())
	s.runtimeUntil = snapshot.Until
	set := &keySet{keys: make([]*Key, 0, len(snapshot.Keys)), teams: snapshot.Teams}
	for _, k := range snapshot.Keys {
		set.keys = append(set.keys, k.Key)
		for _, h := range k.Hashes {
			set.entries = append(set.entries, entry{h, k.Key})
		}
	}
	return set
}

// withoutConflicts returns what of the runtime's keys goes with those of config
// and files, which win: a key that is made at runtime must not change what the
// configuration says. Each that is left out is told of once.
func (s *Store) withoutConflicts(set *keySet, others []*Key, entries []entry, admin []Hash) *keySet {
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
	s.tellLeftOut(left)
	if len(left) == 0 {
		return set
	}
	return &keySet{
		keys:    slices.DeleteFunc(slices.Clone(set.keys), func(k *Key) bool { return left[k] }),
		entries: slices.DeleteFunc(slices.Clone(set.entries), func(e entry) bool { return left[e.key] }),
		teams:   set.teams,
	}
}

func (s *Store) tellLeftOut(left map[*Key]bool) {
	told := make(map[string]bool, len(left))
	for k := range left {
		told[k.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(told)) {
		if !s.leftOut[id] {
			s.report(fmt.Errorf("key %q of %s is left out: the configuration has its id or its secret", id, runtimeName))
		}
	}
	s.leftOut = told
}
