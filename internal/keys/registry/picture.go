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

// Picture is all keys and teams at one time. It is immutable, and so is what it
// returns.
type Picture struct {
	place Place
	keys  map[string]*Key
	teams map[string]*Team
}

func newPicture() *Picture {
	return &Picture{keys: make(map[string]*Key), teams: make(map[string]*Team)}
}

// Key returns the key of an id, or nil.
func (p *Picture) Key(id string) *Key { return p.keys[id] }

// Team returns the team of an id, or nil.
func (p *Picture) Team(id string) *Team { return p.teams[id] }

// Keys returns all keys in the order of their ids.
func (p *Picture) Keys() []*Key {
	return slices.SortedFunc(maps.Values(p.keys), func(a, b *Key) int { return strings.Compare(a.ID, b.ID) })
}

// Teams returns all teams in the order of their ids.
func (p *Picture) Teams() []*Team {
	return slices.SortedFunc(maps.Values(p.teams), func(a, b *Team) int { return strings.Compare(a.ID, b.ID) })
}

// with returns the picture after changes. An entry that can't be read is left
// out and told of: better one key refused than one with rights it lacks.
func (p *Picture) with(changes Changes, tell func(error)) *Picture {
	next := newPicture()
	if !changes.Whole {
		maps.Copy(next.keys, p.keys)
		maps.Copy(next.teams, p.teams)
	}
	next.place = changes.Place
	for _, e := range changes.Entries {
		if err := next.set(e); err != nil && tell != nil {
			tell(fmt.Errorf("reading %s %q: %w", e.Kind, e.ID, err))
		}
	}
	return next
}

func (p *Picture) set(e Entry) error {
	switch e.Kind {
	case KindKey:
		delete(p.keys, e.ID)
		if e.Value == nil {
			return nil
		}
		key, err := decodeKey(e.Value)
		if err == nil && key.ID != e.ID {
			err = fmt.Errorf("it says that it is %q", key.ID)
		}
		if err != nil {
			return err
		}
		p.keys[e.ID] = key
	case KindTeam:
		delete(p.teams, e.ID)
		if e.Value == nil {
			return nil
		}
		team, err := decodeTeam(e.Value)
		if err == nil && team.ID != e.ID {
			err = fmt.Errorf("it says that it is %q", team.ID)
		}
		if err != nil {
			return err
		}
		p.teams[e.ID] = team
	}
	return nil
}

// storedKey is a key as it is kept: with the hashes of its secrets, which are
// shown nowhere.
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

// Snapshot implements keys.Runtime.
func (r *Registry) Snapshot(now time.Time) keys.RuntimeKeys {
	picture := r.Picture()
	snapshot := keys.RuntimeKeys{Keys: make([]keys.RuntimeKey, 0, len(picture.keys))}
	for _, key := range picture.keys {
		hashes, next := key.live(now)
		if !next.IsZero() && (snapshot.Until.IsZero() || next.Before(snapshot.Until)) {
			snapshot.Until = next
		}
		snapshot.Keys = append(snapshot.Keys, keys.RuntimeKey{Key: key.parsed, Hashes: hashes})
	}
	for _, team := range picture.teams {
		snapshot.Teams = append(snapshot.Teams, team.parsed)
	}
	return snapshot
}

var _ keys.Runtime = (*Registry)(nil)
