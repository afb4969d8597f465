package limiter

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/redis/go-redis/v9"
)

// The kinds of counters and the modes and outcomes of an admission, as the scripts number them.
const (
	luaBucket, luaQuota, luaLease                    = 0, 1, 2
	luaReserve, luaPeek, luaMove, luaShrink          = 0, 1, 2, 3
	luaAdmitted, luaRefused, luaUnseeded, luaGivenUp = 0, 1, 2, 3

	// How settle.lua treats what it has no record of.
	luaKnown, luaGiveUp, luaOnce = 0.0, 1.0, 2.0

	// luaEverything is more output than any limit leaves room for.
	luaEverything = float64(MaxAmount)
)

// packed is numbers as the scripts unpack them: doubles, little-endian.
type packed []byte

func (p packed) number(n float64) packed {
	return binary.LittleEndian.AppendUint64(p, math.Float64bits(n))
}

func (p packed) numbers(ns ...float64) packed {
	for _, n := range ns {
		p = p.number(n)
	}
	return p
}

func (p packed) truth(b bool) packed {
	if b {
		return p.number(1)
	}
	return p.number(0)
}

// text is a string with its length before it.
func (p packed) text(s string) packed {
	p = binary.LittleEndian.AppendUint32(p, uint32(len(s)))
	return append(p, s...)
}

// micros are a duration or a time in the scripts' microseconds.
func micros(d time.Duration) float64 { return float64(d / time.Microsecond) }

// millis are rounded up.
func millis(d time.Duration) float64 { return math.Ceil(float64(d) / float64(time.Millisecond)) }

// luaWindow is a window as the scripts know it: a rate's in microseconds, a quota's by its number.
func luaWindow(w Window) float64 {
	if w.Quota() {
		return float64(w-Day) + 1
	}
	return micros(w.Duration())
}

func luaKind(l Limit) float64 {
	switch {
	case l.Unit == Concurrent:
		return luaLease
	case l.Window.Quota():
		return luaQuota
	default:
		return luaBucket
	}
}

// ask appends what the request asks of a limit, in the terms of need in admit.lua: base, of which the
// output is no part; most, which is as much output as counts; clip, which is the most of both.
func (p packed) ask(q *Request, l Limit, seed, since float64) packed {
	base, price := l.Unit.row().cost(q)
	most, clip := luaEverything, float64(beyond)
	if price == 0 {
		most = 0
	}
	if l.Window.Rate() {
		most = min(most, float64(q.Output))
		if base <= l.Capacity() {
			clip = float64(l.Capacity())
		}
	}
	return p.numbers(luaKind(l), luaWindow(l.Window), float64(l.Amount), float64(l.Capacity()),
		float64(base), most, clip, float64(price), float64(l.Unit), seed, since)
}

var errReply = errors.New("a script answered something else than expected")

// reply reads the numbers that a script has packed.
type reply struct {
	data string
	bad  bool // there were fewer than were read
}

func newReply(cmd *redis.Cmd) (reply, error) {
	data, err := cmd.Text()
	if err != nil {
		return reply{}, err
	}
	return reply{data: data}, nil
}

func (r *reply) more() bool { return len(r.data) >= 8 }

func (r *reply) number() int64 {
	if !r.more() {
		r.bad = true
		return 0
	}
	bits := uint64(0)
	for i := 7; i >= 0; i-- {
		bits = bits<<8 | uint64(r.data[i])
	}
	r.data = r.data[8:]
	return int64(math.Float64frombits(bits))
}

// instant is a time of Redis: rates have no other there.
func (r *reply) instant() instant {
	ns := r.number() * int64(time.Microsecond)
	return instant{mono: ns, wall: ns}
}

// hold reads the state of a rule's counter, with a counter that is as far as it is known.
func (r *reply) hold(rule *Rule) hold {
	room, mark, used := r.number(), r.number(), r.number()
	l := rule.Limit
	h := hold{rule: rule, room: room}
	switch {
	case l.Unit == Concurrent:
		h.counter = &leases{named: named(rule.name), inUse: l.Amount - room, limit: l.Amount}
	case l.Window.Quota():
		h.mark, h.used = mark*int64(time.Microsecond), used
		_, end := l.Window.Bounds(time.Unix(0, h.mark))
		h.counter = &quota{
			named: named(rule.name), window: l.Window, amount: l.Amount, used: used,
			reserved: l.Amount - room - used, start: h.mark, end: end.UnixNano(), seeded: true,
		}
	default:
		// A fraction is of the window, which the script has in microseconds.
		h.mark = mark * int64(time.Microsecond)
		h.counter = &bucket{
			named: named(rule.name), window: l.Window, amount: l.Amount, capacity: l.Capacity(),
			level: room, fraction: h.mark,
		}
	}
	return h
}

func (r *reply) holds(rules []*Rule) []hold {
	out := make([]hold, len(rules))
	for i, rule := range rules {
		out[i] = r.hold(rule)
	}
	return out
}

// charges appends what is charged of each unit.
func (p packed) charges(used Actual) packed {
	for u := range units {
		p = p.number(float64(used.Charge(Unit(u))))
	}
	return p
}
