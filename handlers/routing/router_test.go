package routing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/request"
)

// serving is a backend of the name that serves the patterns.
func serving(t testing.TB, name string, patterns ...string) *Backend {
	t.Helper()
	models, err := pattern.ParseList(patterns)
	if err != nil {
		t.Fatal(err)
	}
	return &Backend{Name: name, Models: models, State: new(health.BackendState)}
}

// routeTo is a route of a pattern to backends, each of them with the model that
// stands behind a slash.
func routeTo(t testing.TB, text string, policy Policy, targets ...*Target) *Route {
	t.Helper()
	p, err := pattern.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return &Route{Pattern: p, Policy: policy, Targets: targets}
}

// routed returns the candidates of a request in their order.
func (r *Router) routed(space []Candidate, endpoint wire.Endpoint, q *Request) ([]Candidate, health.Backoff) {
	route := r.Find(q.Model)
	if route == nil {
		return nil, health.Backoff{}
	}
	return route.Order(route.Candidates(space, endpoint, q.Model), q)
}

// chat is a request of alice for a model.
func chat(model string) *Request {
	return &Request{Request: &request.Request{Model: model}, Key: "alice", Start: time.Now()}
}

// routedTo returns the candidates of a model in their order, each as its backend
// and model; "" for none.
func routedTo(r *Router, endpoint wire.Endpoint, model string) string {
	var order []string
	candidates, _ := r.routed(nil, endpoint, chat(model))
	for _, c := range candidates {
		order = append(order, c.Name+"/"+c.Model)
	}
	return strings.Join(order, " ")
}

func TestTheMostSpecificRouteCounts(t *testing.T) {
	a, b, c := serving(t, "a", "*"), serving(t, "b", "gpt-4o", "o3"), serving(t, "c", "gpt-*", "gpt-4o")
	c.Rename = map[string]string{"gpt-4o": "org/4o", "mini": "gpt-mini"}
	claude := serving(t, "claude", "*")
	claude.API = "anthropic"
	all := []*Backend{a, b, c, claude}
	r := NewRouter(all, []*Route{
		routeTo(t, "x-*", PolicyFirst, &Target{Backend: a}),
		routeTo(t, "x-large-*", PolicyFirst, &Target{Backend: b}, &Target{Backend: a, Model: "own"}),
		routeTo(t, "x-large-1", PolicyFirst, &Target{Backend: c, Model: "mine"}),
		routeTo(t, "*-1", PolicyFirst, &Target{Backend: b}),
		routeTo(t, "alias", PolicyFirst, &Target{Backend: c, Model: "gpt-4o"}, &Target{Backend: claude}),
	})
	for _, test := range []struct {
		endpoint    wire.Endpoint
		model, want string
	}{
		{wire.Chat, "anything", "a/anything"},
		{wire.Chat, "gpt-4o", "a/gpt-4o b/gpt-4o c/org/4o"}, // all that serve it, as written
		{wire.Chat, "gpt-5", "a/gpt-5 c/gpt-5"},
		{wire.Chat, "o3", "a/o3 b/o3"},
		{wire.Chat, "x-small", "a/x-small"},
		{wire.Chat, "x-large-2", "b/x-large-2 a/own"},
		{wire.Chat, "x-large-1", "c/mine"},
		{wire.Chat, "y-1", "b/y-1"},
		{wire.Chat, "alias", "c/gpt-4o"}, // the other one speaks no chat
		{wire.Messages, "alias", "claude/alias"},
		{wire.Messages, "x-small", ""},
	} {
		for range 2 { // found, and found again
			if got := routedTo(r, test.endpoint, test.model); got != test.want {
				t.Errorf("%v %s goes to %q, want %q", test.endpoint, test.model, got, test.want)
			}
		}
	}
}

func TestNamesThatCallersMakeUpAreForgottenAndFoundAgain(t *testing.T) {
	all := []*Backend{serving(t, "a", "m-*")}
	r := NewRouter(all, nil)
	for i := range 5 * generationSize {
		if r.Find(fmt.Sprintf("m-%d", i)) == nil || r.Find(fmt.Sprintf("n-%d", i)) != nil {
			t.Fatalf("name %d is not where it belongs", i)
		}
	}
	if n := len(r.young) + len(r.old); n > 2*generationSize {
		t.Errorf("%d names are kept", n)
	}
	if r.Find("m-0") == nil {
		t.Error("a forgotten name is not found")
	}
}

// With 1,000 backends of ten models each, and some routes.
func BenchmarkRoute(b *testing.B) {
	var all []*Backend
	for i := range 1000 {
		names := make([]string, 10)
		for j := range names {
			names[j] = fmt.Sprintf("org-%d/model-%d", i%500, j)
		}
		all = append(all, serving(b, fmt.Sprintf("backend-%d", i), names...))
	}
	all = append(all, serving(b, "rest", "rest-*"))
	var routes []*Route
	for i := range 100 {
		routes = append(routes, routeTo(b, fmt.Sprintf("alias-%d-*", i), Policy(i)%(PolicyStickyKey+1),
			&Target{Backend: all[i], Weight: 3}, &Target{Backend: all[i+1], Weight: 2}, &Target{Backend: all[i+2], Weight: 1}))
	}
	r := NewRouter(all, routes)
	body := []byte(`{"model":"m","messages":[{"role":"user","content":"hello"}]}`)
	request, refusal := request.Scan(wire.Chat, body)
	if refusal != nil {
		b.Fatal(refusal)
	}
	for name, model := range map[string]string{
		"listed": "org-7/model-3", "by pattern": "rest-1", "unknown": "nothing",
		"first": "alias-0-x", "round_robin": "alias-1-x", "weighted": "alias-2-x", "least_inflight": "alias-3-x",
		"lowest_latency": "alias-4-x", "sticky": "alias-5-x", "sticky key": "alias-6-x",
	} {
		b.Run(name, func(b *testing.B) {
			asked := *request
			asked.Model = model
			q := &Request{Request: &asked, Body: body, Key: "alice"}
			var space [2]Candidate
			b.ReportAllocs()
			for b.Loop() {
				_, _ = r.routed(space[:0], wire.Chat, q)
			}
		})
	}
}
