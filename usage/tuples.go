package usage

import (
	"strings"
	"unicode/utf8"
)

const (
	// maxTuples bounds the tuples of one key: models are what callers say, and
	// a backend that serves `*` lets them say anything.
	maxTuples = 4096

	// otherModel stands for the models that a key has asked for beyond them.
	otherModel = "other"

	// maxName bounds a name in bytes; a longer one is cut.
	maxName = 256
)

// tuple is what usage can be grouped by.
type tuple struct {
	key, team, model, backend, endpoint string
}

// entry is a tuple with the small number that stands for it in cells and
// blocks.
type entry struct {
	tuple
	id      uint32
	lastDay int64 // start of the latest day that it was used in, unix seconds
	changed bool  // not yet handed to a batch

	// Where its cells are, so that a known tuple is counted without a look-up.
	places [numLevels]place
}

// place is where the open batch holds the cell of a tuple.
type place struct {
	batch uint64 // number of the batch that it holds for
	start int64  // of the bucket
	delta *delta
	index uint32
}

// tuples knows the tuples by name and by id. Ids are given out in order and
// never again.
type tuples struct {
	byName map[tuple]*entry
	byID   []*entry // nil where a tuple was forgotten; never changed in place but by append
	perKey map[string]int
}

func newTuples() tuples {
	return tuples{byName: map[tuple]*entry{}, perKey: map[string]int{}}
}

// find returns the entry of a record's tuple and makes it where there is none.
func (t *tuples) find(r *Record) *entry {
	name := tuple{cut(r.Key), cut(r.Team), cut(r.Model), cut(r.Backend), cut(r.Endpoint)}
	if e, ok := t.byName[name]; ok {
		return e
	}
	if t.perKey[name.key] >= maxTuples {
		name.model = otherModel
		if e, ok := t.byName[name]; ok {
			return e
		}
	}
	// Cloned: the names may be parts of something large, such as a body.
	name = tuple{strings.Clone(name.key), strings.Clone(name.team), strings.Clone(name.model), strings.Clone(name.backend), strings.Clone(name.endpoint)}
	return t.put(uint32(len(t.byID)), name)
}

// put adds a tuple under an id that is not in use.
func (t *tuples) put(id uint32, name tuple) *entry {
	e := t.putOld(id, name)
	t.byName[name] = e
	t.perKey[name.key]++
	return e
}

// putOld adds one of a run that has ended: nothing is counted for it any more.
func (t *tuples) putOld(id uint32, name tuple) *entry {
	e := &entry{tuple: name, id: id, lastDay: -1}
	t.reserve(id)
	if int(id) < len(t.byID) {
		t.byID[id] = e
	} else {
		t.byID = append(t.byID, e)
	}
	return e
}

// begin gives all tuples new ids from now on, from the given one.
func (t *tuples) begin(first uint32) {
	t.reserve(first)
	t.byName, t.perKey = map[tuple]*entry{}, map[string]int{}
}

// reserve makes sure that ids below the given one are not given out.
func (t *tuples) reserve(id uint32) {
	for uint32(len(t.byID)) < id {
		t.byID = append(t.byID, nil)
	}
}

// forget drops the tuples that were last used before a day, and returns their
// ids.
func (t *tuples) forget(day int64) []uint32 {
	var ids []uint32
	for _, e := range t.byID {
		if e != nil && e.lastDay < day {
			ids = append(ids, e.id)
		}
	}
	if ids == nil {
		return nil
	}
	// A copy: queries that run hold the old one.
	t.byID = append([]*entry(nil), t.byID...)
	for _, id := range ids {
		e := t.byID[id]
		t.byID[id] = nil
		if t.byName[e.tuple] != e { // of a run that has ended
			continue
		}
		delete(t.byName, e.tuple)
		if t.perKey[e.key]--; t.perKey[e.key] == 0 {
			delete(t.perKey, e.key)
		}
	}
	return ids
}

func cut(name string) string {
	if len(name) <= maxName {
		return name
	}
	n := maxName
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}
