package limiter

import (
	"fmt"
	"strings"
)

// Unit is what a limit counts.
type Unit uint8

// The units of a limit. Each has a row in units. A new unit needs a constant here, a row there, and a
// row in the test that covers all units.
const (
	Requests     Unit = iota // requests, one each
	Tokens                   // the whole input, caches included, and the output
	InputTokens              // the whole input, caches included
	OutputTokens             // the output, reasoning included
	USD                      // money, in nano-USD; calendar windows only
	Concurrent               // requests in flight; no window

	UnitCount = iota
)

// OneToken is the price of an output token in units that count tokens: see [Unit.Cost].
const OneToken = 1000

// unitRow describes a unit.
type unitRow struct {
	name string // in the configuration

	// windows are the kinds of windows that a limit of the unit may have.
	windows windowKinds

	// cost returns what a request takes of the unit: base regardless of the output, plus price for
	// each output token, in thousandths.
	cost func(q *Request) (base, price int64)

	// charge returns the usage of the unit by a request that was sent to a backend.
	charge func(a Usage) int64

	// rate and quota name a limit in messages to callers; letter is the providers' abbreviation in
	// the name of a rate.
	rate, letter, quota string
}

// windowKinds are the kinds of windows that a unit has.
type windowKinds uint8

const (
	anyWindow windowKinds = iota
	quotaWindow
	noWindow
)

// units has a row for each Unit. Redis's scripts do not use it: they receive the numbers.
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

// row returns the unit's row. For an unknown unit, a request takes more than any limit has, so that
// it is refused.
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

// String returns the unit's name in the configuration, such as "input_tokens".
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

// unitList returns the names of all units, for errors.
func unitList() string {
	names := make([]string, len(units))
	for i := range units {
		names[i] = units[i].name
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Charge returns what a limit of the unit is charged for a request: the part of the reservation that
// is not returned, and usage beyond it.
func (a Usage) Charge(u Unit) int64 {
	if !a.Dispatched {
		return 0
	}
	return u.row().charge(a)
}

// Cost returns what a request takes of the unit: base regardless of the output, plus price for each
// output token, in thousandths.
func (u Unit) Cost(q *Request) (base, price int64) { return u.row().cost(q) }

// answered returns the charge for a usage of n: 0 if the backend failed.
func (a Usage) answered(n int64) int64 {
	if a.Failed {
		return 0
	}
	return clamp(n)
}

// clamp returns n clamped to 0 … MaxAmount, so that the sum of two can't overflow.
func clamp(n int64) int64 { return min(max(n, 0), MaxAmount) }
