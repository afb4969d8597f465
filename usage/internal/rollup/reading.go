package rollup

import (
	"context"
	"fmt"
	"slices"

	"github.com/amanycodes/pine-gate/usage"
)

// maxResults is the most results of a page, so that no query takes more than
// some 50 MB: a page ends early, at the border of a bucket, rather than exceed
// it. One bucket is always answered completely.
const maxResults = 200_000

// Reading is the input of a query: the state of a ledger at one instant.
type Reading struct {
	Source  Source
	over    Range
	oldest  int64 // start of the first bucket that is kept
	series  []*Series
	pending []pending
}

// grouping assigns each series to a group, which has one sum. Group 0 collects
// the series that the filters exclude, so that the loops need no branch; its
// sum is dropped.
type grouping struct {
	groups  []Labels // by number; only the labels of the grouping are set
	of      []uint32 // group by series id; its length is a multiple of ChunkSize
	ofChunk []int64  // by chunk: the group of all its series, or mixed
}

const mixed = -1

func group(series []*Series, q *usage.Query) *grouping {
	g := &grouping{groups: make([]Labels, 1)}
	chunks := (len(series) + ChunkSize - 1) / ChunkSize
	g.of = make([]uint32, chunks*ChunkSize)
	g.ofChunk = make([]int64, chunks)

	keys, teams, models := set(q.Keys), set(q.Teams), set(q.Models)
	numbers := map[Labels]uint32{}
	for id, s := range series {
		if s == nil || !keys.has(s.Key) || !teams.has(s.Team) || !models.has(s.Model) {
			continue
		}
		labels := s.only(q.GroupBy)
		number, ok := numbers[labels]
		if !ok {
			number = uint32(len(g.groups))
			numbers[labels] = number
			g.groups = append(g.groups, labels)
		}
		g.of[id] = number
	}
	g.sort()

	for c := range g.ofChunk {
		first := true
		for id := c * ChunkSize; id < min((c+1)*ChunkSize, len(series)); id++ {
			switch {
			case series[id] == nil: // in no block that is read
			case first:
				g.ofChunk[c], first = int64(g.of[id]), false
			case int64(g.of[id]) != g.ofChunk[c]:
				g.ofChunk[c] = mixed
			}
		}
	}
	return g
}

// sort renumbers the groups in the order of their labels.
func (g *grouping) sort() {
	order := make([]uint32, len(g.groups)-1)
	for i := range order {
		order[i] = uint32(i + 1)
	}
	slices.SortFunc(order, func(a, b uint32) int { return g.groups[a].compare(&g.groups[b]) })
	renumbered := make([]uint32, len(g.groups))
	groups := make([]Labels, 1, len(g.groups))
	for _, old := range order {
		renumbered[old] = uint32(len(groups))
		groups = append(groups, g.groups[old])
	}
	for id, old := range g.of {
		g.of[id] = renumbered[old]
	}
	g.groups = groups
}

type names map[string]bool

func set(list []string) names {
	s := make(names, len(list))
	for _, name := range list {
		s[CutName(name)] = true
	}
	return s
}

func (s names) has(name string) bool { return len(s) == 0 || s[name] }

// sum adds to sums, by group, the usage of the buckets that start in [from,
// to).
func (r *Reading) sum(from, to int64, g *grouping, sums []Sample) error {
	from = max(from, r.oldest)
	if from >= to {
		return nil
	}
	for _, part := range r.pending {
		if part.start < from || part.start >= to {
			continue
		}
		for i, id := range part.ids {
			sums[g.of[id]].add(&part.samples[i])
		}
	}
	wanted := func(chunk uint32) bool { return g.ofChunk[chunk] != 0 }
	return r.Source.Scan(Range{r.over.Level, from, to}, wanted, func(chunk uint32, block []byte) {
		if group := g.ofChunk[chunk]; group == mixed {
			first := FirstOf(chunk)
			sumBlock(block, g.of[first:first+ChunkSize], sums)
		} else {
			sumWholeBlock(block, &sums[group])
		}
	})
}

// Page returns the answer to a query whose range was read.
func (r *Reading) Page(ctx context.Context, q *usage.Query) (*usage.Page, error) {
	g := group(r.series, q)
	sums := make([]Sample, len(g.groups))
	page := &usage.Page{Object: "page", Data: []usage.Bucket{}}
	results := 0
	from := r.over.From
	for from < r.over.To && (results == 0 || results+len(g.groups)-1 <= maxResults) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		next := q.Width.Next(from)
		clear(sums)
		if err := r.sum(from, next, g, sums); err != nil {
			return nil, fmt.Errorf("reading the usage of %s: %w", stamp(from), err)
		}
		bucket := usage.Bucket{Object: "bucket", StartTime: from, EndTime: next, Results: g.results(sums, q.GroupBy)}
		page.Data = append(page.Data, bucket)
		results += len(bucket.Results)
		from = next
	}
	if from < q.End.Unix() {
		next := q.PageToken(from)
		page.HasMore, page.NextPage = true, &next
	}
	return page, nil
}

func (g *grouping) results(sums []Sample, by []usage.Dimension) []usage.Result {
	n := 0
	for i := range sums[1:] {
		if sums[1+i][countRequests] > 0 {
			n++
		}
	}
	results, costs := make([]usage.Result, 0, n), make([]usage.USD, n)
	for i := 1; i < len(sums); i++ {
		if sums[i][countRequests] == 0 {
			continue
		}
		r := sums[i].result(&costs[len(results)])
		labels := &g.groups[i]
		for _, d := range by {
			switch d {
			case usage.ByKey:
				r.Key = &labels.Key
			case usage.ByTeam:
				r.Team = &labels.Team
			case usage.ByModel:
				r.Model = &labels.Model
			case usage.ByBackend:
				r.Backend = &labels.Backend
			case usage.ByEndpoint:
				r.Endpoint = &labels.Endpoint
			}
		}
		results = append(results, r)
	}
	return results
}

// Totals returns the usage of a key in the range.
func (r *Reading) Totals(key string) (usage.Totals, error) {
	g := group(r.series, &usage.Query{Keys: []string{key}})
	sums := make([]Sample, len(g.groups))
	if err := r.sum(r.over.From, r.over.To, g, sums); err != nil {
		return usage.Totals{}, fmt.Errorf("reading the usage of a key since %s: %w", stamp(r.over.From), err)
	}
	if len(sums) == 1 {
		return usage.Totals{}, nil
	}
	return sums[1].totals(), nil
}
