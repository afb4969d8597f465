package routing

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Policy is the order in which the backends of a route are tried. It orders all
// of them: if the first one has no room or fails, the next one is tried.
type Policy uint8

// The policies.
const (
	PolicyFirst         Policy = iota // as written
	PolicyRoundRobin                  // each in turn
	PolicyWeighted                    // each in proportion to its weight
	PolicyLeastInflight               // the one with the fewest requests of this gate
	PolicyLowestLatency               // the quickest to the first token
	PolicySticky                      // the same one for a conversation of a key
	PolicyStickyKey                   // the same one for a key
)

// ParsePolicy parses a policy and, for `sticky`, what requests are hashed by.
// Both may be empty: the defaults are first and conversation.
func ParsePolicy(policy, stickyBy string) (Policy, error) {
	if stickyBy != "" && policy != "sticky" {
		return 0, fmt.Errorf("sticky by %s, and its policy is not sticky", stickyBy)
	}
	switch policy {
	case "", "first":
		return PolicyFirst, nil
	case "round_robin":
		return PolicyRoundRobin, nil
	case "weighted":
		return PolicyWeighted, nil
	case "least_inflight":
		return PolicyLeastInflight, nil
	case "lowest_latency":
		return PolicyLowestLatency, nil
	case "sticky":
		switch stickyBy {
		case "", "conversation":
			return PolicySticky, nil
		case "key":
			return PolicyStickyKey, nil
		}
		return 0, fmt.Errorf("unknown word %q: expected sticky, sticky conversation or sticky key", stickyBy)
	}
	return 0, fmt.Errorf("unknown word %q: expected first, round_robin, weighted, least_inflight, lowest_latency or sticky", policy)
}

// sort sorts candidates by the route's policy. They are some of its targets, in
// the order written.
func (r *Route) sort(candidates []Candidate, q *Request) {
	if len(candidates) < 2 {
		return
	}
	switch r.Policy {
	case PolicyFirst:
	case PolicyRoundRobin:
		r.rotate(candidates)
	case PolicyWeighted:
		r.weigh(candidates)
	case PolicyLeastInflight:
		r.rotate(candidates) // so that equals take turns
		for i := range candidates {
			candidates[i].rank = candidates[i].State.InFlight()
		}
		sortByRank(candidates)
	case PolicyLowestLatency:
		r.sortByLatency(candidates, q)
	case PolicySticky, PolicyStickyKey:
		seed := q.stickySeed(r.Policy)
		for i := range candidates {
			candidates[i].rank = int64(mix(seed^candidates[i].target.hash) >> 1)
		}
		sortByRank(candidates)
	}
}

func sortByRank(candidates []Candidate) {
	slices.SortStableFunc(candidates, func(a, b Candidate) int { return cmp.Compare(a.rank, b.rank) })
}

// rotate puts the candidates first in turn, another one at each call.
func (r *Route) rotate(candidates []Candidate) {
	n := int((r.turn.Add(1) - 1) % uint64(len(candidates)))
	slices.Reverse(candidates[:n])
	slices.Reverse(candidates[n:])
	slices.Reverse(candidates)
}

// weigh puts each candidate first in proportion to its weight, and spreads its
// turns evenly: nginx's smooth weighted round robin. The others follow in the
// order of their next turns.
func (r *Route) weigh(candidates []Candidate) {
	r.balance.Lock()
	total, best := int64(0), 0
	for i := range candidates {
		t := candidates[i].target
		r.balances[t.index] += t.Weight
		total += t.Weight
		candidates[i].rank = -r.balances[t.index]
		if candidates[i].rank < candidates[best].rank {
			best = i
		}
	}
	r.balances[candidates[best].target.index] -= total
	r.balance.Unlock()
	sortByRank(candidates)
}

// exploreEvery is the number of requests for each one that may go to a backend
// with a stale latency, so that few callers pay for measuring it.
const exploreEvery = 10

// sortByLatency sorts candidates by their time to the first token. A candidate
// that was never tried comes first once; one that was not tried for a while
// comes first now and then, since it may have become faster.
func (r *Route) sortByLatency(candidates []Candidate, q *Request) {
	mayExplore := r.turn.Add(1)%exploreEvery == 0
	explored := -1
	for i := range candidates {
		c := &candidates[i]
		mean, stale := c.State.Latency(c.Model, q.Stream, q.Start)
		c.rank = int64(mean)
		if mean == 0 {
			c.rank = math.MaxInt64
		}
		if explored < 0 && stale && (mean == 0 || mayExplore) && c.State.Explore(c.Model, q.Stream, q.Start) {
			explored = i
		}
	}
	if explored >= 0 {
		candidates[explored].rank = 0
	}
	sortByRank(candidates)
}
