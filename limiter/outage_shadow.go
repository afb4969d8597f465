package limiter

import (
	"context"
	"errors"
	"sync"
	"time"
)

// unknownBudget is the part of a gate's share of a budget that it may spend where it knows nothing of
// what others have spent: one in so many.
const unknownBudget = 10

// shadow is a gate's share of all limits while the store is away: counters in memory, by rules whose
// amounts are divided by the number of gates.
type shadow struct {
	memory *Memory
	share  int64 // over how many gates limits are divided
	known  *lastStates
	seed   Seed

	mu       sync.RWMutex // guards what follows; taken before the memory's locks
	scaled   map[*Rule]*Rule
	original map[*Rule]*Rule     // by the scaled one
	begun    map[string]struct{} // names of rates whose level was set
	charged  map[string]*Rule    // quotas that Redis was told of and may not know
}

func newShadow(share int, known *lastStates, seed Seed) *shadow {
	s := &shadow{
		share: int64(max(share, 1)), known: known, seed: seed,
		scaled: make(map[*Rule]*Rule), original: make(map[*Rule]*Rule),
		begun: make(map[string]struct{}), charged: make(map[string]*Rule),
	}
	s.memory = NewMemory(MemoryOptions{Seed: s.used})
	return s
}

// rule returns the share of a rule.
func (s *shadow) rule(r *Rule) *Rule {
	if scaled := s.ruled(r); scaled != nil {
		return scaled
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if scaled := s.scaled[r]; scaled != nil {
		return scaled
	}
	share := s.newShare(r)
	s.scaled[r] = share
	return share
}

// ruled returns the share of a rule that there is already, else nil.
func (s *shadow) ruled(r *Rule) *Rule {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.scaled[r]
}

// newShare makes the share of a rule. It must be called with s.mu held.
func (s *shadow) newShare(r *Rule) *Rule {
	share := *r
	share.Limit.Amount = max(r.Limit.Amount/s.share, 1)
	if r.Limit.Window.Rate() {
		share.Limit.Burst = max(r.Limit.Capacity()/s.share, 1)
	}
	s.original[&share] = r
	if _, begun := s.begun[r.name]; r.Limit.Window.Rate() && !begun {
		s.begun[r.name] = struct{}{}
		if last, known := s.known.of(r); known {
			s.memory.setLevel(&share, last.level(r.Limit)/s.share)
		}
	}
	return &share
}

func (s *shadow) rules(all []*Rule) []*Rule {
	scaled := make([]*Rule, len(all))
	for i, r := range all {
		scaled[i] = s.rule(r)
	}
	return scaled
}

// asked returns the rule of which one is the share.
func (s *shadow) asked(scaled *Rule) *Rule {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.original[scaled]
}

// setLevel sets the level of a rate that was not used yet.
func (m *Memory) setLevel(r *Rule, level int64) {
	var locks shardSet
	locks.add(r)
	now := m.instant()
	m.lock(&locks)
	defer m.unlock(&locks)
	b := m.shard(r).get(r, now).(*bucket)
	b.level, b.fraction = min(level, b.capacity), 0
}

// used is the seed of a quota's share: what leaves of it the gate's part of what is left of the quota.
func (s *shadow) used(scaled *Rule, since time.Time) (int64, error) {
	r := s.asked(scaled)
	left := r.Limit.Amount
	last, known := s.known.of(r)
	switch {
	case known && last.window == since.UnixNano():
		left = max(last.room, 0)
	case known && last.window < since.UnixNano(): // it has turned: nothing is used yet
	default:
		if s.seed != nil {
			used, err := s.seed(r, since)
			if err != nil {
				return 0, err
			}
			left -= min(clamp(used), left)
		}
		if r.Limit.Unit == USD && s.share > 1 {
			left /= unknownBudget
		}
	}
	return max(scaled.Limit.Amount-left/s.share, 0), nil
}

func (s *shadow) reserve(g *Guarded, req Request) (Reservation, error) {
	share := req
	share.Rules = s.rules(req.Rules)
	share.Candidates = make([][]*Rule, len(req.Candidates))
	for i, rules := range req.Candidates {
		share.Candidates[i] = s.rules(rules)
	}
	inner, err := s.memory.Reserve(context.Background(), share)
	if err != nil {
		return nil, s.refused(err, &req)
	}
	res := &shadowReservation{guard: g, shadow: s, req: req, inner: inner.(*reservation)}
	g.open.add(res)
	return res, nil
}

// peek looks at shares. Those of rules that no request has asked for are forgotten again: who lists
// limits makes rules as it goes, and an outage may last.
func (s *shadow) peek(ctx context.Context, rules []*Rule) ([]State, error) {
	scaled := make([]*Rule, len(rules))
	var passing []*Rule
	for i, r := range rules {
		if scaled[i] = s.ruled(r); scaled[i] == nil {
			s.mu.Lock()
			scaled[i] = s.newShare(r)
			s.mu.Unlock()
			passing = append(passing, scaled[i])
		}
	}
	all, err := s.memory.Peek(ctx, scaled)
	all = s.states(all)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, share := range passing {
		delete(s.original, share)
	}
	return all, err
}

// states tells what is left of a share as of the limit that it is a share of.
func (s *shadow) states(all []State) []State {
	for i := range all {
		all[i].Rule = s.asked(all[i].Rule)
		all[i].Limit = all[i].Rule.Limit.Amount
		all[i].Used = 0 // of a share, it is nothing that a caller could compare
	}
	return all
}

// refused tells a refusal by a share as one by the limit. A request that is too large for the share
// and not for the limit may come again.
func (s *shadow) refused(err error, req *Request) error {
	refusal := new(Refusal)
	if !errors.As(err, &refusal) {
		return err
	}
	r := s.asked(refusal.Rule)
	l := r.Limit
	refusal.Used = max(l.Amount, l.Capacity()) - refusal.Remaining
	refusal.Rule, refusal.Limit = r, l.Amount
	refusal.States = s.states(refusal.States)
	if refusal.TooLarge {
		asked := req.normalised()
		total := asked.wanted().total
		if l.Window.Quota() {
			total = asked.least()
		}
		if _, fits := asked.need(l, total); fits {
			refusal.TooLarge, refusal.RetryAfter = false, awayRetry
		}
	}
	return refusal
}

// noteCharged notes the quotas that Redis is told of.
func (s *shadow) noteCharged(holds []hold) {
	for i := range holds {
		r := holds[i].rule
		if !r.Limit.Window.Quota() {
			continue
		}
		s.mu.Lock()
		s.charged[r.name] = r
		s.mu.Unlock()
	}
}

// chargedQuotas returns the quotas that Redis was told of.
func (s *shadow) chargedQuotas() (rules []*Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.charged {
		rules = append(rules, r)
	}
	return rules
}
