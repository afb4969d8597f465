package limiter

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// ScopeKind is what kind of thing a limit belongs to.
type ScopeKind uint8

// The kinds of scopes.
const (
	ScopeKey     ScopeKind = iota // one API key
	ScopeTeam                     // all keys of a team together
	ScopeModel                    // a model or a pattern of models, for all callers together
	ScopeBackend                  // a backend's own capacity, for all callers together
)

var scopeNames = [...]string{"key", "team", "model", "backend"}

// String returns "key", "team", "model" or "backend".
func (k ScopeKind) String() string {
	if int(k) < len(scopeNames) {
		return scopeNames[k]
	}
	return fmt.Sprintf("ScopeKind(%d)", uint8(k))
}

// Rule is a limit of one key, team, model or backend. Make it with [NewRule], once for each
// configuration: a Rule is read by all requests and must not be changed.
type Rule struct {
	Kind  ScopeKind
	ID    string // of the key, team or backend; the model's pattern
	Limit Limit

	name string
	hash uint64 // of name
}

// NewRule returns the rule that limits the thing of that kind and id. It panics for a limit that
// [Limit.Validate] refuses, which no parsed limit is: a rule that limits nothing must not come to be.
func NewRule(kind ScopeKind, id string, limit Limit) *Rule {
	if err := limit.Validate(); err != nil {
		panic(err)
	}
	name := kind.String() + "/" + id + "/" + limit.Unit.String()
	if limit.Window != NoWindow {
		name += "/" + limit.Window.String()
	}
	return &Rule{Kind: kind, ID: id, Limit: limit, name: name, hash: xxhash.Sum64String(name)}
}

// Name is the name of the rule's counter, kind/id/unit/window, such as "key/alice/tokens/minute".
// The amount and the burst are not in it: a counter keeps what it has counted when a reload
// changes them. Two rules of one name share one counter.
func (r *Rule) Name() string { return r.name }

// Hash returns the XXH64 hash of the name, which stores find counters by.
func (r *Rule) Hash() uint64 { return r.hash }
