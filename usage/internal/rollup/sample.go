package rollup

import "github.com/amanycodes/pine-gate/usage"

// Sample is the usage of a series in one bucket, indexed by the constants
// below. It is an array and not a struct, so that blocks can treat it as
// columns. No counter is ever negative.
type Sample [numCounters]int64

const (
	countRequests = iota
	countErrors
	countInput
	countCached
	countCacheWrite
	countOutput
	countReasoning
	countEstimated
	countUnpriced
	countCost // nano-USD
	numCounters
)

func (s *Sample) add(t *Sample) {
	for i, n := range t {
		s[i] += n
	}
}

// sampleOf returns the sample that a record adds to its buckets.
func sampleOf(r *usage.Record) Sample {
	s := Sample{
		countRequests:   1,
		countInput:      r.Input,
		countCached:     r.CacheRead,
		countCacheWrite: r.CacheWrite,
		countOutput:     r.Output,
		countReasoning:  r.Reasoning,
	}
	if r.Outcome.Failed() {
		s[countErrors] = 1
	}
	if r.Estimated {
		s[countEstimated] = 1
	}
	if r.Priced {
		s[countCost] = r.CostNano
	} else {
		s[countUnpriced] = 1
	}
	return s
}

func (s *Sample) totals() usage.Totals {
	return usage.Totals{
		Requests:          s[countRequests],
		Errors:            s[countErrors],
		InputTokens:       s[countInput],
		CachedTokens:      s[countCached],
		CacheWriteTokens:  s[countCacheWrite],
		OutputTokens:      s[countOutput],
		ReasoningTokens:   s[countReasoning],
		EstimatedRequests: s[countEstimated],
		UnpricedRequests:  s[countUnpriced],
		Cost:              usage.USD(s[countCost]),
	}
}

// result returns the sample as a result without labels. It stores the cost in
// *cost, so that a page of results needs one allocation for all costs.
func (s *Sample) result(cost *usage.USD) usage.Result {
	r := usage.Result{
		Object:            "usage.result",
		Requests:          s[countRequests],
		Errors:            s[countErrors],
		InputTokens:       s[countInput],
		CachedTokens:      s[countCached],
		CacheWriteTokens:  s[countCacheWrite],
		OutputTokens:      s[countOutput],
		ReasoningTokens:   s[countReasoning],
		EstimatedRequests: s[countEstimated],
		UnpricedRequests:  s[countUnpriced],
	}
	if r.Requests > r.UnpricedRequests {
		*cost = usage.USD(s[countCost])
		r.CostUSD = cost
	}
	return r
}
