package limiter

import (
	"fmt"
	"math/bits"
)

// output is how much output a reservation has room for.
type output struct {
	total int64 // tokens, for all answers together
	cap   int64 // of each answer; -1 where no quota has lowered it
}

// normalised returns the request with its counts within what the arithmetic is exact for.
func (q Request) normalised() Request {
	q.Input = clamp(q.Input)
	q.Output = clamp(q.Output)
	q.InputCost = clamp(q.InputCost)
	q.OutputPrice = clamp(q.OutputPrice)
	q.N = max(q.N, 1)
	if q.MaxOutput < 0 {
		q.MaxOutput = -1
	} else {
		q.MaxOutput = clamp(q.MaxOutput)
	}
	return q
}

// wanted is the output that the request asks quotas for.
func (q *Request) wanted() output {
	if q.MaxOutput < 0 {
		return output{total: q.Output, cap: -1}
	}
	return output{total: q.MaxOutput, cap: -1}
}

// least is the output below which a cap is not lowered: a token each.
func (q *Request) least() int64 {
	if q.Uncapped {
		return q.wanted().total
	}
	return min(q.N, q.wanted().total)
}

// need is what the request takes of a limit if its answers come to no more than total tokens, and
// fits tells whether the limit, with nothing taken, has room for it.
//
// A rate must hold the input, and of the output what its bucket can hold: the rest becomes debt. A
// quota must hold all of it.
func (q *Request) need(l Limit, total int64) (n int64, fits bool) {
	capacity, rate := l.Capacity(), l.Window.Rate()
	base, price := l.Unit.row().cost(q)
	if rate {
		total = min(total, q.Output)
	}
	n = min(base+outputCost(total, price), beyond)
	if rate && base <= capacity {
		n = min(n, capacity)
	}
	return n, n <= capacity
}

// outputCost is what tokens of output cost at a price in thousandths, rounded up.
func outputCost(tokens, price int64) int64 {
	switch price {
	case 0:
		return 0
	case oneToken:
		return tokens
	default:
		return mulDivUp(tokens, price, 1000)
	}
}

// lower lowers o to the output for which room of a quota is enough. It leaves o where the quota has
// room for it, and where even the least does not fit.
func (q *Request) lower(o output, l Limit, room int64) output {
	if n, _ := q.need(l, o.total); n <= room {
		return o
	}
	if n, _ := q.need(l, q.least()); n > room {
		return o
	}
	base, price := l.Unit.row().cost(q)
	total := mulDiv(room-base, 1000, price)
	each := total / q.N
	return output{total: each * q.N, cap: each}
}

// clamp brings a count into 0 to MaxAmount, so that sums of two can't overflow.
func clamp(n int64) int64 { return min(max(n, 0), MaxAmount) }

// beyond stands for every count that is more than any limit.
const beyond = MaxAmount + 1

// mulDiv returns a*b/c rounded down, at most beyond; none is negative, c is not 0.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	return divide(hi, lo, c)
}

// mulDivUp is mulDiv rounded up.
func mulDivUp(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	lo, carry := bits.Add64(lo, uint64(c-1), 0)
	return divide(hi+carry, lo, c)
}

func divide(hi, lo uint64, c int64) int64 {
	if hi >= uint64(c) {
		return beyond
	}
	n, _ := bits.Div64(hi, lo, uint64(c))
	return int64(min(n, uint64(beyond)))
}

// checkCandidate tells whether a reservation can move to a candidate.
func (q *Request) checkCandidate(candidate int) error {
	return checkCandidate(candidate, len(q.Candidates))
}

// checkCandidate is Request.checkCandidate for so many candidates.
func checkCandidate(candidate, candidates int) error {
	if candidate < 0 || candidate >= max(candidates, 1) {
		return fmt.Errorf("moving a reservation to candidate %d of %d", candidate, max(candidates, 1))
	}
	return nil
}
