package handlers

import (
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

// Policy holds the limits, allowed models and prices of teams, keys and models.
// It must not change once requests are served.
type Policy struct {
	Teams    map[string]*Team
	Models   []*Model
	Defaults []limiter.Limit // of each key that sets none with the same unit and window

	// Prices has the prices of models without a price in Models.
	Prices *pricing.Files // nil: none

	// Names are the model names and patterns that metrics may show.
	Names []pattern.Pattern

	// Discovered holds the names that backends listed, which metrics may show
	// where none of Names matches; nil: none.
	Discovered *discovery.Names

	cache   atomic.Pointer[grantCache]
	indexes sync.Once      // builds the indexes below
	models  *pattern.Index // of patterns in lower case
	tagged  bool           // one of them has a tag
	names   *pattern.Index
}

// index returns the indexes of Models and Names, built at the first call.
func (p *Policy) index() (models, names *pattern.Index) {
	p.indexes.Do(func() {
		patterns := make([]pattern.Pattern, len(p.Models))
		for i, block := range p.Models {
			patterns[i] = folded(block.Pattern)
			p.tagged = p.tagged || strings.Contains(block.Pattern.String(), ":")
		}
		p.models, p.names = pattern.NewIndex(patterns), pattern.NewIndex(p.Names)
	})
	return p.models, p.names
}

// Team holds what all keys of a team share.
type Team struct {
	Models pattern.List // nil: all
	Rules  []*limiter.Rule
}

// Model holds the limits and the price of the models that match a pattern.
type Model struct {
	Pattern pattern.Pattern
	Rules   []*limiter.Rule
	Price   *pricing.Price // nil: that of the price list
}

// grants holds the limits of one key and the models that it may use.
type grants struct {
	key   *keys.Key
	team  pattern.List // models that the team may use; nil: all
	rules []*limiter.Rule
}

// grantCache holds the grants of the keys of one key set, each created when the
// key is first seen. A new set starts a new cache.
type grantCache struct {
	ring  *keys.Set
	byKey sync.Map // *keys.Key → *grants
}

// grants returns the grants of a key of ring.
func (p *Policy) grants(ring *keys.Set, key *keys.Key) *grants {
	cache := p.cache.Load()
	if cache == nil || cache.ring != ring {
		cache = &grantCache{ring: ring}
		p.cache.Store(cache)
	}
	if g, ok := cache.byKey.Load(key); ok {
		return g.(*grants)
	}
	g, _ := cache.byKey.LoadOrStore(key, p.newGrants(ring, key))
	return g.(*grants)
}

func (p *Policy) newGrants(ring *keys.Set, key *keys.Key) *grants {
	g := &grants{key: key, rules: p.KeyRules(key)}
	if key.Team == "" {
		return g
	}
	if team := p.Teams[key.Team]; team != nil {
		g.team = team.Models
		g.rules = append(g.rules, team.Rules...)
	} else if team := ring.Team(key.Team); team != nil { // the configuration's wins
		g.team = team.Models
		for _, limit := range team.Limits {
			g.rules = append(g.rules, limiter.NewRule(limiter.ScopeTeam, team.ID, limit))
		}
	}
	return g
}

// KeyRules returns the limits of a key without those of its team: its own, and
// each of the gate's defaults for a unit and window that it does not set.
func (p *Policy) KeyRules(key *keys.Key) (rules []*limiter.Rule) {
	add := func(limit limiter.Limit) {
		rules = append(rules, limiter.NewRule(limiter.ScopeKey, key.ID, limit))
	}
	for _, limit := range key.Limits {
		add(limit)
	}
	for _, limit := range p.Defaults {
		if !hasLimit(key.Limits, limit) {
			add(limit)
		}
	}
	return rules
}

// hasLimit reports whether limits has one with the unit and window of like.
func hasLimit(limits []limiter.Limit, like limiter.Limit) bool {
	for _, l := range limits {
		if l.Unit == like.Unit && l.Window == like.Window {
			return true
		}
	}
	return false
}

// allows reports whether both key and team allow the model.
func (g *grants) allows(model string) bool {
	return g.key.AllowsModel(model) && (g.team == nil || g.team.Match(model))
}

// modelPolicy holds the limits and the price of one model.
type modelPolicy struct {
	rules []*limiter.Rule
	price *pricing.Price // nil: no block has one
}

// model returns the policy of a model: the rules of all blocks that match, and
// the price of the most specific one that has a price. Names match as backends
// compare them, so that no spelling passes a limit.
func (p *Policy) model(name string) modelPolicy {
	var m modelPolicy
	models, _ := p.index()
	name = foldModel(name)
	best := p.add(&m, -1, models.Matches(name), nil)
	if p.tagged {
		tagged := models.Matches(name + latest)
		p.add(&m, best, tagged, slices.Collect(models.Matches(name)))
	}
	return m
}

// add adds the blocks of the given indices to m, except those in done. best is the
// length of the literal prefix of the block that set the price so far; add returns
// the new one.
func (p *Policy) add(m *modelPolicy, best int, blocks iter.Seq[int], done []int) int {
	for i := range blocks {
		if slices.Contains(done, i) {
			continue
		}
		block := p.Models[i]
		if m.rules == nil { // nearly always the only match
			m.rules = slices.Clip(block.Rules)
		} else {
			m.rules = append(m.rules, block.Rules...)
		}
		if prefix := block.Pattern.LiteralPrefix(); block.Price != nil && prefix > best {
			best, m.price = prefix, block.Price
		}
	}
	return best
}

// latest is the tag that Ollama adds to a name without one.
const latest = ":latest"

// foldModel returns the form of a model's name that all spellings share which some
// backend takes for the same: in another case, with blanks around it, or with the
// tag latest.
func foldModel(name string) string {
	return strings.TrimSuffix(strings.ToLower(strings.TrimSpace(name)), latest)
}

// folded returns a pattern in lower case.
func folded(p pattern.Pattern) pattern.Pattern {
	lower, err := pattern.Parse(strings.ToLower(p.String()))
	if err != nil {
		return p // unreachable: it was parsed before
	}
	return lower
}

// price returns the price of a model at a candidate: that of a model block,
// else that of the price list; nil if unknown.
func (p *Policy) price(m *modelPolicy, asked string, candidate *routing.Candidate) *pricing.Price {
	if m.price != nil {
		return m.price
	}
	return p.Prices.List().Find(candidate.Name, asked, candidate.Model)
}

// OtherModel is the label of models that no configured name matches.
const OtherModel = "other"

// ModelLabel returns the label of a model in metrics: the configured name or
// pattern that matches, else the name that a backend listed, so that callers
// cannot create metric series.
func (p *Policy) ModelLabel(name string) string {
	label, best := OtherModel, -1
	_, names := p.index()
	for i := range names.Matches(name) {
		n := p.Names[i]
		if n.Literal() {
			return name
		}
		if prefix := n.LiteralPrefix(); prefix > best {
			label, best = n.String(), prefix
		}
	}
	if best < 0 {
		if name, ok := p.Discovered.Label(name); ok {
			return name
		}
	}
	return label
}
