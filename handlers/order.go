package handlers

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// RoutePolicy is the order in which the backends of a route are tried. It orders
// all of them: where the first one has no room or fails, the next one follows.
type RoutePolicy uint8

// The policies.
const (
	PolicyFirst         RoutePolicy = iota // as written
	PolicyRoundRobin                       // each begins in turn
	PolicyWeighted                         // each begins as often as its weight says
	PolicyLeastInflight                    // the one with the fewest requests of this gate
	PolicyLowestLatency                    // the one that was quickest to the first token
	PolicySticky                           // the same one for a conversation of a key
	PolicyStickyKey                        // the same one for a key
)

// ParseRoutePolicy reads a policy and, of `sticky`, what it goes by. Neither
// needs to be there: the defaults are first and conversation.
func ParseRoutePolicy(policy, stickyBy string) (RoutePolicy, error) {
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

// order sorts the candidates as the route's policy has it. They are those of its
// targets that are left, in the order written.
func (r *Route) order(c *call, candidates []candidate) {
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
		r.rotate(candidates) // so that those which are alike take turns
		for i := range candidates {
			candidates[i].rank = candidates[i].Live.InFlight()
		}
		sortByRank(candidates)
	case PolicyLowestLatency:
		r.quickest(c, candidates)
	case PolicySticky, PolicyStickyKey:
		seed := c.stickySeed(r.Policy)
		for i := range candidates {
			candidates[i].rank = int64(mix(seed^candidates[i].target.hash) >> 1)
		}
		sortByRank(candidates)
	}
}

func sortByRank(candidates []candidate) {
	slices.SortStableFunc(candidates, func(a, b candidate) int { return cmp.Compare(a.rank, b.rank) })
}

// rotate begins with the next candidate at each call.
func (r *Route) rotate(candidates []candidate) {
	n := int((r.turn.Add(1) - 1) % uint64(len(candidates)))
	slices.Reverse(candidates[:n])
	slices.Reverse(candidates[n:])
	slices.Reverse(candidates)
}

// weigh begins with each candidate as often as its weight says, and never with
// one many times in a row where the others have their share: nginx's smooth
// weighted round robin. The others follow in the order in which their turn
// comes.
func (r *Route) weigh(candidates []candidate) {
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

// exploreEvery is how many requests there are to one that goes to a backend of
// which little is known, so that few callers pay for what is learnt.
const exploreEvery = 10

// quickest begins with the one that is quickest to the first token. One that was
// never tried comes first, once; one that was not tried for a while now and then,
// since it may have become quicker.
func (r *Route) quickest(c *call, candidates []candidate) {
	stream, mayExplore := c.request.Stream, r.turn.Add(1)%exploreEvery == 0
	explored := -1
	for i := range candidates {
		chosen := &candidates[i]
		mean, stale := chosen.Live.Latency(chosen.model, stream, c.start)
		chosen.rank = int64(mean)
		if mean == 0 {
			chosen.rank = math.MaxInt64
		}
		if explored < 0 && stale && (mean == 0 || mayExplore) && chosen.Live.Explore(chosen.model, stream, c.start) {
			explored = i
		}
	}
	if explored >= 0 {
		candidates[explored].rank = 0
	}
	sortByRank(candidates)
}

// maxStart bounds how much of a conversation's start is looked at.
const maxStart = 4 << 10 // bytes

// stickySeed is the same for all requests that shall find the same backend, in
// all gates. By it each backend draws a lot, and the highest one wins
// (rendezvous hashing, Thaler and Ravishankar 1996): where a backend leaves, only
// its own conversations move.
func (c *call) stickySeed(policy RoutePolicy) uint64 {
	seed := xxhash.Sum64String(c.key.ID)
	if policy == PolicyStickyKey {
		return seed
	}
	start := c.request.ConversationStart(c.body)
	return mix(seed) ^ xxhash.Sum64(start[:min(len(start), maxStart)])
}

// mix spreads the bits of a number over all of it (the finalizer of SplitMix64,
// Steele, Lea and Flood 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
