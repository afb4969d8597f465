package usage

import (
	"cmp"
	"slices"
)

// Total returns the page with all of its buckets summed up into one, from the
// start of the first to the end of the last. A page without buckets has none.
func (p *Page) Total() *Page {
	total := &Page{Object: p.Object, HasMore: p.HasMore, NextPage: p.NextPage}
	if len(p.Data) == 0 {
		return total
	}
	sum := Bucket{Object: p.Data[0].Object, StartTime: p.Data[0].StartTime, EndTime: p.Data[len(p.Data)-1].EndTime, Results: []Result{}}
	places := make(map[tuple]int)
	for _, bucket := range p.Data {
		for _, r := range bucket.Results {
			name := r.tuple()
			at, known := places[name]
			if !known {
				places[name] = len(sum.Results)
				sum.Results = append(sum.Results, r.Sum(Result{}))
				continue
			}
			sum.Results[at] = sum.Results[at].Sum(r)
		}
	}
	slices.SortStableFunc(sum.Results, func(a, b Result) int {
		x, y := a.tuple(), b.tuple()
		return cmp.Or(cmp.Compare(x.key, y.key), cmp.Compare(x.team, y.team), cmp.Compare(x.model, y.model),
			cmp.Compare(x.backend, y.backend), cmp.Compare(x.endpoint, y.endpoint))
	})
	total.Data = []Bucket{sum}
	return total
}

// tuple is what the result is grouped by.
func (r *Result) tuple() tuple {
	text := func(label *string) string {
		if label == nil {
			return ""
		}
		return *label
	}
	return tuple{text(r.Key), text(r.Team), text(r.Model), text(r.Backend), text(r.Endpoint)}
}

// Sum returns the sum of two results, with the labels of the first.
func (r Result) Sum(other Result) Result {
	r.Requests += other.Requests
	r.Errors += other.Errors
	r.InputTokens += other.InputTokens
	r.CachedTokens += other.CachedTokens
	r.CacheWriteTokens += other.CacheWriteTokens
	r.OutputTokens += other.OutputTokens
	r.ReasoningTokens += other.ReasoningTokens
	r.EstimatedRequests += other.EstimatedRequests
	r.UnpricedRequests += other.UnpricedRequests
	if other.CostUSD != nil {
		cost := *other.CostUSD
		if r.CostUSD != nil {
			cost += *r.CostUSD
		}
		r.CostUSD = &cost
	}
	return r
}
