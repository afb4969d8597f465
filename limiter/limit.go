// Package limiter decides whether a request may pass. It enforces every limit of a gate (rates,
// calendar quotas, budgets and concurrency): it reserves the expected usage of a request before the
// request is forwarded, and settles the reservation with the actual usage afterwards.
//
// A [Limiter] is one store of counters. Package memory implements it for a single process, package redis
// for several gates that share a Redis, and package failover adds the behaviour during a Redis outage.
// Package limitertest is the test suite that every store must pass.
package limiter

import (
	"fmt"
	"strconv"
	"time"
)

// MaxAmount is the largest amount of a limit, and the largest count that the package adds up. Parsing
// a limit with a larger amount fails; larger counts in a request are clamped to MaxAmount.
// It is below 2^53, so that a store which computes in doubles, as Redis's scripts do, is exact;
// in money it is 9 million USD.
const MaxAmount int64 = 9_000_000_000_000_000

// NanoUSD is one US dollar in the integers that a usd limit counts in.
const NanoUSD int64 = 1_000_000_000

// Window is the time over which a limit counts.
type Window uint8

// The windows of a limit. Windows up to an hour are rates, implemented as token buckets; longer ones
// are quotas, which count over a calendar window in UTC. A concurrent limit has no window.
const (
	NoWindow Window = iota
	Second
	Minute
	Hour
	Day   // from 00:00
	Week  // from Monday 00:00, as in ISO 8601
	Month // from 00:00 on the first
)

var windowNames = [...]string{"", "second", "minute", "hour", "day", "week", "month"}

// String returns the window's long word in the configuration, such as "minute", and "" for NoWindow.
func (w Window) String() string {
	if int(w) < len(windowNames) {
		return windowNames[w]
	}
	return fmt.Sprintf("Window(%d)", uint8(w))
}

// Quota reports whether the window is a calendar one (day, week or month).
func (w Window) Quota() bool { return w >= Day && w <= Month }

// Rate reports whether the window is that of a token bucket (second, minute or hour).
func (w Window) Rate() bool { return w >= Second && w <= Hour }

// Duration returns the length of a rate's window; it is 0 for quotas, whose windows follow the
// calendar, and for NoWindow.
func (w Window) Duration() time.Duration {
	switch w {
	case Second:
		return time.Second
	case Minute:
		return time.Minute
	case Hour:
		return time.Hour
	default:
		return 0
	}
}

// Bounds returns the start and the end of the calendar window that contains t, in UTC. Both are zero
// if the window is not a quota's.
func (w Window) Bounds(t time.Time) (start, end time.Time) {
	year, month, day := t.UTC().Date()
	switch w {
	case Day:
		start = time.Date(year, month, day, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 0, 1)
	case Week:
		sinceMonday := (int(t.UTC().Weekday()) + 6) % 7
		start = time.Date(year, month, day-sinceMonday, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 0, 7)
	case Month:
		start = time.Date(year, month, 1, 0, 0, 0, 0, time.UTC)
		return start, start.AddDate(0, 1, 0)
	default:
		return time.Time{}, time.Time{}
	}
}

// Limit is an amount of a unit over a window. Its text form, in JSON too, is that of the Caddyfile:
// "60 requests/minute burst 10". The zero Limit is not valid.
type Limit struct {
	// Unit is what is counted.
	Unit Unit

	// Window is the time over which it is counted: [NoWindow] for Concurrent, a quota's for USD.
	Window Window

	// Amount is how much each window allows: requests, tokens, nano-USD, or concurrent requests.
	// From 1 to MaxAmount.
	Amount int64

	// Burst is the capacity of a rate's bucket: how much may be taken at once after a pause.
	// Default (0): Amount, so that the first window may admit twice the limit, the burst and the
	// refill. Rates only.
	Burst int64
}

// Capacity returns the most that the limit can admit at once: a rate's burst if set, else the amount.
func (l Limit) Capacity() int64 {
	if l.Window.Rate() && l.Burst > 0 {
		return l.Burst
	}
	return l.Amount
}

// String returns the limit on one line, in the form that [ParseLimit] reads.
func (l Limit) String() string {
	amount := formatCount(l.Amount)
	if l.Unit == USD {
		amount = FormatUSD(l.Amount)
	}
	s := amount + " " + l.Unit.String()
	if l.Window != NoWindow {
		s += "/" + l.Window.String()
	}
	if l.Burst > 0 {
		s += " burst " + formatCount(l.Burst)
	}
	return s
}

// MarshalText returns the limit's text form. It fails for a limit that [ParseLimit] would reject.
func (l Limit) MarshalText() ([]byte, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	return []byte(l.String()), nil
}

// formatCount formats n with the largest of k, M and G that divides it.
func formatCount(n int64) string {
	for _, s := range []struct {
		size int64
		name string
	}{{1_000_000_000, "G"}, {1_000_000, "M"}, {1000, "k"}} {
		if n >= s.size && n%s.size == 0 {
			return strconv.FormatInt(n/s.size, 10) + s.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// FormatUSD formats nano-USD as dollars without a currency sign: "25", "0.5", "0.000000001".
func FormatUSD(nano int64) string {
	sign := ""
	if nano < 0 {
		sign, nano = "-", -nano
	}
	whole, fraction := nano/NanoUSD, nano%NanoUSD
	if fraction == 0 {
		return sign + strconv.FormatInt(whole, 10)
	}
	digits := fmt.Sprintf("%09d", fraction)
	for digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	return sign + strconv.FormatInt(whole, 10) + "." + digits
}
