package usage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// maxResults bounds the results of a page, so that no query takes more than
// some 50 MB: a page ends early, on the border of a bucket, rather than go
// beyond. One bucket is always answered whole.
const maxResults = 200_000

// source is where a query reads blocks.
type source interface {
	// scan calls f with the blocks of a level whose buckets start in
	// [from, to), of the chunks that are wanted. A block must not be used after
	// f returned.
	scan(l level, from, to int64, f func(chunk uint32, block []byte), wanted func(chunk uint32) bool) error
}

// reading is what a query works on: a ledger at one instant.
type reading struct {
	source
	level  level
	oldest int64 // start of the first bucket that is kept
	tuples []*entry
	loose  []loose
}

// grouping says which sum each tuple belongs to. Sum 0 is thrown away: it takes
// what the filters leave out, without a branch in the loops.
type grouping struct {
	groups []tuple  // by number; those names that are grouped by
	of     []uint32 // group by tuple id, a whole number of chunks long
	whole  []int64  // by chunk: the group of all its tuples, or mixed
}

const mixed = -1

func group(tuples []*entry, q *Query) *grouping {
	g := &grouping{groups: make([]tuple, 1)}
	chunks := (len(tuples) + chunkSize - 1) / chunkSize
	g.of = make([]uint32, chunks*chunkSize)
	g.whole = make([]int64, chunks)

	keys, teams, models := set(q.Keys), set(q.Teams), set(q.Models)
	numbers := map[tuple]uint32{}
	for id, e := range tuples {
		if e == nil || !keys.has(e.key) || !teams.has(e.team) || !models.has(e.model) {
			continue
		}
		name := e.tuple.only(q.GroupBy)
		number, ok := numbers[name]
		if !ok {
			number = uint32(len(g.groups))
			numbers[name] = number
			g.groups = append(g.groups, name)
		}
		g.of[id] = number
	}
	g.sort()

	for c := range g.whole {
		first := true
		for id := c * chunkSize; id < min((c+1)*chunkSize, len(tuples)); id++ {
			switch {
			case tuples[id] == nil: // in no block that is read
			case first:
				g.whole[c], first = int64(g.of[id]), false
			case int64(g.of[id]) != g.whole[c]:
				g.whole[c] = mixed
			}
		}
	}
	return g
}

// sort numbers the groups in the order of their names.
func (g *grouping) sort() {
	order := make([]uint32, len(g.groups)-1)
	for i := range order {
		order[i] = uint32(i + 1)
	}
	slices.SortFunc(order, func(a, b uint32) int { return g.groups[a].compare(g.groups[b]) })
	renumbered := make([]uint32, len(g.groups))
	groups := make([]tuple, 1, len(g.groups))
	for _, old := range order {
		renumbered[old] = uint32(len(groups))
		groups = append(groups, g.groups[old])
	}
	for id, old := range g.of {
		g.of[id] = renumbered[old]
	}
	g.groups = groups
}

// only is the tuple with the names of some dimensions, the others empty.
func (t tuple) only(by []Dimension) (u tuple) {
	for _, d := range by {
		switch d {
		case ByKey:
			u.key = t.key
		case ByTeam:
			u.team = t.team
		case ByModel:
			u.model = t.model
		case ByBackend:
			u.backend = t.backend
		case ByEndpoint:
			u.endpoint = t.endpoint
		}
	}
	return u
}

func (t tuple) compare(u tuple) int {
	return cmp.Or(cmp.Compare(t.key, u.key), cmp.Compare(t.team, u.team), cmp.Compare(t.model, u.model),
		cmp.Compare(t.backend, u.backend), cmp.Compare(t.endpoint, u.endpoint))
}

type names map[string]bool

func set(list []string) names {
	s := make(names, len(list))
	for _, name := range list {
		s[cut(name)] = true
	}
	return s
}

func (s names) has(name string) bool { return len(s) == 0 || s[name] }

