package limiter

import (
	"context"
	"errors"
	"time"
)

// Limiter holds the counters of all limits, in memory or in a store shared by several gates. All
// its methods are safe for concurrent use.
//
// For a rate, it guarantees over any period w
//
//	admitted(w) ≤ burst + rate·w + returned(w)
//
// in the amounts reserved, where returned(w) is the part of them that settlements within w returned.
// For a quota, used plus reserved never exceeds the amount when a request is admitted, so that the
// quota holds unless a response uses more than its cap.
type Limiter interface {
	// Reserve checks all limits of a request and atomically takes what it needs of each, for the
	// first candidate with room. The error is a [*Refusal] if a limit refuses the request; any other
	// error means that the store can't decide. In both cases nothing is taken. A reservation must be
	// settled, whatever the outcome of the request.
	Reserve(ctx context.Context, req Request) (Reservation, error)

	// Peek returns the states of rules, in the same order, and takes nothing.
	Peek(ctx context.Context, rules []*Rule) ([]State, error)

	// Close stops the store's background work. Reservations may be settled after Close, but no new
	// ones made.
	Close() error
}

// Request describes a request to the limiter before it is forwarded. The slices and rules are
// read until the reservation is settled and must not be changed.
//
// Counts below zero are treated as zero, and counts above MaxAmount as MaxAmount.
type Request struct {
	// ID identifies the reservation: unique for each request across all gates of a store. A store
	// reached over a network settles by ID, so that a repeated call is harmless.
	ID string

	// Rules are those of the key, its team and the model. If two have the same name, only the first
	// applies.
	Rules []*Rule

	// Candidates are the rules of each backend that may serve the request, in the order in which
	// the backends are tried. Empty: one candidate without limits.
	Candidates [][]*Rule

	// Input is the estimated input, in tokens.
	Input int64

	// Output is the output that rates reserve, in tokens for all answers together; 0 if the
	// endpoint generates none.
	Output int64

	// MaxOutput is the maximum output, in tokens for all answers together: what quotas reserve.
	// -1 if the request has no cap; then quotas reserve Output.
	MaxOutput int64

	// Uncapped is set if no cap can be sent with the request. Then no cap is lowered, and a quota
	// must have room for everything it reserves.
	Uncapped bool

	// N is the number of answers over which a lowered cap is divided. Values below 1 count as 1.
	N int64

	// InputCost is the price of Input in nano-USD, for usd limits.
	InputCost int64

	// OutputPrice is the price of one token of output in pico-USD, for usd limits.
	OutputPrice int64
}

// Usage is the outcome of a request. The zero value is a request that was not sent to a backend.
type Usage struct {
	// Dispatched is false if nothing was sent to a backend. Then the whole reservation is returned,
	// including the counted request.
	Dispatched bool

	// Failed is true if the backend failed before the first byte of an answer. Tokens and money are
	// returned, the request stays counted.
	Failed bool

	// Input and Output are the tokens used: the whole input, including cached tokens, and the whole
	// output, including reasoning.
	Input, Output int64

	// Cost is the cost of Input and Output, in nano-USD.
	Cost int64
}

// Reservation is what one request holds of its limits.
//
// Callers need not renew it or watch a deadline. A store outside the process gives a reservation a
// lease, and renews it while the process lives and the reservation is not settled, so that the
// reservations of a dead gate are freed.
type Reservation interface {
	// Candidate returns the index of the chosen candidate; 0 if there are none.
	Candidate() int

	// Cap returns the output cap of each answer, in tokens, to send to the backend if a quota or
	// budget has less left than the request may use. -1: leave the request's cap unchanged.
	Cap() int64

	// Move releases the current candidate's part of the reservation and reserves that of another
	// candidate, for the next attempt of the same request. The rest of the reservation is unchanged,
	// except that the cap may become lower. The released attempt counts as failed: its tokens, money
	// and permit are returned, and its request stays counted against that backend's capacity. Moving
	// to the current candidate, or to another that shares its rules, counts one more request. The
	// error is a [*Refusal] if the candidate has no room, in which case the old one stays reserved;
	// [ErrSettled] after Settle.
	Move(ctx context.Context, candidate int) error

	// Settle replaces the reserved amounts with the used ones, and frees the permits. Unused amounts
	// are returned at once. Usage beyond the reservation is charged: to a rate as a debt of at most a
	// day's refill, so that one absurd report can't block the limit for longer; to a quota in the
	// window in which the request was admitted, even if that has ended. Only the first call has an
	// effect. Settle may be called from any goroutine, and with a done ctx.
	Settle(ctx context.Context, used Usage)

	// States returns the states of the request's rules right after the admission, followed by those
	// of its candidate's rules right after the admission or the last move. It may be nil after Settle.
	States() []State
}

// ErrSettled is returned by [Reservation.Move] after Settle.
var ErrSettled = errors.New("the reservation is settled")

// State is the state of one limit.
type State struct {
	Rule *Rule

	// Limit is the limit's amount, in its unit (nano-USD for usd).
	Limit int64

	// Remaining is what is left of it, never below 0: the level of a rate's bucket rounded down
	// (above Limit if the burst is larger than the amount), the part of a quota that is neither used
	// nor reserved, or the free permits of a concurrent limit.
	Remaining int64

	// Reset is the time until a rate's bucket is full or a quota's window ends; 0 for a concurrent
	// limit.
	Reset time.Duration

	// Used is the used part of a quota when the state was read, without reservations. It is 0 for all
	// other limits, and while a store shared by several gates is unavailable, because no gate has the
	// sum then.
	Used int64

	// Since is the start of a quota's window; zero for all other limits.
	Since time.Time
}

// ResetAt returns when a quota's window ends or a rate's bucket is full, rounded up to the second so
// that a retry at that time is not too early. now is the time at which the state was read.
func (s State) ResetAt(now time.Time) time.Time {
	if w := s.Rule.Limit.Window; w.Quota() {
		_, end := w.Bounds(s.Since)
		return end
	}
	return now.Add(s.Reset + time.Second - 1).UTC().Truncate(time.Second)
}

// Seed returns the usage of a quota since the start of its window, for instance from a ledger, in the
// unit of the rule's limit (nano-USD for usd). It must not call the store, and must be safe for
// concurrent use.
//
// An error means that the usage is unknown. The request that needs it is then refused, and so are
// those that wait for the same call: their error is an [*Unavailable] with [ReasonSeed]. The quota
// stays unseeded, so that the next request calls Seed again.
type Seed func(rule *Rule, since time.Time) (int64, error)
