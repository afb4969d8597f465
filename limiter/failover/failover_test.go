package failover_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/failover"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// guard is a limiter of a test, and the changes that it announced.
type guard struct {
	*failover.Limiter
	t       *testing.T
	redis   *redis.Store
	changes chan error // nil: available again
}

// guardTimeout is the store's timeout: long enough that a working Redis is not marked as unavailable on
// a machine that tests share.
const guardTimeout = 2 * time.Second

// newGuard returns a limiter over a store.
func newGuard(t *testing.T, url string, opts failover.Options) *guard {
	t.Helper()
	return newGuardOf(t, redis.Options{Client: dial(t, redis.ClientOptions{URLs: []string{url}})}, opts)
}

func newGuardOf(t *testing.T, redisOpts redis.Options, opts failover.Options) *guard {
	t.Helper()
	redisOpts.Timeout, redisOpts.Seed = guardTimeout, opts.Seed
	redis := redis.New(redisOpts)
	g := &guard{t: t, redis: redis, changes: make(chan error, 10_000)}
	opts.OnChange = func(reason error) { g.changes <- reason }
	g.Limiter = failover.New(redis, opts)
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	return g
}

// threeGuards are three gates that have counted each other.
func threeGuards(t *testing.T, url string, opts failover.Options) []*guard {
	t.Helper()
	all := []*guard{newGuard(t, url, opts), newGuard(t, url, opts), newGuard(t, url, opts)}
	for range 2 {
		for _, g := range all {
			if err := g.redis.Ping(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, g := range all {
		if n := g.redis.Replicas(); n != 3 {
			t.Fatalf("gate %d has counted %d", i, n)
		}
	}
	return all
}

// waitFor waits for the next change, which must be of that kind.
func (g *guard) waitFor(up bool) {
	g.t.Helper()
	select {
	case reason := <-g.changes:
		if (reason == nil) != up {
			g.t.Fatalf("announced %v, want up %t", reason, up)
		}
		if reason != nil && !errors.Is(reason, limiter.ErrUnavailable) {
			g.t.Errorf("the reason is %v", reason)
		}
	case <-time.After(time.Minute):
		g.t.Fatalf("no change to %t", up)
	}
}

var requestIDs atomic.Int64

// ask reserves an amount under rules.
func (g *guard) ask(input int64, rules ...*limiter.Rule) (limiter.Reservation, error) {
	return g.Reserve(context.Background(), limiter.Request{
		ID: fmt.Sprintf("request-%d", requestIDs.Add(1)), Rules: rules, Input: input, N: 1,
	})
}

// admits reports whether a request is admitted. Errors other than a refusal fail the test.
func (g *guard) admits(input int64, rules ...*limiter.Rule) (limiter.Reservation, bool) {
	g.t.Helper()
	r, err := g.ask(input, rules...)
	if refusal := new(limiter.Refusal); errors.As(err, &refusal) {
		return nil, false
	}
	if err != nil {
		g.t.Errorf("reserving: %v", err)
		return nil, false
	}
	return r, true
}

// drain makes requests of an amount until one is refused, and returns how many were admitted. Each uses
// what it reserves.
func (g *guard) drain(input int64, rules ...*limiter.Rule) (n int64) {
	g.t.Helper()
	for {
		r, ok := g.admits(input, rules...)
		if !ok {
			return n
		}
		n++
		r.Settle(context.Background(), used(input, 0))
	}
}

// left returns what is left of a rule.
func (g *guard) left(rule *limiter.Rule) int64 {
	g.t.Helper()
	all, err := g.Peek(context.Background(), []*limiter.Rule{rule})
	if err != nil || len(all) != 1 || all[0].Rule != rule || all[0].Limit != rule.Limit.Amount {
		g.t.Fatalf("peeking: %+v, %v", all, err)
	}
	return all[0].Remaining
}

func used(input, output int64) limiter.Usage {
	return limiter.Usage{Dispatched: true, Input: input, Output: output}
}

func ruleOf(t *testing.T, id, text string) *limiter.Rule {
	t.Helper()
	l, err := limiter.ParseLimit(strings.Fields(text))
	if err != nil {
		t.Fatal(err)
	}
	return limiter.NewRule(limiter.ScopeKey, id, l)
}

func TestThreeGuardsAdmitExactlyTheLimit(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	all := threeGuards(t, s.URL, failover.Options{})
	for text, want := range map[string]int64{"50 requests/hour": 50, "100 tokens/day": 50, "20 concurrent": 20} {
		rule := ruleOf(t, "storm", text)
		var admitted atomic.Int64
		var callers sync.WaitGroup
		for i := range 300 {
			callers.Go(func() {
				if _, ok := all[i%3].admits(2, rule); ok {
					admitted.Add(1)
				}
			})
		}
		callers.Wait()
		if admitted.Load() != want {
			t.Errorf("%s: %d admitted, want %d", text, admitted.Load(), want)
		}
	}
}

// Redis dies and is replaced by an empty one: what three gates admit before, during and after the outage
// is together at most one burst above the limit.
func TestKilledRedisCostsAtMostOneBurst(t *testing.T) {
	const burst = 60
	s := redistest.Standalone(t, redistest.Options{})
	all := threeGuards(t, s.URL, failover.Options{})
	rule, tokens := ruleOf(t, "alice", "60 requests/hour"), ruleOf(t, "bob", "600 tokens/hour")

	var before, meanwhile, after [2]int64
	count := func(to *[2]int64) {
		for _, g := range all {
			to[0] += g.drain(1, rule)
			to[1] += 10 * g.drain(10, tokens)
		}
	}
	for range 7 {
		for _, g := range all {
			if r, ok := g.admits(1, rule); ok {
				before[0]++
				r.Settle(context.Background(), used(1, 0))
			}
			if r, ok := g.admits(10, tokens); ok {
				before[1] += 10
				r.Settle(context.Background(), used(10, 0))
			}
		}
	}
	s.Kill()
	start := time.Now()
	count(&meanwhile)
	if took := time.Since(start); took > 4*guardTimeout { // each gate waits once at most
		t.Errorf("a dead Redis has cost %v", took)
	}
	for _, g := range all {
		g.waitFor(false)
	}
	if left := all[0].left(rule); left > 1 {
		t.Errorf("%d requests are left of an emptied share", left)
	}
	s.Restart()
	for _, g := range all {
		g.waitFor(true)
	}
	count(&after)
	t.Logf("requests: %d, %d, %d; tokens: %d, %d, %d", before[0], meanwhile[0], after[0], before[1], meanwhile[1], after[1])
	for i, burst := range [2]int64{burst, 10 * burst} {
		if total := before[i] + meanwhile[i] + after[i]; total > 2*burst+burst/20 { // allows for the refill
			t.Errorf("%d admitted of %d", total, burst)
		}
		// Gates continue from the last known state, which lacks only what the other gates took since.
		if total := before[i] + meanwhile[i]; total > burst+burst/10 || meanwhile[i] < burst/3 {
			t.Errorf("%d admitted without Redis, %d before", meanwhile[i], before[i])
		}
		if after[i] > burst-meanwhile[i]+burst/20 {
			t.Errorf("%d admitted afterwards, as if the %d without Redis had not been", after[i], meanwhile[i])
		}
	}
}

// Redis is charged exactly once for what shares have admitted, whether settled before or after it is
// available again.
func TestRecoveryChargesWhatSharesAdmitted(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	g := newGuard(t, s.URL, failover.Options{})
	hour, day := ruleOf(t, "alice", "1000 tokens/hour"), ruleOf(t, "alice", "1000 tokens/day")
	requests := ruleOf(t, "alice", "100 requests/day")
	rules := []*limiter.Rule{hour, day, requests}
	ctx := context.Background()

	start := time.Now()
	inRedis, _ := g.admits(100, rules...) // and settled without it
	s.Stop()
	early, ok1 := g.admits(10, rules...)
	late, ok2 := g.admits(20, rules...)
	gone, ok3 := g.admits(30, rules...)
	if inRedis == nil || !ok1 || !ok2 || !ok3 {
		t.Fatal("refused")
	}
	g.waitFor(false)
	if got := g.left(day); got > 900-60 {
		t.Errorf("%d are left in the share", got)
	}
	inRedis.Settle(ctx, used(110, 0))
	early.Settle(ctx, used(7, 0))
	early.Settle(ctx, used(7, 0))
	s.Cont()
	g.waitFor(true)
	if got := g.left(day); got != 1000-110-7-20-30 {
		t.Errorf("%d are left of the quota while two are in flight", got)
	}
	if got := g.left(requests); got != 96 {
		t.Errorf("%d requests are left while two are in flight", got)
	}
	late.Settle(ctx, used(25, 0))
	gone.Settle(ctx, limiter.Usage{})
	if err := g.redis.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	const want = 1000 - 110 - 7 - 25
	if got := g.left(day); got != want {
		t.Errorf("%d are left of the quota, want %d", got, want)
	}
	slack := 2 + int64(time.Since(start)/(3600*time.Millisecond)) // it fills by one in 3.6 s
	if got := g.left(hour); got < want || got > want+slack {
		t.Errorf("%d are left of the rate, want %d", got, want)
	}
	if got := g.left(requests); got != 97 {
		t.Errorf("%d requests are left, want 97", got)
	}
}

func TestSharesStartWhereNothingIsKnown(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	s.Kill()
	g := newGuard(t, s.URL, failover.Options{
		Replicas: 4, Seed: func(r *limiter.Rule, _ time.Time) (int64, error) { return r.Limit.Amount / 5, nil },
	})
	g.waitFor(false) // before the first request
	for text, want := range map[string]int64{
		"40 requests/hour":         10,           // of a burst
		"40 requests/hour burst 8": 2,            // of its own burst
		"2 requests/hour":          1,            // at least one
		"3 concurrent":             1,            // at least one
		"1000 tokens/day":          200,          // of the four fifths that are left
		"10 usd/month":             8e9 / 4 / 10, // an allowance
	} {
		rule := ruleOf(t, strings.ReplaceAll(text, " ", "-"), text)
		if got := g.left(rule); got != want {
			t.Errorf("%s: %d are left, want %d", text, got, want)
		}
	}
	// A request that is too large only for the share may be retried.
	_, err := g.ask(100, ruleOf(t, "large", "200 tokens/minute"))
	refusal := new(limiter.Refusal)
	if !errors.As(err, &refusal) || refusal.TooLarge || refusal.RetryAfter <= 0 || refusal.Limit != 200 {
		t.Errorf("a request that is larger than the share: %+v", refusal)
	}
	if _, err = g.ask(201, ruleOf(t, "larger", "200 tokens/minute")); !errors.As(err, &refusal) || !refusal.TooLarge {
		t.Errorf("a request that is larger than the limit: %v", err)
	}
}

func TestDenyAndAllow(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	deny := newGuard(t, s.URL, failover.Options{Mode: failover.Deny})
	allow := newGuard(t, s.URL, failover.Options{Mode: failover.Allow})
	rule, day := ruleOf(t, "alice", "1 requests/hour"), ruleOf(t, "alice", "10 tokens/day")
	allow.drain(1, rule, day)
	s.Stop()
	if _, err := deny.ask(1, rule); !errors.Is(err, limiter.ErrUnavailable) {
		t.Errorf("deny: %v", err)
	}
	deny.waitFor(false)
	if deny.Ready() == nil {
		t.Error("deny is ready")
	}
	for range 3 {
		r, err := allow.ask(1, rule, day)
		if err != nil {
			t.Fatalf("allow: %v", err)
		}
		if r.Cap() != -1 || r.Candidate() != 0 || len(r.States()) != 0 {
			t.Error("allow holds something")
		}
		r.Settle(context.Background(), used(2, 1))
	}
	allow.waitFor(false)
	if allow.Ready() != nil {
		t.Error("allow is not ready")
	}
	if mode, away := allow.Away(); mode != failover.Allow || !away {
		t.Error("allow does not say that Redis is away")
	}
	_ = deny.left(rule)
	_ = allow.left(rule)
	s.Cont()
	deny.waitFor(true)
	allow.waitFor(true)
	if deny.Ready() != nil {
		t.Error("deny is not ready again")
	}
	if got := allow.left(day); got != 0 {
		t.Errorf("%d tokens are left of a quota of 10, of which 1 + 9 were used", got)
	}
	if _, ok := deny.admits(1, rule); ok {
		t.Error("deny forgot")
	}
}

// A stopped Redis costs callers at most the timeout, and later callers nothing.
func TestStoppedRedisCostsTheTimeoutOnce(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	g := newGuard(t, s.URL, failover.Options{})
	rule := ruleOf(t, "alice", "1M requests/hour")
	g.admits(1, rule)
	s.Stop()
	var waited atomic.Int64
	var callers sync.WaitGroup
	for range 50 {
		callers.Go(func() {
			for range 20 {
				start := time.Now()
				g.admits(1, rule)
				if time.Since(start) > guardTimeout/2 {
					waited.Add(1)
				}
			}
		})
	}
	callers.Wait()
	if n := waited.Load(); n > 50 {
		t.Errorf("%d requests of 1000 waited, want one for each of 50 callers at most", n)
	}
	g.waitFor(false)
	s.Cont()
	g.waitFor(true)
}

// A request that falls back while Redis is unavailable reserves the next backend's part from its share.
func TestMovesWithoutRedis(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	g := newGuard(t, s.URL, failover.Options{})
	key := ruleOf(t, "alice", "10 requests/hour")
	limit := ruleOf(t, "x", "2 concurrent").Limit
	a, b := limiter.NewRule(limiter.ScopeBackend, "a", limit), limiter.NewRule(limiter.ScopeBackend, "b", limit)
	req := func(id string) limiter.Request {
		return limiter.Request{ID: id, Rules: []*limiter.Rule{key}, Candidates: [][]*limiter.Rule{{a}, {b}}, N: 1}
	}
	ctx := context.Background()
	shared, err := g.Reserve(ctx, req("shared"))
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	if err := shared.Move(ctx, 1); err != nil {
		t.Fatal(err)
	}
	local, err := g.Reserve(ctx, req("local"))
	if err != nil {
		t.Fatal(err)
	}
	if err := local.Move(ctx, 1); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]limiter.Reservation{"shared": shared, "local": local} {
		if all := r.States(); r.Candidate() != 1 || r.Cap() != -1 || len(all) != 2 || all[0].Rule != key || all[1].Rule != b {
			t.Errorf("%s: candidate %d, %+v", name, r.Candidate(), all)
		}
	}
	third, err := g.Reserve(ctx, req("third"))
	if err != nil {
		t.Fatal(err)
	}
	if refusal := new(limiter.Refusal); !errors.As(third.Move(ctx, 1), &refusal) || refusal.Rule != b {
		t.Errorf("b has room for three: %+v", refusal)
	}
	g.waitFor(false)
	s.Cont()
	g.waitFor(true)
	for _, r := range []limiter.Reservation{shared, local, third} {
		r.Settle(ctx, used(1, 1))
		if err := r.Move(ctx, 0); !errors.Is(err, limiter.ErrSettled) {
			t.Errorf("moving what is settled: %v", err)
		}
	}
	if err := g.redis.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	for rule, want := range map[*limiter.Rule]int64{key: 7, a: 2, b: 2} {
		if got := g.left(rule); got != want {
			t.Errorf("%s: %d left, want %d", rule.Name(), got, want)
		}
	}
}
