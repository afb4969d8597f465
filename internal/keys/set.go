package keys

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sort"
	"strings"
)

// Set is a snapshot of all keys. It is immutable, so a request sees the same keys
// from start to end.
//
// Secrets are in an open-addressed table. Their hashes are uniform, so the
// leading bits of a hash are its index. Unlike in a map, the entry is in the
// table itself, so that a look-up among a million keys waits for memory once.
type Set struct {
	table []entry // a third of the entries are empty: their key is nil
	ids   []*Key  // sorted by id
	admin []Hash
	teams map[string]*Team // created at runtime
}

// entry is one secret of a key.
type entry struct {
	hash Hash
	key  *Key
}

// Lookup returns the key that a secret with hash h belongs to, or nil. It
// compares each candidate in constant time.
func (r *Set) Lookup(h Hash) *Key { return r.slot(h).key }

// slot returns the entry of h, or the empty entry where it would be.
func (r *Set) slot(h Hash) *entry {
	// The leading 32 bits, scaled from [0, 2^32) to the length of the table.
	i := uint64(binary.BigEndian.Uint32(h[:])) * uint64(len(r.table)) >> 32
	for {
		e := &r.table[i]
		if e.key == nil || e.hash.Equal(h) {
			return e
		}
		if i++; i == uint64(len(r.table)) {
			i = 0
		}
	}
}

// Admin reports whether h is the hash of an admin key. It compares all of them,
// each in constant time.
func (r *Set) Admin(h Hash) bool {
	found := false
	for i := range r.admin {
		found = r.admin[i].Equal(h) || found
	}
	return found
}

// HasAdmin reports whether there is any admin key.
func (r *Set) HasAdmin() bool { return len(r.admin) > 0 }

// Opened returns a key of r whose secret is also an admin key of the set by, or
// nil. The holder of such a key could administer the gate.
func (r *Set) Opened(by *Set) *Key {
	for _, h := range by.admin {
		if key := r.Lookup(h); key != nil {
			return key
		}
	}
	return nil
}

// ByID returns the key with this id, or nil.
func (r *Set) ByID(id string) *Key {
	i, found := sort.Find(len(r.ids), func(i int) int { return cmp.Compare(id, r.ids[i].ID) })
	if !found {
		return nil
	}
	return r.ids[i]
}

// Team returns the runtime team with this id, or nil.
func (r *Set) Team(id string) *Team { return r.teams[id] }

func (r *Set) setTeams(teams []*Team) {
	if len(teams) == 0 {
		return
	}
	r.teams = make(map[string]*Team, len(teams))
	for _, team := range teams {
		r.teams[team.ID] = team
	}
}

// All returns the keys sorted by id.
func (r *Set) All() iter.Seq[*Key] { return slices.Values(r.ids) }

// From returns the keys whose ids are not before id, sorted by id. The caller
// must not change the slice.
func (r *Set) From(id string) []*Key {
	i, _ := sort.Find(len(r.ids), func(i int) int { return cmp.Compare(id, r.ids[i].ID) })
	return r.ids[i:]
}

// Len returns the number of keys.
func (r *Set) Len() int { return len(r.ids) }

// duplicateError reports that two keys have one id. The store adds their sources.
type duplicateError struct {
	id      string
	sources []string
}

func (e *duplicateError) Error() string {
	message := fmt.Sprintf("key %q is defined twice", e.id)
	if len(e.sources) > 0 {
		message += ": in " + strings.Join(e.sources, " and ")
	}
	return message
}

// newSet returns a set, which takes ownership of the slices keys and admin. The
// same secret twice in one key counts once: at the end of a rotation, two files
// may hold it. newSet fails if two keys share an id or a secret, or if a key
// shares a secret with an admin key.
func newSet(keys []*Key, entries []entry, admin []Hash) (*Set, error) {
	slices.SortFunc(keys, func(a, b *Key) int { return cmp.Compare(a.ID, b.ID) })
	for i := 1; i < len(keys); i++ {
		if keys[i].ID == keys[i-1].ID {
			return nil, &duplicateError{id: keys[i].ID}
		}
	}
	r := &Set{table: make([]entry, len(entries)+len(entries)/2+1), ids: keys, admin: admin}
	for _, e := range entries {
		slot := r.slot(e.hash)
		if other := slot.key; other != nil && other != e.key {
			first, second := min(other.ID, e.key.ID), max(other.ID, e.key.ID)
			return nil, fmt.Errorf("keys %q and %q have a secret in common", first, second)
		}
		*slot = e
	}
	for _, h := range admin {
		if k := r.Lookup(h); k != nil {
			return nil, fmt.Errorf("key %q has a secret in common with an admin key", k.ID)
		}
	}
	return r, nil
}
