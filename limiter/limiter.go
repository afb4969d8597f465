package limiter

import (
	"context"
	"errors"
	"time"
)

// Limiter holds the counters of all limits, in memory or in a store shared by several gates. All
// its methods may be called at the same time.
//
// What it promises of a rate, over any time w that begins and ends anywhere, is
//
//	admitted(w) ≤ burst + rate·w + returned(w)
//
// in the amounts that were reserved, where returned(w) is what settlements within w have given back
// of them. Of a quota, what is used and what is reserved never come to more than the amount when a
// request is admitted, so that the amount holds unless an answer uses more than its cap.
type Limiter interface {
	// Reserve checks all limits of a request and takes what it needs of each, for the first
	// candidate with room, in one step that no other request sees a part of. The error is a
	// [*Refusal] where a limit refuses, in which case nothing is taken anywhere; any other error
	// means that the store can't decide, and nothing is taken either. A reservation must be
	// settled, whatever becomes of the request.
	Reserve(ctx context.Context, req Request) (Reservation, error)

	// Peek returns the states of rules, in their order, and takes nothing.
	Peek(ctx context.Context, rules []*Rule) ([]State, error)

	// Close ends what the store does in the background. Reservations may be settled after it, but
	// no new ones made.
	Close() error
}

// Request is what is asked of the limits before a request is forwarded. The slices and rules are
// read until the reservation is settled and must not be changed.
//
// Counts below zero are taken for zero, and those above MaxAmount for MaxAmount.
type Request struct {
	// ID names the reservation: unique for each request over all gates of a store. A store that is
	// reached over a network settles by it, so that a repeated call is harmless.
	ID string

	// Rules are those of the key, its team and the model. Where two have the same name, the first
	// is the one that counts.
	Rules []*Rule

	// Candidates are the rules of each backend that may serve the request, in the order in which
	// they shall be tried. Empty: one candidate without limits.
	Candidates [][]*Rule

	// Input is the estimate of the input, in tokens.
	Input int64

	// Output is what rates reserve of output, in tokens for all answers together; 0 where the
	// endpoint generates none.
	Output int64

	// MaxOutput is the most that the answers can come to, in tokens for all of them together: what
	// quotas reserve. -1 where the request has no cap; then quotas reserve Output.
	MaxOutput int64

	// Uncapped says that no cap can be sent with the request: then none is lowered, and a quota must
	// have room for all that it reserves.
	Uncapped bool

	// N is the number of answers over which a lowered cap is divided. Below 1 it is taken for 1.
	N int64

	// InputCost is the price of Input in nano-USD, for usd limits.
	InputCost int64

	// OutputPrice is the price of one token of output in pico-USD, for usd limits.
	OutputPrice int64
}

// Usage is what became of a request. The zero value is a request that never left the gate.
type Usage struct {
	// Dispatched is false where nothing was sent to a backend: then everything returns, also the
	// request that was counted.
	Dispatched bool

	// Failed is true where the backend failed before the first byte of an answer: tokens and money
	// return, the request stays counted.
	Failed bool

	// Input and Output are the tokens that were used: the whole input, caches included, and the
	// whole output, reasoning included.
	Input, Output int64

	// Cost is what they cost, in nano-USD.
	Cost int64
}

// Reservation is what one request holds of its limits.
//
// It has no deadline that a caller must mind and nothing to renew: a store outside of the process
// gives a reservation a deadline of its own and moves it on for as long as the process lives and
// the reservation is not settled, so that what a dead gate held becomes free.
type Reservation interface {
	// Candidate is the index of the candidate that is taken; 0 where there are none.
	Candidate() int

	// Cap is the most tokens that each answer may have, where a quota or budget has less left than
	// the request may use: the cap to be sent to the backend. -1: leave the request's as it is.
	Cap() int64

	// Move gives up the part of the present candidate and takes that of another, for the next
	// attempt at the same request; nothing else of the reservation changes, but the cap, which may
	// become lower. The attempt that is given up counts as one that failed: its tokens, money and
	// lease return, and its request stays counted against that backend's capacity. Moving to the
	// present candidate, or to another that shares its rules, counts one more request. The error is
	// a [*Refusal] where the candidate has no room, and then the old one stays taken; [ErrSettled]
	// after Settle.
	Move(ctx context.Context, candidate int) error

	// Settle replaces what is reserved by what was used, and frees the leases. What was not used
	// returns at once. What was used tooMuch the reservation is charged: to a rate as a debt, which
	// is never more than a day's refill, so that one absurd report can't block for longer; to a
	// quota in the window in which the request was admitted, even if that has passed. Only the
	// first call does anything; it may come from any goroutine, and while ctx is done.
	Settle(ctx context.Context, used Usage)

	// States returns the states of the request's rules, as they were right after the admission, and
	// of its candidate's, after the last move too; in order. It may be nil after Settle.
	States() []State
}

// ErrSettled is returned by Move of a reservation that was settled.
var ErrSettled = errors.New("the reservation is settled")

// State is what one limit has left.
type State struct {
	Rule *Rule

	// Limit is the limit's amount, in its unit (nano-USD for usd).
	Limit int64

	// Remaining is how much of it is left, never below 0: the level of a rate's bucket rounded down
	// (which a burst above the amount may put above Limit), what a quota has neither used nor
	// reserved, the free permits of a concurrent limit.
	Remaining int64

	// Reset is the time until a rate's bucket is full or a quota's window turns; 0 for a concurrent
	// limit.
	Reset time.Duration

	// Used is how much of a quota was used when it was looked at, without what was reserved; 0 for all
	// other limits, and while a store of several gates is away, whose sum no gate knows then.
	Used int64

	// Since is the start of a quota's window; zero for all other limits.
	Since time.Time
}

// ResetAt is when a quota's window turns or a rate's bucket is full, rounded up to the second: whoever
// comes back then is not too early. Now is when the state was asked for.
func (s State) ResetAt(now time.Time) time.Time {
	if w := s.Rule.Limit.Window; w.Quota() {
		_, end := w.Bounds(s.Since)
		return end
	}
	return now.Add(s.Reset + time.Second - 1).UTC().Truncate(time.Second)
}

// Seed returns what a quota has used since the start of its window, for instance from a ledger, in the
// units of the rule's limit (nano-USD for usd). It must not call the store, and is called from many
// goroutines.
//
// The error is that it is not known. The request that needs it is then not admitted, and neither are
// those that wait for the same answer: their error is an [*Unavailable] with [ReasonSeed]. The quota
// stays unknown, so that the next request asks again.
type Seed func(rule *Rule, since time.Time) (int64, error)
