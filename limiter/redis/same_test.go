package redis_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/memory"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

var worlds atomic.Int64

// world is two stores that receive the same calls, with a shared clock.
type world struct {
	*clock
	memory limiter.Limiter
	redis  limiter.Limiter

	// exact is false where Redis's store may repeat a refusal from memory, with the figures of then.
	exact bool

	id     int64
	rules  map[string]*limiter.Rule
	flight []pair
}

// pair is a reservation in both.
type pair struct{ memory, redis limiter.Reservation }

func amounts() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64Range(1, 20), rapid.Int64Range(1, 5000), rapid.Int64Range(1, limiter.MaxAmount),
		rapid.SampledFrom([]int64{limiter.MaxAmount, limiter.MaxAmount - 1, 1 << 52}),
	)
}

func counts() *rapid.Generator[int64] {
	return rapid.OneOf(rapid.Int64Range(0, 30), rapid.Int64Range(0, 5000), rapid.Int64Range(-1, 1<<62))
}

// drawLimit draws a limit of any unit and window.
func drawLimit(t *rapid.T) limiter.Limit {
	l := limiter.Limit{
		Unit:   limiter.Unit(rapid.IntRange(0, 5).Draw(t, "unit")),
		Window: limiter.Window(rapid.IntRange(1, 6).Draw(t, "window")),
		Amount: amounts().Draw(t, "amount"),
	}
	switch {
	case l.Unit == limiter.Concurrent:
		l.Window = limiter.NoWindow
		l.Amount = rapid.Int64Range(1, 4).Draw(t, "places")
	case l.Unit == limiter.USD && !l.Window.Quota():
		l.Window = limiter.Day
	}
	if l.Window.Rate() && rapid.Bool().Draw(t, "has a burst") {
		l.Burst = amounts().Draw(t, "burst")
	}
	return l
}

// drawRules draws some rules of a thing; those that were drawn before mostly stay as they are, as
// they do in a configuration, and are sometimes changed, as by a reload.
func (w *world) drawRules(t *rapid.T, kind limiter.ScopeKind, id string, most int) (rules []*limiter.Rule) {
	for i := range rapid.IntRange(0, most).Draw(t, "rules") {
		slot := fmt.Sprintf("%v/%s/%d", kind, id, i)
		old, ok := w.rules[slot]
		switch {
		case !ok:
			old = limiter.NewRule(kind, fmt.Sprintf("%d-%s-%d", w.id, id, i), drawLimit(t))
		case rapid.IntRange(0, 19).Draw(t, "reload") == 0:
			l := old.Limit
			switch {
			case l.Unit == limiter.Concurrent:
				l.Amount = rapid.Int64Range(1, 4).Draw(t, "new places")
			case l.Window.Rate():
				// A bucket that is full has no key in Redis, and so has a new burst at once, as it has in
				// memory after a sweep. What else a reload does to rates is in the suite.
			default:
				l.Amount = amounts().Draw(t, "new amount")
			}
			old = limiter.NewRule(kind, old.ID, l)
		}
		w.rules[slot] = old
		rules = append(rules, old)
	}
	return rules
}

func (w *world) ask(t *rapid.T) {
	req := limiter.Request{
		ID:        fmt.Sprintf("same-%d-%d", w.id, worlds.Add(1)),
		Input:     counts().Draw(t, "input"),
		Output:    counts().Draw(t, "output"),
		MaxOutput: counts().Draw(t, "max output"),
		Uncapped:  rapid.IntRange(0, 3).Draw(t, "uncapped") == 0,
		N:         rapid.Int64Range(0, 5).Draw(t, "n"), InputCost: counts().Draw(t, "input cost"),
		OutputPrice: rapid.OneOf(rapid.Int64Range(0, 3000), counts()).Draw(t, "output price"),
	}
	req.Rules = append(w.drawRules(t, limiter.ScopeKey, "k", 3), w.drawRules(t, limiter.ScopeTeam, "t", 2)...)
	for i := range rapid.IntRange(0, 3).Draw(t, "candidates") {
		req.Candidates = append(req.Candidates, w.drawRules(t, limiter.ScopeBackend, fmt.Sprint(i%2), 3))
	}
	m, err := w.memory.Reserve(context.Background(), req)
	r, redisErr := w.redis.Reserve(context.Background(), req)
	w.same(t, "reserving", err, redisErr)
	if err != nil {
		return
	}
	w.sameHeld(t, "reserved", m, r)
	w.flight = append(w.flight, pair{m, r})
}

func (w *world) sameHeld(t *rapid.T, what string, m, r limiter.Reservation) {
	if m.Candidate() != r.Candidate() || m.Cap() != r.Cap() || !reflect.DeepEqual(m.States(), r.States()) {
		t.Fatalf("%s:\nmemory candidate %d, cap %d, %v\nRedis  candidate %d, cap %d, %v", what,
			m.Candidate(), m.Cap(), text(m.States()), r.Candidate(), r.Cap(), text(r.States()))
	}
}

