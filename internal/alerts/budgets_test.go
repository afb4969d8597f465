package alerts

import (
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

var june = time.Date(2025, 6, 1, 0, 0, 0, 0, time.UTC)

// rule returns a key's rule of n tokens a month.
func rule(id string, amount int64) *limiter.Rule {
	return limiter.NewRule(limiter.ScopeKey, id, limiter.Limit{Unit: limiter.Tokens, Window: limiter.Month, Amount: amount})
}

func state(r *limiter.Rule, used int64, since time.Time) limiter.State {
	return limiter.State{Rule: r, Limit: r.Limit.Amount, Used: used, Since: since}
}

func percentsOf(passed []Alert) (all []int) {
	for _, a := range passed {
		all = append(all, a.Percent)
	}
	return all
}

func TestEachPercentageIsToldOnce(t *testing.T) {
	alice, raised := rule("alice", 1000), rule("alice", 2000)
	july := june.AddDate(0, 1, 0)
	b := new(Budgets)
	for _, step := range []struct {
		name    string
		state   limiter.State
		charged int64
		want    []int
	}{
		{"below", state(alice, 0, june), 499, nil},
		{"at the amount exactly", state(alice, 499, june), 1, []int{50}},
		{"again", state(alice, 500, june), 1, nil},
		{"what others used shows in the state", state(alice, 799, june), 0, nil},
		{"of a refused request too", state(alice, 800, june), 0, []int{80}},
		{"charges of requests that were admitted together add up", state(alice, 500, june), 199, nil},
		{"to the last", state(alice, 500, june), 1, []int{100}},
		{"beyond", state(alice, 1000, june), 500, nil},
		{"another of this name and amount", state(rule("alice", 1000), 1500, june), 1, nil},
		{"another amount", state(raised, 1500, june), 10, []int{50}},
		{"several at once, in the next window", state(alice, 0, july), 900, []int{50, 80}},
		{"what belongs to the window before", state(alice, 0, june), 900, nil},
	} {
		if got := percentsOf(b.Note(step.state, step.charged, []int{50, 80, 100})); !slices.Equal(got, step.want) {
			t.Errorf("%s: told of %v, want %v", step.name, got, step.want)
		}
	}
	if got := b.Note(state(alice, 900, july), 0, []int{90}); len(got) != 1 || got[0].Used != 900 || !got[0].Since.Equal(july) || !got[0].Until.Equal(july.AddDate(0, 1, 0)) {
		t.Errorf("another site's percentage: got %v", got)
	}
}

func TestNoPercentageOfTheLargestAmountOverflows(t *testing.T) {
	most := rule("alice", limiter.MaxAmount)
	if got := percentsOf(new(Budgets).Note(state(most, limiter.MaxAmount/100*79, june), limiter.MaxAmount, []int{80, 100})); !slices.Equal(got, []int{80, 100}) {
		t.Errorf("told of %v", got)
	}
	if got := new(Budgets).Note(state(most, limiter.MaxAmount/100*79, june), 0, []int{80, 100}); got != nil {
		t.Errorf("told of %v below it", got)
	}
}

func TestOnlyQuotasAreNoted(t *testing.T) {
	b := new(Budgets)
	for _, l := range []limiter.Limit{{Unit: limiter.Tokens, Window: limiter.Minute, Amount: 10}, {Unit: limiter.Concurrent, Amount: 1}} {
		r := limiter.NewRule(limiter.ScopeKey, "alice", l)
		if got := b.Note(limiter.State{Rule: r, Limit: l.Amount}, 100, []int{50}); got != nil || len(b.seen) != 0 {
			t.Errorf("%v: told of %v", l, got)
		}
	}
}

// However many requests are in flight, their charges add up to one alert each.
func TestRequestsAtTheSameTimeAreToldOnce(t *testing.T) {
	b, alice := new(Budgets), rule("alice", 1000)
	var mu sync.Mutex
	told := map[int]int{}
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			passed := b.Note(state(alice, 0, june), 10, []int{50, 80, 100}) // all were admitted before any settled
			mu.Lock()
			defer mu.Unlock()
			for _, a := range passed {
				told[a.Percent]++
			}
		})
	}
	all.Wait()
	if len(told) != 3 || told[50] != 1 || told[80] != 1 || told[100] != 1 {
		t.Errorf("told %v", told)
	}
}

// Budgets of past windows are removed.
func TestBudgetsOfThePastAreDropped(t *testing.T) {
	b := new(Budgets)
	for i := range 10 * sweepFirst {
		b.Note(state(rule("past"+strconv.Itoa(i), 10), 0, june), 1, []int{50})
	}
	if len(b.seen) > sweepFirst {
		t.Errorf("%d are left", len(b.seen))
	}
	since, _ := limiter.Month.Bounds(time.Now())
	for i := range 3 * sweepFirst {
		b.Note(state(rule("now"+strconv.Itoa(i), 10), 0, since), 5, []int{50})
	}
	if got := b.Note(state(rule("now0", 10), 0, since), 5, []int{50}); got != nil {
		t.Errorf("told again of what is not over: %v", got)
	}
}

func BenchmarkNote(b *testing.B) {
	budgets, s := new(Budgets), state(rule("alice", limiter.MaxAmount), 0, june)
	b.ReportAllocs()
	for b.Loop() {
		budgets.Note(s, 1, []int{50, 80, 100})
	}
}
