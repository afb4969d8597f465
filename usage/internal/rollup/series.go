package rollup

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"github.com/amanycodes/pine-gate/usage"
)

const (
	// maxSeries is the most series of one key: callers choose the model names,
	// and a backend that serves `*` accepts any name.
	maxSeries = 4096

	// otherModel replaces the names of models that a key requests beyond
	// maxSeries.
	otherModel = "other"

	// maxName is the length of the longest label in bytes; longer ones are cut.
	maxName = 256
)

// Labels identify a series. Usage can be grouped by them.
type Labels struct {
	Key, Team, Model, Backend, Endpoint string
}

// only returns the labels of the given dimensions, and leaves the others
// empty.
func (l Labels) only(by []usage.Dimension) (o Labels) {
	for _, d := range by {
		switch d {
		case usage.ByKey:
			o.Key = l.Key
		case usage.ByTeam:
			o.Team = l.Team
		case usage.ByModel:
			o.Model = l.Model
		case usage.ByBackend:
			o.Backend = l.Backend
		case usage.ByEndpoint:
			o.Endpoint = l.Endpoint
		}
	}
	return o
}

func (l *Labels) compare(o *Labels) int {
	return cmp.Or(cmp.Compare(l.Key, o.Key), cmp.Compare(l.Team, o.Team), cmp.Compare(l.Model, o.Model),
		cmp.Compare(l.Backend, o.Backend), cmp.Compare(l.Endpoint, o.Endpoint))
}

// SeriesRow is a series as a ledger stores it.
type SeriesRow struct {
	Labels
	ID      uint32 // identifies the series in samples and blocks
	LastDay int64  // start of the latest day with a sample, unix seconds
}

// Series represents the samples with one set of labels, over time.
type Series struct {
	SeriesRow
	changed bool // not yet passed to a batch

	// The positions of its samples in the open batch. With them, a record of a
	// known series needs no look-up.
	positions [NumLevels]position
}

// position is the position of a sample of a series in the open batch.
type position struct {
	batch uint64 // number of the batch for which the position is valid
	start int64  // of the bucket
	delta *delta
	index uint32
}

// seriesIndex holds the series by labels and by id. Ids ascend and are never
// reused.
type seriesIndex struct {
	byLabels map[Labels]*Series
	byID     []*Series // nil where a series was dropped; modified by append only, otherwise copied
	perKey   map[string]int
}

func newSeriesIndex() seriesIndex {
	return seriesIndex{byLabels: map[Labels]*Series{}, perKey: map[string]int{}}
}

// find returns the series of a record, which it adds if it is new.
func (x *seriesIndex) find(r *usage.Record) *Series {
	labels := Labels{CutName(r.Key), CutName(r.Team), CutName(r.Model), CutName(r.Backend), CutName(r.Endpoint)}
	if s, ok := x.byLabels[labels]; ok {
		return s
	}
	if x.perKey[labels.Key] >= maxSeries {
		labels.Model = otherModel
		if s, ok := x.byLabels[labels]; ok {
			return s
		}
	}
	// Clone, since the names may be parts of a large string, such as a body.
	labels = Labels{strings.Clone(labels.Key), strings.Clone(labels.Team), strings.Clone(labels.Model), strings.Clone(labels.Backend), strings.Clone(labels.Endpoint)}
	return x.add(SeriesRow{labels, uint32(len(x.byID)), -1})
}

// add adds a series under an id that is not in use.
func (x *seriesIndex) add(row SeriesRow) *Series {
	s := x.addOld(row)
	x.byLabels[row.Labels] = s
	x.perKey[row.Key]++
	return s
}

// addOld adds a series of a generation that has ended: it receives no more
// samples.
func (x *seriesIndex) addOld(row SeriesRow) *Series {
	s := &Series{SeriesRow: row}
	x.reserve(row.ID)
	if int(row.ID) < len(x.byID) {
		x.byID[row.ID] = s
	} else {
		x.byID = append(x.byID, s)
	}
	return s
}

// renew drops the index by labels, so that all labels get new series with ids
// from first on.
func (x *seriesIndex) renew(first uint32) {
	x.reserve(first)
	x.byLabels, x.perKey = map[Labels]*Series{}, map[string]int{}
}

// reserve ensures that no new series gets an id below id.
func (x *seriesIndex) reserve(id uint32) {
	for uint32(len(x.byID)) < id {
		x.byID = append(x.byID, nil)
	}
}

// drop removes the series without a sample since day, and returns their ids.
func (x *seriesIndex) drop(day int64) []uint32 {
	var ids []uint32
	for _, s := range x.byID {
		if s != nil && s.LastDay < day {
			ids = append(ids, s.ID)
		}
	}
	if ids == nil {
		return nil
	}
	// Copy, because running queries hold the old slice.
	x.byID = append([]*Series(nil), x.byID...)
	for _, id := range ids {
		s := x.byID[id]
		x.byID[id] = nil
		if x.byLabels[s.Labels] != s { // of a generation that has ended
			continue
		}
		delete(x.byLabels, s.Labels)
		if x.perKey[s.Key]--; x.perKey[s.Key] == 0 {
			delete(x.perKey, s.Key)
		}
	}
	return ids
}

// CutName returns a label cut to the length that ledgers keep.
func CutName(name string) string {
	if len(name) <= maxName {
		return name
	}
	n := maxName
	for n > 0 && !utf8.RuneStart(name[n]) {
		n--
	}
	return name[:n]
}
