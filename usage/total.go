package usage

import (
	"slices"
)

// Total returns the page with all of its buckets summed up into one, from the
// start of the first to the end of the last. If the page has no buckets,
// neither has the result.
func (p *Page) Total() *Page {
	total := &Page{Object: p.Object, HasMore: p.HasMore, NextPage: p.NextPage}
	if len(p.Data) == 0 {
		return total
	}
	sum := Bucket{Object: p.Data[0].Object, StartTime: p.Data[0].StartTime, EndTime: p.Data[len(p.Data)-1].EndTime, Results: []Result{}}
	index := make(map[names]int) // in sum.Results
	for _, bucket := range p.Data {
		for _, r := range bucket.Results {
			group := r.names()
			at, known := index[group]
			if !known {
				index[group] = len(sum.Results)
				sum.Results = append(sum.Results, r.Sum(Result{}))
				continue
			}
			sum.Results[at] = sum.Results[at].Sum(r)
		}
	}
	slices.SortStableFunc(sum.Results, func(a, b Result) int {
		x, y := a.names(), b.names()
		return slices.Compare(x[:], y[:])
	})
	total.Data = []Bucket{sum}
	return total
}

// names are the labels of a result as plain strings: "" for one that is nil.
type names [5]string

func (r *Result) names() (n names) {
	for i, label := range r.labels() {
		if label != nil {
			n[i] = *label
		}
	}
	return n
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
