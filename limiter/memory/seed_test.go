package memory

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

func TestSeedIsAskedOnceForACounterAndWindow(t *testing.T) {
	now := time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)
	day, month, rate := rule("a", "100 tokens/day"), rule("a", "1000 tokens/month"), rule("a", "1k tokens/minute")
	asked := map[string]int{}
	m := standing(&now, func(r *limiter.Rule, since time.Time) (int64, error) {
		asked[r.Name()+" "+since.Format(time.RFC3339)]++
		switch {
		case r == month:
			return 300, nil
		case since.Day() == 27:
			return 70, nil
		default:
			return 0, nil
		}
	})
	for range 2 {
		reserve(t, m, rate, day, month).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 10})
	}
	if left(t, m, day) != 10 || left(t, m, month) != 680 {
		t.Fatalf("%d and %d remaining", left(t, m, day), left(t, m, month))
	}
	reserve(t, m, day).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 10})
	_, err := m.Reserve(context.Background(), limiter.Request{Rules: []*limiter.Rule{rate, day, month}, Input: 1})
	var refusal *limiter.Refusal
	if !errors.As(err, &refusal) || refusal.Rule != day || refusal.Used != 100 || refusal.Reserved {
		t.Fatalf("got %v", err)
	}
	now = now.Add(2 * time.Hour)
	if left(t, m, day) != 100 || left(t, m, month) != 680 {
		t.Fatalf("%d and %d remaining after the turn", left(t, m, day), left(t, m, month))
	}
	want := map[string]int{
		"key/a/tokens/day 2026-02-27T00:00:00Z":   1,
		"key/a/tokens/day 2026-02-28T00:00:00Z":   1,
		"key/a/tokens/month 2026-02-01T00:00:00Z": 1,
	}
	if len(asked) != len(want) {
		t.Errorf("asked for %v", asked)
	}
	for question, n := range want {
		if asked[question] != n {
			t.Errorf("asked %d times for %s", asked[question], question)
		}
	}
}

func TestSeedIsAskedOnceByACrowd(t *testing.T) {
	now := time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)
	asked := 0 // the race detector reports concurrent calls
	m := standing(&now, func(*limiter.Rule, time.Time) (int64, error) {
		asked++
		for range 100 { // so that the others come meanwhile
			runtime.Gosched()
		}
		return 960, nil
	})
	day := rule("a", "1000 tokens/day")
	var admitted sync.Map
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if _, err := m.Reserve(context.Background(), limiter.Request{Rules: []*limiter.Rule{day}, Input: 10}); err == nil {
				admitted.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	admitted.Range(func(any, any) bool { n++; return true })
	if n != 4 || asked != 1 {
		t.Errorf("%d were admitted, asked %d times", n, asked)
	}
}

func TestSeedHoldsUpNobodyElse(t *testing.T) {
	now := time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)
	asked, answer := make(chan struct{}), make(chan struct{})
	m := standing(&now, func(*limiter.Rule, time.Time) (int64, error) {
		close(asked)
		<-answer
		return -5, nil // as good as nothing
	})
	day, rate := rule("a", "1000 tokens/day"), rule("a", "1k tokens/minute")
	for i := 0; m.shard(rate) != m.shard(day); i++ { // even on the same shard
		rate = rule(fmt.Sprint("a", i), "1k tokens/minute")
	}
	var wg sync.WaitGroup
	wg.Go(func() { reserve(t, m, day, rate) })
	<-asked
	if left(t, m, rate) != 1000 {
		t.Error("something was taken before all was known")
	}
	reserve(t, m, rate)
	close(answer)
	wg.Wait()
	if left(t, m, rate) != 980 || left(t, m, day) != 990 {
		t.Errorf("%d and %d remaining", left(t, m, rate), left(t, m, day))
	}
}

// All requests that arrive during a slow failure of the ledger wait for it once, together.
func TestSeedThatFailsHoldsUpACrowdOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		m := New(Options{Sweep: -1, Seed: func(*limiter.Rule, time.Time) (int64, error) {
			asked++
			time.Sleep(time.Minute)
			return 0, errors.New("the disk is gone")
		}})
		day := rule("a", "1000 tokens/day")
		start := time.Now()
		crowd(50, func(int) {
			if _, err := m.Reserve(context.Background(), limiter.Request{Rules: []*limiter.Rule{day}, Input: 10}); !errors.Is(err, limiter.ErrUnavailable) {
				t.Errorf("got %v", err)
			}
		})
		if took := time.Since(start); took != time.Minute || asked != 1 {
			t.Errorf("asked %d times in %v", asked, took)
		}
		gone, leave := context.WithTimeout(context.Background(), time.Second)
		defer leave()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = m.Reserve(context.Background(), limiter.Request{Rules: []*limiter.Rule{day}}) })
		synctest.Wait()
		if _, err := m.Reserve(gone, limiter.Request{Rules: []*limiter.Rule{day}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a caller who left got %v", err)
		}
		wg.Wait()
	})
}

func TestClockThatIsSetBack(t *testing.T) {
	start := time.Date(2026, 2, 27, 0, 30, 0, 0, time.UTC)
	now := start
	m := standing(&now, nil)
	day, rate := rule("a", "100 tokens/day"), rule("a", "60 tokens/minute")
	for range 6 {
		reserve(t, m, rate, day).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 10})
	}
	// Back over midnight, by minutes: the new window stays, and nothing is refilled.
	now = start.Add(-time.Hour)
	if left(t, m, day) != 40 || left(t, m, rate) != 0 {
		t.Errorf("%d and %d remaining", left(t, m, day), left(t, m, rate))
	}
	now = start.Add(30 * time.Second)
	if left(t, m, day) != 40 || left(t, m, rate) != 30 {
		t.Errorf("%d and %d remaining", left(t, m, day), left(t, m, rate))
	}
	// Back by years: the clock was wrong before.
	now = start.AddDate(-3, 0, 0)
	if left(t, m, day) != 100 {
		t.Error("the gate stays in a window of the future")
	}
}

func TestSettleAfterTheWindowWasOpenedAgain(t *testing.T) {
	now := time.Date(2026, 2, 27, 12, 0, 0, 0, time.UTC)
	m := standing(&now, nil)
	day := rule("a", "100 tokens/day")
	open := reserve(t, m, day)
	now = now.AddDate(0, 0, 2)
	second := reserve(t, m, day)
	open.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 60})
	if left(t, m, day) != 90 {
		t.Errorf("%d remaining", left(t, m, day))
	}
	second.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 20})
	if left(t, m, day) != 80 {
		t.Errorf("%d remaining", left(t, m, day))
	}
}
