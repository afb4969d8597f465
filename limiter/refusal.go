package limiter

import (
	"fmt"
	"time"
)

// Refusal is the error of a request that a limit has refused. Nothing is taken by it.
type Refusal struct {
	// Rule is the rule that refused: of those that did, the one that frees last. Of backends, of
	// which one with room is enough, it is a rule of the one that frees first.
	Rule *Rule

	// Limit is the rule's amount, Used what is taken of it (of a quota: used and reserved), and
	// Requested what the request would have taken at least. For usd they are nano-USD.
	Limit, Used, Requested int64

	// Remaining is what is left, never below 0.
	Remaining int64

	// RetryAfter is when the rule will have room if nothing else comes in between: for a rate when
	// its bucket is full enough, for a quota when its window turns. For what is held by requests in
	// flight it is a second. 0 where TooLarge.
	RetryAfter time.Duration

	// Reserved is true for a quota or budget that has room in what is used, but not beside what is
	// reserved by requests in flight.
	Reserved bool

	// TooLarge is true where the request is more than the limit ever has room for: a retry is
	// useless.
	TooLarge bool

	// States are those of the request's rules and of one candidate's: of the first with room, else
	// of the one that frees first.
	States []State
}

// Error describes the refusal for a log. It names the rule; callers get [Refusal.Message].
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
