package account

import (
	"fmt"
	"math/bits"

	"github.com/amanycodes/pine-gate/limiter"
)

// Output is the output that a reservation has room for.
type Output struct {
	Total int64 // tokens, for all answers together
	Cap   int64 // of each answer; -1 if no quota has lowered it
}

// Demand is a request whose counts are clamped to the range in which the arithmetic is exact.
type Demand struct{ limiter.Request }

// NewDemand returns the demand of a request.
func NewDemand(req limiter.Request) Demand {
	q := Demand{req}
	q.Input = ClampAmount(q.Input)
	q.Output = ClampAmount(q.Output)
	q.InputCost = ClampAmount(q.InputCost)
	q.OutputPrice = ClampAmount(q.OutputPrice)
	q.N = max(q.N, 1)
	if q.MaxOutput < 0 {
		q.MaxOutput = -1
	} else {
		q.MaxOutput = ClampAmount(q.MaxOutput)
	}
	return q
}

// Wanted returns the output that the request asks quotas for.
func (q *Demand) Wanted() Output {
	if q.MaxOutput < 0 {
		return Output{Total: q.Output, Cap: -1}
	}
	return Output{Total: q.MaxOutput, Cap: -1}
}

// Least returns the total output below which a cap is not lowered: one token for each answer.
func (q *Demand) Least() int64 {
	if q.Uncapped {
		return q.Wanted().Total
	}
	return min(q.N, q.Wanted().Total)
}

// Need returns what the request takes of a limit if its answers have no more than total tokens;
// fits reports whether the limit, with nothing taken, has room for it.
//
// A rate must have room for the input, and for as much of the output as its bucket can hold: the rest
// becomes debt. A quota must have room for all of it.
func (q *Demand) Need(l limiter.Limit, total int64) (n int64, fits bool) {
	capacity, rate := l.Capacity(), l.Window.Rate()
	base, price := l.Unit.Cost(&q.Request)
	if rate {
		total = min(total, q.Output)
	}
	n = min(base+outputCost(total, price), TooMuch)
	if rate && base <= capacity {
		n = min(n, capacity)
	}
	return n, n <= capacity
}

// outputCost returns the cost of output tokens at a price in thousandths, rounded up.
func outputCost(tokens, price int64) int64 {
	switch price {
	case 0:
		return 0
	case limiter.OneToken:
		return tokens
	default:
		return mulDivUp(tokens, price, 1000)
	}
}

// lower returns o lowered to the output for which a quota has room. It returns o unchanged if the quota
// has room for it, or if not even the least output fits.
func (q *Demand) lower(o Output, l limiter.Limit, room int64) Output {
	if n, _ := q.Need(l, o.Total); n <= room {
		return o
	}
	if n, _ := q.Need(l, q.Least()); n > room {
		return o
	}
	base, price := l.Unit.Cost(&q.Request)
	total := MulDiv(room-base, 1000, price)
	each := total / q.N
	return Output{Total: each * q.N, Cap: each}
}

// ClampAmount returns n clamped to 0 … MaxAmount, so that the sum of two can't overflow.
func ClampAmount(n int64) int64 { return min(max(n, 0), limiter.MaxAmount) }

// TooMuch stands for every count that is more than any limit.
const TooMuch = limiter.MaxAmount + 1

// MulDiv returns a*b/c rounded down, at most TooMuch. No argument may be negative, and c not 0.
func MulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return divide(hi, lo, c)
}

// mulDivUp is MulDiv rounded up.
func mulDivUp(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	lo, carry := bits.Add64(lo, uint64(c-1), 0)
	return divide(hi+carry, lo, c)
}

func divide(hi, lo uint64, c int64) int64 {
	if hi >= uint64(c) {
		return TooMuch
	}
	n, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(n, uint64(TooMuch)))
}

// CheckCandidate reports an error if candidate is not a valid index among so many candidates.
func CheckCandidate(candidate, candidates int) error {
	if candidate < 0 || candidate >= max(candidates, 1) {
		return fmt.Errorf("moving a reservation to candidate %d of %d", candidate, max(candidates, 1))
	}
	return nil
}

// Distinct returns rules without those whose name occurs in seen or earlier in rules.
func Distinct(rules, seen []*limiter.Rule) []*limiter.Rule {
	out := rules[:0:0]
next:
	for _, rule := range rules {
		for _, s := range seen {
			if s.Name() == rule.Name() {
				continue next
			}
		}
		for _, s := range out {
			if s.Name() == rule.Name() {
				continue next
			}
		}
		out = append(out, rule)
	}
	return out
}