// sum adds to sums, by group, what was used in the buckets that start in
// [from, to).
func (r *reading) sum(from, to int64, g *grouping, sums []counters) error {
	from = max(from, r.oldest)
	if from >= to {
		return nil
	}
	for _, part := range r.loose {
		if part.start < from || part.start >= to {
			continue
		}
		for i, id := range part.ids {
			sums[g.of[id]].add(&part.cells[i])
		}
	}
	return r.scan(r.level, from, to, func(number uint32, block []byte) {
		if whole := g.whole[number]; whole == mixed {
			first := number << chunkBits
			sumBlock(block, g.of[first:first+chunkSize], sums)
		} else {
			sumWholeBlock(block, &sums[whole])
		}
	}, func(number uint32) bool { return g.whole[number] != 0 })
}

// page answers a query that was resolved, up to the bucket before to.
func (r *reading) page(ctx context.Context, q *Query, to int64) (*Page, error) {
	g := group(r.tuples, q)
	sums := make([]counters, len(g.groups))
	page := &Page{Object: "page", Data: []Bucket{}}
	results := 0
	from := q.Start.Unix()
	for from < to && (results == 0 || results+len(g.groups)-1 <= maxResults) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		next := q.Width.next(from)
		clear(sums)
		if err := r.sum(from, next, g, sums); err != nil {
			return nil, fmt.Errorf("reading the usage of %s: %w", stamp(from), err)
		}
		bucket := Bucket{Object: "bucket", StartTime: from, EndTime: next, Results: g.results(sums, q.GroupBy)}
		page.Data = append(page.Data, bucket)
		results += len(bucket.Results)
		from = next
	}
	if end := q.End.Unix(); from < end {
		next := cursor{q.Width, from, end}.String()
		page.HasMore, page.NextPage = true, &next
	}
	return page, nil
}

func (g *grouping) results(sums []counters, by []Dimension) []Result {
	n := 0
	for i := range sums[1:] {
		if sums[1+i][countRequests] > 0 {
			n++
		}
	}
	results, costs := make([]Result, 0, n), make([]USD, n)
	for i := 1; i < len(sums); i++ {
		c := &sums[i]
		if c[countRequests] == 0 {
			continue
		}
		r := Result{
			Object:            "usage.result",
			Requests:          c[countRequests],
			Errors:            c[countErrors],
			InputTokens:       c[countInput],
			CachedTokens:      c[countCached],
			CacheWriteTokens:  c[countCacheWrite],
			OutputTokens:      c[countOutput],
			ReasoningTokens:   c[countReasoning],
			EstimatedRequests: c[countEstimated],
			UnpricedRequests:  c[countUnpriced],
		}
		if r.Requests > r.UnpricedRequests {
			cost := &costs[len(results)]
			*cost = USD(c[countCost])
			r.CostUSD = cost
		}
		name := &g.groups[i]
		for _, d := range by {
			switch d {
			case ByKey:
				r.Key = &name.key
			case ByTeam:
				r.Team = &name.team
			case ByModel:
				r.Model = &name.model
			case ByBackend:
				r.Backend = &name.backend
			case ByEndpoint:
				r.Endpoint = &name.endpoint
			}
		}
		results = append(results, r)
	}
	return results
}

// totals sums up what a key used from a day on.
func (r *reading) totals(key string, since time.Time) (Totals, error) {
	g := group(r.tuples, &Query{Keys: []string{key}})
	sums := make([]counters, len(g.groups))
	if err := r.sum(floor(max(0, since.Unix()), 86400), maxUnix+1, g, sums); err != nil {
		return Totals{}, fmt.Errorf("reading the usage of a key since %s: %w", stamp(since.Unix()), err)
	}
	if len(sums) == 1 {
		return Totals{}, nil
	}
	c := &sums[1]
	return Totals{
		Requests:          c[countRequests],
		Errors:            c[countErrors],
		InputTokens:       c[countInput],
		CachedTokens:      c[countCached],
		CacheWriteTokens:  c[countCacheWrite],
		OutputTokens:      c[countOutput],
		ReasoningTokens:   c[countReasoning],
		EstimatedRequests: c[countEstimated],
		UnpricedRequests:  c[countUnpriced],
		Cost:              USD(c[countCost]),
	}, nil
}
