package limiter

import (
	"fmt"
	"time"
)

// Refusal is the error of a request that a limit refused. A refused request takes nothing.
type Refusal struct {
	// Rule is the rule that refused: if several did, the one that has room last. Of backends, where
	// one with room is enough, it is a rule of the backend that has room first.
	Rule *Rule

	// Limit is the rule's amount, Used the part that is taken (of a quota: used and reserved), and
	// Requested the least that the request would have taken. For usd they are in nano-USD.
	Limit, Used, Requested int64

	// Remaining is what is left, never below 0.
	Remaining int64

	// RetryAfter is the time until the rule has room, if no other request takes it first: for a rate
	// until its bucket is full enough, for a quota until its window ends. For amounts held by
	// requests in flight it is one second. 0 if TooLarge.
	RetryAfter time.Duration

	// Reserved is true if only reservations of requests in flight keep a quota or budget from
	// admitting the request.
	Reserved bool

	// TooLarge is true if the request needs more than the limit's capacity: a retry is useless.
	TooLarge bool

	// States are the states of the request's rules and of one candidate's: the first with room, else
	// the one that has room first.
	States []State
}

// Error returns a description for the log, which names the rule. Callers get [Refusal.Message].
func (r *Refusal) Error() string {
	s := fmt.Sprintf("%s %q: limit %s: used %d, requested %d", r.Rule.Kind, r.Rule.ID, r.Rule.Limit, r.Used, r.Requested)
	switch {
	case r.TooLarge:
		return s + ", which is too large"
	case r.Reserved:
		return s + ", held by requests in flight"
	default:
		return s + ", retry in " + r.RetryAfter.String()
	}
}
