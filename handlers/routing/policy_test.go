package routing

import (
	"fmt"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/request"
)

// three is a router whose route "m" has the policy and the backends a, b and c.
func three(t *testing.T, policy Policy, weights ...int64) (*Router, []*Backend) {
	t.Helper()
	all := []*Backend{serving(t, "a"), serving(t, "b"), serving(t, "c")}
	var targets []*Target
	for i, b := range all {
		target := &Target{Backend: b}
		if len(weights) > 0 {
			target.Weight = weights[i]
		}
		targets = append(targets, target)
	}
	return NewRouter(all, []*Route{routeTo(t, "m", policy, targets...)}), all
}

// names are the candidates' names in a row.
func names(candidates []Candidate) (all string) {
	for _, c := range candidates {
		all += c.Name
	}
	return all
}

// orders is the order of so many requests, each as its candidates' names.
func orders(r *Router, n int) (all []string) {
	for range n {
		candidates, _ := r.routed(nil, wire.Chat, chat("m"))
		all = append(all, names(candidates))
	}
	return all
}

func TestPoliciesOrderAllCandidates(t *testing.T) {
	for _, test := range []struct {
		policy  Policy
		weights []int64
		want    string
	}{
		{PolicyFirst, nil, "[abc abc abc abc]"},
		{PolicyRoundRobin, nil, "[abc bca cab abc]"},
		{PolicyWeighted, []int64{5, 1, 1}, "[abc abc bca acb cab abc abc abc]"}, // as in nginx
	} {
		r, _ := three(t, test.policy, test.weights...)
		n := 4
		if test.weights != nil {
			n = 8
		}
		if got := fmt.Sprint(orders(r, n)); got != test.want {
			t.Errorf("policy %d orders %s, want %s", test.policy, got, test.want)
		}
	}
}

func TestWeightsAreKeptWhichEverBackendsAreLeft(t *testing.T) {
	r, _ := three(t, PolicyWeighted, 6, 3, 1)
	began := make(map[byte]int)
	for _, order := range orders(r, 1000) {
		began[order[0]]++
	}
	if began['a'] != 600 || began['b'] != 300 || began['c'] != 100 {
		t.Errorf("they begin %v", began)
	}
}

func TestLeastInflightBeginsWithTheOneThatHasTheFewest(t *testing.T) {
	r, all := three(t, PolicyLeastInflight)
	all[0].State.Begin()
	all[0].State.Begin()
	all[1].State.Begin()
	for _, order := range orders(r, 3) {
		if order != "cba" {
			t.Errorf("got %s", order)
		}
	}
	all[1].State.End(time.Time{})
	began := make(map[byte]bool)
	for _, order := range orders(r, 3) {
		began[order[0]] = true
	}
	if !began['b'] || !began['c'] || began['a'] {
		t.Errorf("those with as many do not take turns: %v", began)
	}
}

func TestLowestLatencyTriesTheUntriedOnceAndFindsARecoveredOne(t *testing.T) {
	r, all := three(t, PolicyLowestLatency)
	if got := fmt.Sprint(orders(r, 4)); got != "[abc bac cab abc]" {
		t.Errorf("untried backends are ordered %s", got)
	}
	long := time.Now().Add(-time.Minute)
	answered := func(i int, took time.Duration, at time.Time) { all[i].State.RecordLatency("m", false, took, at) }
	answered(0, 300*time.Millisecond, time.Now())
	answered(1, 100*time.Millisecond, time.Now())
	answered(2, 200*time.Millisecond, time.Now())
	answered(2, time.Second, time.Now())                    // a tenth of it counts
	answered(2, 10*time.Millisecond, long)                  // counts little
	all[0].State.RecordLatency("m", true, 1, time.Now())    // streams are apart
	all[0].State.RecordLatency("other", false, 1, long)     // and so are models
	all[2].State.RecordLatency("m", true, time.Hour, long)  // and so is
	all[2].State.RecordLatency("n", false, time.Hour, long) // this
	for _, order := range orders(r, 30) {
		if order != "bca" {
			t.Fatalf("the quickest is not first: %s", order)
		}
	}
}

func TestAStaleLatencyIsFoundOutByFewRequests(t *testing.T) {
	r, all := three(t, PolicyLowestLatency)
	now := time.Now()
	all[0].State.RecordLatency("m", false, 100*time.Millisecond, now)
	all[1].State.RecordLatency("m", false, time.Second, now)
	all[2].State.RecordLatency("m", false, 10*time.Second, now.Add(-time.Minute))
	began := make(map[byte]int)
	for _, order := range orders(r, 100) {
		began[order[0]]++
	}
	if began['a'] != 99 || began['c'] != 1 {
		t.Errorf("they begin %v, want one for c, which was not seen for a minute", began)
	}
	all[2].State.RecordLatency("m", false, time.Microsecond, now)
	if order := orders(r, 1)[0]; order != "cab" {
		t.Errorf("a backend that has recovered is not first: %s", order)
	}
}

// stickyFirst is where a conversation of a key begins.
func stickyFirst(t *testing.T, r *Router, key, content, more string) string {
	t.Helper()
	body := []byte(fmt.Sprintf(`{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":%q}%s]}`, content, more))
	request, refusal := request.Scan(wire.Chat, body)
	if refusal != nil {
		t.Fatal(refusal)
	}
	candidates, _ := r.routed(nil, wire.Chat, &Request{Request: request, Body: body, Key: key})
	return candidates[0].Name
}

func TestAConversationStaysAndOnlyThoseOfABackendThatLeavesMove(t *testing.T) {
	r, all := three(t, PolicySticky)
	left := NewRouter(all, []*Route{routeTo(t, "m", PolicySticky, &Target{Backend: all[0]}, &Target{Backend: all[2]})})
	const conversations = 3000
	share := make(map[string]int)
	for i := range conversations {
		content := fmt.Sprint("conversation ", i)
		first := stickyFirst(t, r, "alice", content, "")
		share[first]++
		if next := stickyFirst(t, r, "alice", content, `,{"role":"assistant","content":"yes?"}`); next != first {
			t.Fatalf("%s moved from %s to %s", content, first, next)
		}
		if now := stickyFirst(t, left, "alice", content, ""); first != "b" && now != first {
			t.Fatalf("%s moved from %s to %s as b left", content, first, now)
		}
	}
	for name, n := range share {
		if n < conversations/4 || n > conversations/2 {
			t.Errorf("%s has %d of %d conversations", name, n, conversations)
		}
	}

	byKey, _ := three(t, PolicyStickyKey)
	keysAt := make(map[string]bool)
	for i := range 50 {
		key := fmt.Sprint("key-", i)
		first := stickyFirst(t, byKey, key, "one", "")
		keysAt[first] = true
		if stickyFirst(t, byKey, key, "two", "") != first {
			t.Errorf("%s is at two backends", key)
		}
	}
	if len(keysAt) != 3 {
		t.Errorf("50 keys are at %v", keysAt)
	}
}
