package store

import (
	"context"
	"time"

	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// quotaUsed returns the usage of a quota since the given time, summed up from
// the ledger.
func quotaUsed(ledger usage.Ledger, rule *limiter.Rule, since time.Time) (int64, error) {
	query := usage.Query{Start: since, End: time.Now().Add(time.Second), Width: usage.Day, Limit: 31}
	match := func(usage.Result) bool { return true }
	switch rule.Kind {
	case limiter.ScopeKey:
		query.Keys = []string{rule.ID}
	case limiter.ScopeTeam:
		query.Teams = []string{rule.ID}
	case limiter.ScopeModel:
		query.GroupBy = []usage.Dimension{usage.ByModel}
		p, err := pattern.Parse(rule.ID)
		if err != nil {
			return 0, err
		}
		match = func(r usage.Result) bool { return p.Match(*r.Model) }
	case limiter.ScopeBackend:
		query.GroupBy = []usage.Dimension{usage.ByBackend}
		match = func(r usage.Result) bool { return *r.Backend == rule.ID }
	}
	var used int64
	for more := true; more; { // thousands of models make more than one page
		page, err := ledger.Query(context.Background(), query)
		if err != nil {
			return 0, err
		}
		for _, bucket := range page.Data {
			query.Start = time.Unix(bucket.EndTime, 0)
			for _, result := range bucket.Results {
				if match(result) {
					used += inUnit(rule.Limit.Unit, result)
				}
			}
		}
		more = page.HasMore
	}
	return used, nil
}

// inUnit returns how much of a result a limit in the unit counts.
func inUnit(unit limiter.Unit, r usage.Result) int64 {
	if unit == limiter.Requests {
		return r.Requests
	}
	used := limiter.Usage{Dispatched: true, Input: r.InputTokens, Output: r.OutputTokens}
	if r.CostUSD != nil {
		used.Cost = int64(*r.CostUSD)
	}
	return used.Charge(unit)
}
