package failover

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
	"github.com/amanycodes/pine-gate/limiter/memory"
)

// unknownBudget divides a gate's share of a budget that it has not seen, because it does not have the
// spending of the other gates.
const unknownBudget = 10

// localShare is a gate's share of all limits while the store is unavailable: counters in memory, under
// rules whose amounts are divided by the number of gates.
type localShare struct {
	memory *memory.Store
	share  int64 // number of gates by which limits are divided
	known  *lastStates
	seed   limiter.Seed

	mu       sync.RWMutex // guards the fields below; taken before the memory store's locks
	scaled   map[*limiter.Rule]*limiter.Rule
	original map[*limiter.Rule]*limiter.Rule // by the scaled one
	begun    map[string]struct{}             // names of rates whose level was set
	charged  map[string]*limiter.Rule        // quotas that Redis was charged for and may not have
}

func newLocalShare(share int, known *lastStates, seed limiter.Seed) *localShare {
	s := &localShare{
		share: int64(max(share, 1)), known: known, seed: seed,
		scaled: make(map[*limiter.Rule]*limiter.Rule), original: make(map[*limiter.Rule]*limiter.Rule),
		begun: make(map[string]struct{}), charged: make(map[string]*limiter.Rule),
	}
	s.memory = memory.New(memory.Options{Seed: s.used})
	return s
}

// rule returns the share of a rule, and creates it if there is none.
func (s *localShare) rule(r *limiter.Rule) *limiter.Rule {
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

// ruled returns the existing share of a rule, else nil.
func (s *localShare) ruled(r *limiter.Rule) *limiter.Rule {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.scaled[r]
}

// newShare returns a new share of a rule. s.mu must be held.
func (s *localShare) newShare(r *limiter.Rule) *limiter.Rule {
	share := *r
	share.Limit.Amount = max(r.Limit.Amount/s.share, 1)
	if r.Limit.Window.Rate() {
		share.Limit.Burst = max(r.Limit.Capacity()/s.share, 1)
	}
	s.original[&share] = r
	if _, begun := s.begun[r.Name()]; r.Limit.Window.Rate() && !begun {
		s.begun[r.Name()] = struct{}{}
		if last, known := s.known.of(r); known {
			s.memory.SetLevel(&share, last.level(r.Limit)/s.share)
		}
	}
	return &share
}

func (s *localShare) rules(all []*limiter.Rule) []*limiter.Rule {
	scaled := make([]*limiter.Rule, len(all))
	for i, r := range all {
		scaled[i] = s.rule(r)
	}
	return scaled
}

// asked returns the rule of which scaled is the share.
func (s *localShare) asked(scaled *limiter.Rule) *limiter.Rule {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.original[scaled]
}

// used is the Seed of a quota's share. It returns the usage that leaves, in the share, the gate's part of
// what is left of the quota.
func (s *localShare) used(scaled *limiter.Rule, since time.Time) (int64, error) {
	r := s.asked(scaled)
	left := r.Limit.Amount
	last, known := s.known.of(r)
	switch {
	case known && last.window == since.UnixNano():
		left = max(last.room, 0)
	case known && last.window < since.UnixNano(): // a new window: nothing is used yet
	default:
		if s.seed != nil {
			used, err := s.seed(r, since)
			if err != nil {
				return 0, err
			}
			left -= min(account.ClampAmount(used), left)
		}
		if r.Limit.Unit == limiter.USD && s.share > 1 {
			left /= unknownBudget
		}
	}
	return max(scaled.Limit.Amount-left/s.share, 0), nil
}

func (s *localShare) reserve(g *Limiter, req limiter.Request) (limiter.Reservation, error) {
	share := req
	share.Rules = s.rules(req.Rules)
	share.Candidates = make([][]*limiter.Rule, len(req.Candidates))
	for i, rules := range req.Candidates {
		share.Candidates[i] = s.rules(rules)
	}
	inner, err := s.memory.Reserve(context.Background(), share)
	if err != nil {
		return nil, s.refused(err, &req)
	}
	res := &localReservation{guard: g, local: s, req: req, inner: inner.(*memory.Reservation)}
	g.open.add(res)
	return res, nil
}

// peek returns the states of shares. It drops the shares of rules that no request has used: a listing of
// limits creates new rules each time, and an outage may be long.
func (s *localShare) peek(ctx context.Context, rules []*limiter.Rule) ([]limiter.State, error) {
	scaled := make([]*limiter.Rule, len(rules))
	var passing []*limiter.Rule
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

// states converts the states of shares to states of their limits, in place.
func (s *localShare) states(all []limiter.State) []limiter.State {
	for i := range all {
		all[i].Rule = s.asked(all[i].Rule)
		all[i].Limit = all[i].Rule.Limit.Amount
		all[i].Used = 0 // a share's usage can't be compared with the limit
	}
	return all
}

// refused converts a refusal by a share to one by the limit. A request that is too large for the share
// but not for the limit may be retried.
func (s *localShare) refused(err error, req *limiter.Request) error {
	refusal := new(limiter.Refusal)
	if !errors.As(err, &refusal) {
		return err
	}
	r := s.asked(refusal.Rule)
	l := r.Limit
	refusal.Used = max(l.Amount, l.Capacity()) - refusal.Remaining
	refusal.Rule, refusal.Limit = r, l.Amount
	refusal.States = s.states(refusal.States)
	if refusal.TooLarge {
		asked := account.NewDemand(*req)
		total := asked.Wanted().Total
		if l.Window.Quota() {
			total = asked.Least()
		}
		if _, fits := asked.Need(l, total); fits {
			refusal.TooLarge, refusal.RetryAfter = false, awayRetry
		}
	}
	return refusal
}

// addCharged adds the quotas among holds to those that Redis is charged for.
func (s *localShare) addCharged(holds []account.Hold) {
	for i := range holds {
		r := holds[i].Rule
		if !r.Limit.Window.Quota() {
			continue
		}
		s.mu.Lock()
		s.charged[r.Name()] = r
		s.mu.Unlock()
	}
}

// chargedQuotas returns the quotas added by addCharged.
func (s *localShare) chargedQuotas() (rules []*limiter.Rule) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.charged {
		rules = append(rules, r)
	}
	return rules
}
