package control

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/limiter"
)

// Limit is a limit and its state. Amounts of money are in USD.
type Limit struct {
	Scope  string  `json:"scope"` // key, team, model or backend
	ID     string  `json:"id"`    // the model's pattern
	Unit   string  `json:"unit"`
	Window *string `json:"window"` // null for concurrent

	Limit json.Number `json:"limit"`
	// The capacity of a rate; null for others.
	Burst *json.Number `json:"burst"`

	// What a quota has used in its window, or how many requests of a concurrent
	// limit are in flight; null for rates, and if only this gate's own share is
	// known.
	Used *json.Number `json:"used"`
	// What requests in flight reserve of a quota in addition to Used; null for
	// others.
	Reserved  *json.Number `json:"reserved"`
	Remaining json.Number  `json:"remaining"`

	// When a rate is at full capacity again, or the next window of a quota
	// begins; null for concurrent.
	ResetAt *int64 `json:"reset_at"`
}

// LimitPage is one page of the list of limits.
type LimitPage struct {
	Data []Limit `json:"data"`
	// The value of `after` for the next page; null on the last page.
	Next *string `json:"next"`
	// The shared store is unavailable: these are the figures of one gate alone.
	Stale bool `json:"stale"`
}

// scopes are the kinds of limits, in the order in which they are listed.
var scopes = []limiter.ScopeKind{limiter.ScopeKey, limiter.ScopeTeam, limiter.ScopeModel, limiter.ScopeBackend}

// peekGroup bounds how many limits are read in one call: a shared store answers
// no other call meanwhile.
const peekGroup = 100

// listLimits answers GET limits?scope=&id=&after=&limit=: by scope, then by id,
// unit and window. It reads only the limits on the page.
func (c *call) listLimits() *Problem {
	state, problem := c.gate.State()
	if problem != nil {
		return problem
	}
	n, problem := c.pageLength()
	if problem != nil {
		return problem
	}
	query, problem := c.limitQuery()
	if problem != nil {
		return problem
	}
	rules := query.rules(state, n+1)
	page := LimitPage{Data: []Limit{}}
	if len(rules) > n {
		rules = rules[:n]
		next := positionOf(rules[n-1]).String()
		page.Next = &next
	}
	for group := range slices.Chunk(rules, peekGroup) {
		states, own, err := state.Peek(c.r.Context(), group)
		if err != nil {
			c.api.Logger.Error("looking at limits failed", zap.Error(err))
			return problemf(http.StatusServiceUnavailable, "the rate-limit store or the usage store is unavailable: the gate's log says why; try again")
		}
		page.Stale = page.Stale || own
		now := time.Now()
		for _, s := range states {
			page.Data = append(page.Data, newLimit(s, own, now))
		}
	}
	return c.answer(http.StatusOK, page)
}

func newLimit(s limiter.State, own bool, now time.Time) Limit {
	limit := s.Rule.Limit
	number := func(n int64) *json.Number {
		text := amount(limit.Unit, n)
		return &text
	}
	l := Limit{
		Scope:     s.Rule.Kind.String(),
		ID:        s.Rule.ID,
		Unit:      limit.Unit.String(),
		Limit:     amount(limit.Unit, s.Limit),
		Remaining: amount(limit.Unit, s.Remaining),
	}
	switch {
	case limit.Unit == limiter.Concurrent:
		if !own {
			l.Used = number(s.Limit - s.Remaining)
		}
		return l
	case limit.Window.Rate():
		l.Burst = number(limit.Capacity())
	case !own:
		l.Used = number(s.Used)
		l.Reserved = number(max(0, s.Limit-s.Used-s.Remaining))
	}
	window, reset := limit.Window.String(), now.Add(s.Reset).Unix()
	l.Window, l.ResetAt = &window, &reset
	return l
}

// limitQuery selects the limits to list.
type limitQuery struct {
	scopes []limiter.ScopeKind
	id     string    // "": all
	after  *position // nil: from the first
}

func (c *call) limitQuery() (q limitQuery, _ *Problem) {
	params := c.r.URL.Query()
	q.scopes, q.id = scopes, params.Get("id")
	if word := params.Get("scope"); word != "" {
		i := slices.IndexFunc(scopes, func(k limiter.ScopeKind) bool { return k.String() == word })
		if i < 0 {
			return q, problemf(http.StatusBadRequest, "scope: expected key, team, model or backend")
		}
		q.scopes = scopes[i : i+1]
	}
	if text := params.Get("after"); text != "" {
		after, err := parsePosition(text)
		if err != nil {
			return q, problemf(http.StatusBadRequest, "after: %v", err)
		}
		q.after = &after
	}
	return q, nil
}

// rules returns at most n of the limits that the query selects.
func (q *limitQuery) rules(state State, n int) (rules []*limiter.Rule) {
	for _, kind := range q.scopes {
		if q.after != nil && kind < q.after.kind {
			continue
		}
		from := q.id
		if q.after != nil && kind == q.after.kind {
			from = max(from, q.after.id)
		}
		var sameID []*limiter.Rule // not sorted yet
		take := func() {
			slices.SortFunc(sameID, func(a, b *limiter.Rule) int { return positionOf(a).compare(positionOf(b)) })
			for _, rule := range sameID {
				if q.after == nil || positionOf(rule).compare(*q.after) > 0 {
					rules = append(rules, rule)
				}
			}
			sameID = sameID[:0]
		}
		for rule := range state.Rules(kind, from) {
			if q.id != "" && rule.ID != q.id {
				break
			}
			if len(sameID) > 0 && sameID[0].ID != rule.ID {
				if take(); len(rules) >= n {
					return rules[:n]
				}
			}
			sameID = append(sameID, rule)
		}
		if take(); len(rules) >= n {
			return rules[:n]
		}
	}
	return rules
}

// position is the position of a limit in the list. Its text is the cursor of a
// page; the id comes last, since the pattern of a model may contain any
// character.
type position struct {
	kind   limiter.ScopeKind
	id     string
	unit   limiter.Unit
	window limiter.Window
}

func positionOf(r *limiter.Rule) position {
	return position{r.Kind, r.ID, r.Limit.Unit, r.Limit.Window}
}

func (p position) compare(to position) int {
	return cmp.Or(cmp.Compare(p.kind, to.kind), cmp.Compare(p.id, to.id), cmp.Compare(p.unit, to.unit), cmp.Compare(p.window, to.window))
}

func (p position) String() string {
	return fmt.Sprintf("%s/%s/%s/%s", p.kind, p.unit, p.window, p.id)
}

func parsePosition(text string) (p position, err error) {
	words := strings.SplitN(text, "/", 4)
	if len(words) == 4 {
		for kind := limiter.ScopeKey; kind <= limiter.ScopeBackend; kind++ {
			for _, unit := range limiter.Units() {
				for window := limiter.NoWindow; window <= limiter.Month; window++ {
					p = position{kind, words[3], unit, window}
					if p.String() == text {
						return p, nil
					}
				}
			}
		}
	}
	return p, fmt.Errorf("expected what the page before had as next")
}
