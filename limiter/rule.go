package limiter

import (
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// ScopeKind is the kind of object that a limit applies to.
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

// Rule is a limit of one key, team, model or backend. Create it with [NewRule], once for each
// configuration: all requests read it, and it must not be changed.
type Rule struct {
	Kind  ScopeKind
	ID    string // of the key, team or backend; the model's pattern
	Limit Limit

	name string
	hash uint64 // of name
}

// NewRule returns a rule that applies limit to the object with kind and id. It panics if
// [Limit.Validate] rejects the limit, which never happens for a parsed one: an invalid rule would
// limit nothing.
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

// Name returns the name of the rule's counter, kind/id/unit/window, such as
// "key/alice/tokens/minute". It does not contain the amount and the burst, so that a counter keeps
// its count when a reload changes them. Two rules of the same name share a counter.
func (r *Rule) Name() string { return r.name }

// Hash returns the XXH64 hash of the name, by which stores look up counters.
func (r *Rule) Hash() uint64 { return r.hash }
