package limiter

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

func TestARefusalGivesBackWhatOwnSlicesHold(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(50))
	quota, other := rule("a", "1000 tokens/month"), rule("b", "1G requests/hour")
	admit(t, r, asking(10, quota))
	fromSlice(t, r, asking(10, quota)) // and 490 more are in its slice
	res := admit(t, r, asking(900, quota, other))
	if isSliced(res) {
		t.Error("it was admitted from a slice")
	}
	remains(t, r, quota, 80)
	if isSliced(admit(t, r, asking(10, quota))) {
		t.Error("near its end, the limit is not exact")
	}
	for range 7 {
		admit(t, r, asking(10, quota))
	}
	if got := refuse(t, r, asking(10, quota)); got.Used != 1000 || got.Remaining != 0 {
		t.Errorf("got %v", got)
	}
}

// A limit that would not last for a few slices of each gate is exact: what others have of it at its end would be
// refused too early.
func TestALimitThatIsSoonUsedUpHasNoSlices(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	tuning := clock.by()
	tuning.slice = defaultSlices
	r := store(t, RedisOptions{URLs: []string{s.URL}}, tuning)
	for words, want := range map[string]int64{"10k requests/day": 200, "800 requests/day": 200, "799 requests/day": 0, "800 requests/hour": 200, "799 requests/hour": 0} {
		rules := []*Rule{rule(words, words), rule(words, "1G tokens/day")}
		p := r.hot.add(pathKey{first: rules[0]}, rules)
		states, err := r.Peek(context.Background(), rules)
		if err != nil {
			t.Fatal(err)
		}
		for i, state := range states {
			p.see([]hold{{rule: rules[i], room: state.Remaining}}, clock.now())
		}
		got := p.sizes(200, &[sliceRules]float64{1, 50}, clock.now())
		if want == 0 && got != nil || want > 0 && !slices.Equal(got, []int64{want, 50 * want}) {
			t.Errorf("of %s, slices for 200 requests are %v", words, got)
		}
		r.hot.drop(p)
	}
}

// What slices have is not forgiven where a debt is as large as it may be: then they would come on top.
func TestSlicesDoNotLightenADebt(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(50))
	limit := rule("a", "1 tokens/hour burst 100")
	admit(t, r, asking(1, limit))
	res := fromSlice(t, r, asking(1, limit)) // and some 50 more are in its slice
	exact := store(t, RedisOptions{URLs: []string{s.URL}, Exact: true}, clock.by())
	admit(t, exact, asking(1, limit)).Settle(context.Background(), Actual{Dispatched: true, Input: 1000})
	flushed(t, exact)
	res.Settle(context.Background(), Actual{Dispatched: true, Input: 1})
	if err := r.hot.recall(context.Background(), []*Rule{limit}); err != nil {
		t.Fatal(err)
	}
	clock.pass(24 * time.Hour)
	refuse(t, exact, asking(1, limit))
	clock.pass(time.Hour)
	admit(t, exact, asking(1, limit))
}

// A refusal from before a slice came back is not the last word, also where that is done when it is looked at.
func TestARefusalIsAskedAgainWhereASliceHasJustComeBack(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(50))
	limit := rule("a", "100 tokens/hour")
	admit(t, r, asking(1, limit))
	fromSlice(t, r, asking(1, limit))
	req := asking(90, limit)
	before := r.hot.returned(req.Rules)
	refused, err := r.reserve(context.Background(), req)
	if err == nil {
		t.Fatal("no slice is in the way")
	}
	if err := r.hot.recall(context.Background(), req.Rules); err != nil {
		t.Fatal(err)
	}
	if held := r.hot.inTheWay(&req, refused, err, before); len(held) != 1 {
		t.Errorf("of %v it is not asked again", err)
	}
	if held := r.hot.inTheWay(&req, refused, err, r.hot.returned(req.Rules)); len(held) > 0 {
		t.Error("it is asked again where nothing came back")
	}
}

func TestACapIsNotLoweredByOwnSlices(t *testing.T) {
	s, clock := redistest.Standalone(t, redistest.Options{}), newManual()
	r := store(t, RedisOptions{URLs: []string{s.URL}}, clock.greedy(50))
	quota := rule("a", "1000 tokens/month")
	admit(t, r, asking(10, quota))
	fromSlice(t, r, asking(10, quota))
	req := asking(100, quota)
	req.Output, req.MaxOutput = 800, 800
	if res := admit(t, r, req); res.Cap() != -1 {
		t.Errorf("the cap is %d", res.Cap())
	}
	remains(t, r, quota, 80)
}
