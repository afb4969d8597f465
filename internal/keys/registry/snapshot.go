package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// Snapshot holds all keys and teams at one time. It is immutable, and so are the
// values that it returns.
type Snapshot struct {
	revision Revision
	keys     map[string]*Key
	teams    map[string]*Team
}

func newSnapshot() *Snapshot {
	return &Snapshot{keys: make(map[string]*Key), teams: make(map[string]*Team)}
}

// Key returns the key with this id, or nil.
func (s *Snapshot) Key(id string) *Key { return s.keys[id] }

// Team returns the team with this id, or nil.
func (s *Snapshot) Team(id string) *Team { return s.teams[id] }

// Keys returns all keys, sorted by id.
func (s *Snapshot) Keys() []*Key {
	return slices.SortedFunc(maps.Values(s.keys), func(a, b *Key) int { return strings.Compare(a.ID, b.ID) })
}

// Teams returns all teams, sorted by id.
func (s *Snapshot) Teams() []*Team {
	return slices.SortedFunc(maps.Values(s.teams), func(a, b *Team) int { return strings.Compare(a.ID, b.ID) })
}

// with returns the snapshot after changes. It leaves out an invalid entry and
// reports it to onError: refusing a key is better than giving it the wrong
// permissions.
func (s *Snapshot) with(changes Changes, onError func(error)) *Snapshot {
	next := newSnapshot()
	if !changes.Complete {
		maps.Copy(next.keys, s.keys)
		maps.Copy(next.teams, s.teams)
	}
	next.revision = changes.Revision
	for _, e := range changes.Entries {
		if err := next.set(e); err != nil && onError != nil {
			onError(fmt.Errorf("reading %s %q: %w", e.Kind, e.ID, err))
		}
	}
	return next
}

func (s *Snapshot) set(e Entry) error {
	switch e.Kind {
	case KindKey:
		delete(s.keys, e.ID)
		if e.Value == nil {
			return nil
		}
		key, err := decodeKey(e.Value)
		if err == nil && key.ID != e.ID {
			err = fmt.Errorf("it has the id %q", key.ID)
		}
		if err != nil {
			return err
		}
		s.keys[e.ID] = key
	case KindTeam:
		delete(s.teams, e.ID)
		if e.Value == nil {
			return nil
		}
		team, err := decodeTeam(e.Value)
		if err == nil && team.ID != e.ID {
			err = fmt.Errorf("it has the id %q", team.ID)
		}
		if err != nil {
			return err
		}
		s.teams[e.ID] = team
	}
	return nil
}

// storedKey is a key as it is stored, with the hashes of its secrets. The API
// never returns the hashes.
type storedKey struct {
	Key
	Hashes []string `json:"hashes"`
}

func encodeKey(k *Key) ([]byte, error) {
	stored := storedKey{Key: *k}
	for _, s := range k.Secrets {
		stored.Hashes = append(stored.Hashes, s.Hash.String())
	}
	return json.Marshal(stored)
}

func decodeKey(value []byte) (*Key, error) {
	var stored storedKey
	if err := json.Unmarshal(value, &stored); err != nil {
		return nil, err
	}
	key := &stored.Key
	if len(stored.Hashes) != len(key.Secrets) {
		return nil, fmt.Errorf("it has %d hashes of %d secrets", len(stored.Hashes), len(key.Secrets))
	}
	for i, text := range stored.Hashes {
		hash, err := keys.ParseHash(text)
		if err != nil {
			return nil, fmt.Errorf("hash %d: %w", i+1, err)
		}
		key.Secrets[i].Hash = hash
	}
	return key, key.check()
}

func decodeTeam(value []byte) (*Team, error) {
	team := new(Team)
	if err := json.Unmarshal(value, team); err != nil {
		return nil, err
	}
	return team, team.check()
}

// RuntimeKeys implements keys.Runtime.
func (r *Registry) RuntimeKeys(now time.Time) keys.RuntimeKeys {
	snapshot := r.Snapshot()
	found := keys.RuntimeKeys{Keys: make([]keys.RuntimeKey, 0, len(snapshot.keys))}
	for _, key := range snapshot.keys {
		hashes, next := key.live(now)
		if !next.IsZero() && (found.Until.IsZero() || next.Before(found.Until)) {
			found.Until = next
		}
		found.Keys = append(found.Keys, keys.RuntimeKey{Key: key.parsed, Hashes: hashes})
	}
	for _, team := range snapshot.teams {
		found.Teams = append(found.Teams, team.parsed)
	}
	return found
}

var _ keys.Runtime = (*Registry)(nil)
