package limiter

import (
	"fmt"
	"strings"
)

// Unit is what a limit counts.
type Unit uint8

// The units of a limit. Each has a row in units: a new one is a constant here, a row there, and a row
// in the test that walks all of them.
const (
	Requests     Unit = iota // requests, one each
	Tokens                   // the whole input, caches included, and the output
	InputTokens              // the whole input, caches included
	OutputTokens             // the output, reasoning included
	USD                      // money, in nano-USD; calendar windows only
	Concurrent               // requests in flight; no window

	UnitCount = iota
)

// OneToken is the price of a token of output where a unit counts tokens: see [Unit.Cost].
const OneToken = 1000

// unitRow is all that the package knows of a unit.
type unitRow struct {
	name string // in the configuration

	// windows are the windows that a limit of the unit may have.
	windows windowKinds

	// cost returns what a request takes of the unit: base whatever it answers, and price for each
	// token of output, in thousandths.
	cost func(q *Request) (base, price int64)

	// charge returns what a request that was sent to a backend has used of the unit.
	charge func(a Usage) int64

	// rate and quota are the words for a limit in messages to callers, letter is what providers
	// abbreviate the rate's to.
	rate, letter, quota string
}

// windowKinds are the kinds of windows that a unit has.
type windowKinds uint8

const (
	anyWindow windowKinds = iota
	quotaWindow
	noWindow
)

// units has a row for each Unit. Redis's scripts know none of this: they are sent the numbers.
var units = [UnitCount]unitRow{
	Requests: {
		name: "requests", rate: "requests", letter: "R", quota: "request quota",
		cost:   func(*Request) (base, price int64) { return 1, 0 },
		charge: func(Usage) int64 { return 1 },
	},
	Tokens: {
		name: "tokens", rate: "tokens", letter: "T", quota: "token quota",
		cost:   func(q *Request) (base, price int64) { return q.Input, OneToken },
		charge: func(a Usage) int64 { return a.answered(clamp(a.Input) + clamp(a.Output)) },
	},
	InputTokens: {
		name: "input_tokens", rate: "input tokens", letter: "IT", quota: "input token quota",
		cost:   func(q *Request) (base, price int64) { return q.Input, 0 },
		charge: func(a Usage) int64 { return a.answered(a.Input) },
	},
	OutputTokens: {
		name: "output_tokens", rate: "output tokens", letter: "OT", quota: "output token quota",
		cost:   func(*Request) (base, price int64) { return 0, OneToken },
		charge: func(a Usage) int64 { return a.answered(a.Output) },
	},
	USD: {
		name: "usd", windows: quotaWindow, quota: "budget",
		cost:   func(q *Request) (base, price int64) { return q.InputCost, q.OutputPrice },
		charge: func(a Usage) int64 { return a.answered(a.Cost) },
	},
	Concurrent: {
		name: "concurrent", windows: noWindow,
		cost:   func(*Request) (base, price int64) { return 1, 0 },
		charge: func(Usage) int64 { return 0 },
	},
}

// row returns the unit's row. Of what is no unit, a request takes more than any limit has, so that it
// is refused.
func (u Unit) row() *unitRow {
	if int(u) < len(units) {
		return &units[u]
	}
	return &unknownUnit
}

var unknownUnit = unitRow{
	cost:   func(*Request) (base, price int64) { return MaxAmount + 1, 0 },
	charge: func(Usage) int64 { return MaxAmount },
}

// String returns the unit's word in the configuration, such as "input_tokens".
func (u Unit) String() string {
	if int(u) < len(units) {
		return units[u].name
	}
	return fmt.Sprintf("Unit(%d)", uint8(u))
}

// Units returns all units.
func Units() []Unit {
	all := make([]Unit, len(units))
	for i := range all {
		all[i] = Unit(i)
	}
	return all
}

// unitList names all units in errors.
func unitList() string {
	names := make([]string, len(units))
	for i := range units {
		names[i] = units[i].name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Charge returns what a limit of the unit is charged for a request: what of the reservation is not
// given back, and what is taken beyond it.
func (a Usage) Charge(u Unit) int64 {
	if !a.Dispatched {
		return 0
	}
	return u.row().charge(a)
}

// Cost returns what a request takes of the unit: base whatever it answers, and price for each token of
// output, in thousandths.
func (u Unit) Cost(q *Request) (base, price int64) { return u.row().cost(q) }

// answered returns what of n is charged: nothing where the backend failed.
func (a Usage) answered(n int64) int64 {
	if a.Failed {
		return 0
	}
	return clamp(n)
}

// clamp brings a count into 0 to MaxAmount, so that sums of two can't overflow.
func clamp(n int64) int64 { return min(max(n, 0), MaxAmount) }