func text(states []limiter.State) (s string) {
	for _, state := range states {
		s += fmt.Sprintf("\n  %s %s: %d, %v", state.Rule.Name(), state.Rule.Limit, state.Remaining, state.Reset)
	}
	return s
}

func (w *world) same(t *rapid.T, what string, m, r error) {
	var refusal, redisRefusal *limiter.Refusal
	if errors.As(m, &refusal) && errors.As(r, &redisRefusal) {
		if !w.exact || reflect.DeepEqual(refusal, redisRefusal) {
			return
		}
		t.Fatalf("%s:\nmemory %+v %s\nRedis  %+v %s", what, *refusal, text(refusal.States), *redisRefusal, text(redisRefusal.States))
	}
	if m != nil || r != nil {
		t.Fatalf("%s:\nmemory %v\nRedis  %v", what, m, r)
	}
}

func (w *world) move(t *rapid.T) {
	if len(w.flight) == 0 {
		return
	}
	p := w.flight[rapid.IntRange(0, len(w.flight)-1).Draw(t, "which")]
	to := rapid.IntRange(0, 2).Draw(t, "to")
	m := p.memory.Move(context.Background(), to)
	r := p.redis.Move(context.Background(), to)
	var refusal *limiter.Refusal
	if m != nil && !errors.As(m, &refusal) {
		if r == nil || m.Error() != r.Error() {
			t.Fatalf("moving: memory %v, Redis %v", m, r)
		}
		return
	}
	exact := w.exact
	w.exact = true
	w.same(t, "moving", m, r)
	w.exact = exact
	w.sameHeld(t, "moved", p.memory, p.redis)
}

func (w *world) settle(t *rapid.T) {
	if len(w.flight) == 0 {
		return
	}
	i := rapid.IntRange(0, len(w.flight)-1).Draw(t, "which")
	p := w.flight[i]
	w.flight = append(w.flight[:i], w.flight[i+1:]...)
	used := limiter.Usage{
		Dispatched: rapid.IntRange(0, 4).Draw(t, "not sent") > 0, Failed: rapid.IntRange(0, 4).Draw(t, "failed") == 0,
		Input: counts().Draw(t, "input"), Output: counts().Draw(t, "output"), Cost: counts().Draw(t, "cost"),
	}
	p.memory.Settle(context.Background(), used)
	p.redis.Settle(context.Background(), used)
}

func (w *world) peek(t *rapid.T) {
	var rules []*limiter.Rule
	for _, rule := range w.rules {
		rules = append(rules, rule)
	}
	m, err := w.memory.Peek(context.Background(), rules)
	r, redisErr := w.redis.Peek(context.Background(), rules)
	if err != nil || redisErr != nil || !reflect.DeepEqual(m, r) {
		t.Fatalf("peeking: %v, %v\nmemory %s\nRedis  %s", err, redisErr, text(m), text(r))
	}
}

// pass moves the clock. It does not step back here: then both admit no more than they may, see
// TestRedisAdmitsNoMoreWhenItsClockStepsBack, but Redis does not store what comes in while it refuses.
func (w *world) pass(t *rapid.T) {
	unit := rapid.SampledFrom([]time.Duration{time.Microsecond, time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
	w.Advance(unit * time.Duration(rapid.Int64Range(1, 50).Draw(t, "pass")))
}

// seeded returns the usage of a quota before the stores were created.
func seeded(rule *limiter.Rule, since time.Time) (int64, error) {
	if rule.Kind == limiter.ScopeTeam {
		return since.Unix() % 7, nil
	}
	return 0, nil
}

func sameInRedis(t *testing.T, s *redistest.Server, denied time.Duration) {
	c := &clock{now: time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)}
	opts := redis.Options{Client: redis.Dial(t, s.URL), Seed: seeded, OnError: func(err error) { t.Error(err) }}
	store := redis.NewFrozen(opts, c.Now, denied)
	defer func() { _ = store.Close() }()
	rapid.Check(t, func(t *rapid.T) {
		c.mu.Lock()
		c.now = time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC).Add(time.Duration(rapid.Int64Range(0, 1e9).Draw(t, "start")) * time.Microsecond)
		c.mu.Unlock()
		memory := memory.New(memory.Options{Now: c.Now, Sweep: -1, Seed: seeded})
		defer func() { _ = memory.Close() }()
		w := &world{
			clock: c, memory: memory, redis: prompt{store, t}, exact: denied == 0,
			id: worlds.Add(1), rules: map[string]*limiter.Rule{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"ask": w.ask, "ask again": w.ask, "move": w.move, "settle": w.settle, "peek": w.peek, "pass": w.pass,
		})
		for _, p := range w.flight {
			p.redis.Settle(context.Background(), limiter.Usage{})
		}
	})
}

func TestRedisDecidesAsMemoryDoes(t *testing.T) {
	sameInRedis(t, redistest.Standalone(t, redistest.Options{}), 0)
}

func TestRedisDecidesAsMemoryDoesWithRefusalsRemembered(t *testing.T) {
	sameInRedis(t, redistest.Standalone(t, redistest.Options{}), 100*time.Millisecond)
}
