package keys

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"sort"
	"strings"
)

// Ring is a snapshot of all keys. It is immutable, so a request that took one
// sees one state of all keys from its start to its end.
//
// Hashes are uniform, so the leading bits of one are the bucket that it stands
// in: one sorted slice and the bounds of its buckets take less memory than a
// map, and a look-up touches two cache lines.
type Ring struct {
	entries []entry  // sorted by hash
	bounds  []uint32 // bucket b is entries[bounds[b]:bounds[b+1]]
	shift   int      // from the first 32 bits of a hash to its bucket
	ids     []*Key   // sorted by id
	admin   []Hash
}

// entry is one secret of a key.
type entry struct {
	hash Hash
	key  *Key
}

// Lookup returns the key that a secret belongs to, or nil. Each candidate is
// compared whole and in constant time.
func (r *Ring) Lookup(h Hash) *Key {
	bucket := binary.BigEndian.Uint32(h[:]) >> r.shift
	for i := r.bounds[bucket]; i < r.bounds[bucket+1]; i++ {
		if e := &r.entries[i]; e.hash.Equal(h) {
			return e.key
		}
	}
	return nil
}

// Admin tells whether a secret is one of the admin keys. All of them are
// compared, each in constant time.
func (r *Ring) Admin(h Hash) bool {
	found := false
	for i := range r.admin {
		found = r.admin[i].Equal(h) || found
	}
	return found
}

// HasAdmin tells whether there is any admin key.
func (r *Ring) HasAdmin() bool { return len(r.admin) > 0 }

// ByID returns the key of an id, or nil.
func (r *Ring) ByID(id string) *Key {
	i, found := sort.Find(len(r.ids), func(i int) int { return cmp.Compare(id, r.ids[i].ID) })
	if !found {
		return nil
	}
	return r.ids[i]
}

// All returns the keys in the order of their ids.
func (r *Ring) All() iter.Seq[*Key] { return slices.Values(r.ids) }

// Len returns the number of keys.
func (r *Ring) Len() int { return len(r.ids) }

// duplicateError is two keys of one id. Who knows their sources adds them.
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

// newRing makes a ring, and takes over the slices that it is made of. The same
// secret twice in one key is one: while a rotation ends, two files may hold the
// same. It fails where two keys share an id or a secret, or a key and an admin
// key do: which one a caller means could not be told.
func newRing(keys []*Key, entries []entry, admin []Hash) (*Ring, error) {
	slices.SortFunc(keys, func(a, b *Key) int { return cmp.Compare(a.ID, b.ID) })
	for i := 1; i < len(keys); i++ {
		if keys[i].ID == keys[i-1].ID {
			return nil, &duplicateError{id: keys[i].ID}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return a.hash.compare(b.hash) })
	for i := 1; i < len(entries); i++ {
		if a, b := entries[i-1], entries[i]; a.hash == b.hash && a.key != b.key {
			first, second := min(a.key.ID, b.key.ID), max(a.key.ID, b.key.ID)
			return nil, fmt.Errorf("keys %q and %q have a secret in common", first, second)
		}
	}
	r := &Ring{
		entries: slices.CompactFunc(entries, func(a, b entry) bool { return a.hash == b.hash }),
		ids:     keys,
		admin:   admin,
	}
	r.index()
	for _, h := range admin {
		if k := r.Lookup(h); k != nil {
			return nil, fmt.Errorf("key %q has a secret in common with an admin key", k.ID)
		}
	}
	return r, nil
}

// index finds the bounds of the buckets: as many as the next power of two
// above the number of entries, so that a bucket holds one entry or less on
// average.
func (r *Ring) index() {
	width := bits.Len(uint(len(r.entries)))
	r.shift = 32 - width
	r.bounds = make([]uint32, 1<<width+1)
	for i := range r.entries {
		r.bounds[binary.BigEndian.Uint32(r.entries[i].hash[:])>>r.shift+1]++
	}
	for b := 1; b < len(r.bounds); b++ {
		r.bounds[b] += r.bounds[b-1]
	}
}
