package redis

import (
	"encoding/binary"
	"errors"
	"math"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// The kinds of counters and the modes and outcomes of an admission, as the scripts number them.
const (
	luaBucket, luaQuota, luaPermit = 0, 1, 2
	luaReserve, luaPeek, luaMove   = 0, 1, 2

	luaAdmitted, luaRefused, luaUnseeded, luaGivenUp, luaSeen, luaDamaged = 0, 1, 2, 3, 4, 5

	// luaReaped is a quota's hold that counts as used.
	luaReaped = 3

	// How settle.lua treats a settlement without a record.
	luaKnown, luaGiveUp, luaOnce, luaLost = 0.0, 1.0, 2.0, 3.0

	// luaEverything stands for unlimited output.
	luaEverything = float64(limiter.MaxAmount)
)

// ask is the input of the admission script. No two of its rules have the same name.
type ask struct {
	mode       float64
	id         string // of the reservation
	req        *account.Demand
	out        account.Output
	common     []*limiter.Rule
	candidates [][]*limiter.Rule
}

// answer is the output of the admission script.
type answer struct {
	bad       bool // it is not what was expected
	status    int64
	at        account.Instant
	candidate int
	out       account.Output
	common    []account.Hold // states of the request's rules
	own       []account.Hold // states of the candidate's rules
	refusal   *limiter.Refusal
	unseeded  []unseeded
	damaged   *limiter.Rule // whose counter is damaged
}

// unseeded is a quota that must be seeded: its rule's number, and the start of its window.
type unseeded struct{ rule, start int64 }

// seed is the usage of a quota since the start of its window, which is in microseconds.
type seed struct{ used, since float64 }

// rules calls f for each rule with its number, in order.
func (a *ask) rules(f func(i int, rule *limiter.Rule)) {
	i := 0
	for _, rule := range a.common {
		f(i, rule)
		i++
	}
	for _, candidate := range a.candidates {
		for _, rule := range candidate {
			f(i, rule)
			i++
		}
	}
}

// rule returns the rule with number n; nil if there is none.
func (a *ask) rule(n int64) (rule *limiter.Rule) {
	a.rules(func(i int, r *limiter.Rule) {
		if int64(i) == n {
			rule = r
		}
	})
	return rule
}

// size returns the number of counters of an admission.
func (a *ask) size() int {
	n := len(a.common)
	for _, rules := range a.candidates {
		n += len(rules)
	}
	return n
}

// answer reads the outcome of the admission from the script's reply.
func (a *ask) answer(r *reply, at account.Instant) *answer {
	got := &answer{status: r.number(), at: at}
	switch got.status {
	case luaAdmitted:
		got.candidate = int(r.number())
		got.out = account.Output{Total: r.number(), Cap: r.number()}
		a.states(got, r)
	case luaRefused:
		rule := a.rule(r.number())
		v := account.Verdict{Need: r.number(), Room: r.number(), Wait: time.Duration(r.number())}
		v.Reserved, v.TooLarge = r.number() != 0, r.number() != 0
		got.candidate = int(r.number())
		a.states(got, r)
		if got.bad = got.bad || rule == nil; !got.bad {
			got.refusal = v.Refusal(rule, got.all())
		}
	case luaSeen:
		a.states(got, r)
	case luaUnseeded:
		for range r.number() {
			got.unseeded = append(got.unseeded, unseeded{r.number(), r.number()})
		}
	case luaDamaged:
		got.damaged = a.rule(r.number())
	}
	got.bad = got.bad || r.bad
	return got
}

// states reads the states of the request's rules and of the candidate's into got.
func (a *ask) states(got *answer, r *reply) {
	got.common = r.holds(a.common)
	switch {
	case got.candidate < 0, got.candidate >= max(len(a.candidates), 1):
		got.bad, r.bad = true, true // the rest can't be read either
	case len(a.candidates) > 0:
		got.own = r.holds(a.candidates[got.candidate])
	}
}

// all returns the states of the request's rules and of the candidate's.
func (got *answer) all() []limiter.State {
	all := make([]limiter.State, 0, len(got.common)+len(got.own))
	return account.States(account.States(all, got.common, got.at), got.own, got.at)
}

// packed is a sequence of numbers in the scripts' format: doubles, little-endian.
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

// text appends a string, with its length in front.
func (p packed) text(s string) packed {
	p = binary.LittleEndian.AppendUint32(p, uint32(len(s)))
	return append(p, s...)
}

// micros returns d in microseconds.
func micros(d time.Duration) float64 { return float64(d / time.Microsecond) }

// millis returns d in milliseconds, rounded up.
func millis(d time.Duration) float64 { return math.Ceil(float64(d) / float64(time.Millisecond)) }

// luaWindow returns a window in the scripts' form: a rate's in microseconds, a quota's as 1 to 3.
func luaWindow(w limiter.Window) float64 {
	if w.Quota() {
		return float64(w-limiter.Day) + 1
	}
	return micros(w.Duration())
}

func luaKind(l limiter.Limit) float64 {
	switch {
	case l.Unit == limiter.Concurrent:
		return luaPermit
	case l.Window.Quota():
		return luaQuota
	default:
		return luaBucket
	}
}

// ask appends what the request needs of a limit for total tokens of output; and in the terms of need in
// admit.lua: base, the part without the output; most, the most output that counts; clip, the maximum of both
// together.
func (p packed) ask(q *account.Demand, l limiter.Limit, total int64, seed, since float64) packed {
	base, price := l.Unit.Cost(&q.Request)
	most, clip := luaEverything, float64(account.TooMuch)
	if price == 0 {
		most = 0
	}
	if l.Window.Rate() {
		most = min(most, float64(q.Output))
		if base <= l.Capacity() {
			clip = float64(l.Capacity())
		}
	}
	needed, _ := q.Need(l, total)
	return p.numbers(luaKind(l), luaWindow(l.Window), float64(l.Amount), float64(l.Capacity()),
		float64(needed), float64(l.Unit), seed, since, float64(base), most, clip, float64(price))
}

// charges appends the charge of each unit.
func (p packed) charges(used limiter.Usage) packed {
	for _, u := range limiter.Units() {
		p = p.number(float64(used.Charge(u)))
	}
	return p
}

// hold appends a hold on a rule's counter in the format of records, see counter.lua.
func (p packed) hold(kind float64, rule *limiter.Rule, key string, amount float64, mark int64) packed {
	l, since := rule.Limit, 0.0
	if l.Window.Quota() {
		since = float64(mark / int64(time.Microsecond))
	}
	p = p.numbers(kind, float64(l.Unit), amount, since, luaWindow(l.Window), float64(l.Amount), float64(l.Capacity()))
	return p.text(key)
}

// record appends the head of a record of n holds that belongs to no reservation.
func (p packed) record(n int) packed { return p.numbers(0, 0, -1, 0, 0, float64(n)) }

var errReply = errors.New("a script answered something else than expected")

// reply reads the packed numbers of a script's reply.
type reply struct {
	data string
	bad  bool // a read went beyond the end
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

// instant reads a time of Redis, which has one clock for rates and quotas.
func (r *reply) instant() account.Instant {
	ns := r.number() * int64(time.Microsecond)
	return account.Instant{Mono: ns, Wall: ns}
}

// holds reads the states of rules' counters.
func (r *reply) holds(rules []*limiter.Rule) []account.Hold {
	out := make([]account.Hold, len(rules))
	for i, rule := range rules {
		h := &out[i]
		h.Rule, h.Room = rule, r.number()
		// The mark is the start of a window or a fraction of one, both in microseconds in the script.
		if kind := luaKind(rule.Limit); kind != luaPermit {
			h.Mark = r.number() * int64(time.Microsecond)
			if kind == luaQuota {
				h.Used = r.number()
			}
		}
	}
	return out
}
