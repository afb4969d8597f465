package routing

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// answersOnce sends a request to a backend, whose answer updates its state.
func answersOnce(t *testing.T, live *health.BackendState, model string, status int, header ...string) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{}`))
	}))
	defer upstream.Close()
	transport := newTransport(t)
	ex := &backends.Attempt{Endpoint: wire.Chat, State: live, Model: model, Fallback: true}
	req, err := http.NewRequestWithContext(backends.WithAttempt(context.Background(), ex), "POST", upstream.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err == nil {
		res.Body.Close()
	}
}

// left orders the candidates whose names are in which, and returns the names of
// those that are left and the cooldown that ends first.
func left(t *testing.T, all []*Backend, policy Policy, which string) (order string, soonest health.Backoff) {
	t.Helper()
	var targets []*Target
	for _, b := range all {
		if strings.Contains(which, b.Name) {
			targets = append(targets, &Target{Backend: b})
		}
	}
	candidates, soonest := NewRouter(all, []*Route{routeTo(t, "m", policy, targets...)}).routed(nil, wire.Chat, chat("m"))
	return names(candidates), soonest
}

func TestBackendsThatCoolAreLeftOut(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := metrics.For(registry, false)
	if err != nil {
		t.Fatal(err)
	}
	fails := func(b *Backend, n int) {
		for range n {
			answersOnce(t, b.State, "m", 500)
		}
	}
	for name, test := range map[string]struct {
		prepare func(a, b, c *Backend)
		names   string
		want    string
		limited bool
		wait    time.Duration // at most
	}{
		"none cools": {func(_, _, _ *Backend) {}, "abc", "abc", false, 0},
		"one said so": {func(a, _, _ *Backend) {
			answersOnce(t, a.State, "m", 429, "Retry-After", "60")
		}, "abc", "bc", false, 0},
		"of another model": {func(a, _, _ *Backend) {
			answersOnce(t, a.State, "n", 429, "Retry-After", "60")
		}, "abc", "abc", false, 0},
		"one failed once":            {func(a, _, _ *Backend) { fails(a, 1) }, "abc", "abc", false, 0},
		"one failed again and again": {func(a, _, _ *Backend) { fails(a, 3) }, "abc", "bc", false, 0},
		"one can't be reached": {func(_, b, _ *Backend) {
			for range 3 {
				b.State.Unreachable(time.Now())
			}
		}, "abc", "ac", false, 0},
		"one has spent its limit": {func(a, _, _ *Backend) {
			answersOnce(t, a.State, "m", 200, "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m0s")
		}, "abc", "bca", false, 0},
		"all said so": {func(a, b, c *Backend) {
			answersOnce(t, a.State, "m", 429, "Retry-After", "60")
			answersOnce(t, b.State, "m", 429, "Retry-After", "30")
			answersOnce(t, c.State, "m", 503, "Retry-After", "90")
		}, "abc", "", true, 30 * time.Second},
		"all are overloaded": {func(a, b, _ *Backend) {
			answersOnce(t, a.State, "m", 503, "Retry-After", "20")
			answersOnce(t, b.State, "m", 429, "Retry-After", "30")
		}, "ab", "", false, 20 * time.Second},
		"all fail": {func(a, b, _ *Backend) { fails(a, 3); fails(b, 3) }, "ab", "", false, time.Second},
		"the only one said so": {func(a, _, _ *Backend) {
			answersOnce(t, a.State, "m", 429, "Retry-After", "60")
		}, "a", "a", false, 0},
		"the only one fails again and again": {func(a, _, _ *Backend) { fails(a, 10) }, "a", "a", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*Backend{serving(t, "a"), serving(t, "b"), serving(t, "c")}
			for _, b := range all {
				b.Metrics = m.Backend(b.Name)
			}
			test.prepare(all[0], all[1], all[2])
			order, soonest := left(t, all, PolicyFirst, test.names)
			for range test.names { // if all cool, each is sent a request all the same
				if test.want == "" && len(order) == 1 {
					order, soonest = left(t, all, PolicyFirst, test.names)
				}
			}
			if order != test.want {
				t.Errorf("got %q, want %q", order, test.want)
			}
			if order != "" {
				return
			}
			if soonest.Limited != test.limited || soonest.Wait > test.wait || soonest.Wait < test.wait/2-15*time.Second {
				t.Errorf("the first to come back: %+v", soonest)
			}
		})
	}
	if got := up(t, registry, "b"); got != "0" {
		t.Errorf("a backend that cools as a whole is shown as %q", got)
	}
}

// newTransport returns a backend's transport with its defaults.
func newTransport(t *testing.T) *backends.Transport {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	transport := backends.Transport{}.CaddyModule().New().(*backends.Transport)
	transport.DialAllow = []string{"loopback"}
	if err := transport.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	return transport
}

// up returns the value of a backend's pinegate_backend_up, "" for none.
func up(t *testing.T, registry *prometheus.Registry, backend string) string {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "pinegate_backend_up" && metric.GetLabel()[0].GetValue() == backend {
				return strconv.FormatFloat(metric.GetGauge().GetValue(), 'f', -1, 64)
			}
		}
	}
	return ""
}

// One request at a time, with a queue or without.
var (
	oneQueues = queue.Capacity{Inflight: 1, Waiting: 10, Wait: time.Hour}
	oneAlone  = queue.Capacity{Inflight: 1}
)

func TestBackendsThatAreFullComeLast(t *testing.T) {
	for name, test := range map[string]struct {
		full map[int]queue.Capacity
		want string
	}{
		"none":                    {nil, "abc"},
		"one":                     {map[int]queue.Capacity{0: oneAlone}, "bca"},
		"those with a queue next": {map[int]queue.Capacity{0: oneAlone, 1: oneQueues}, "cba"},
		"all":                     {map[int]queue.Capacity{0: oneAlone, 1: oneQueues, 2: oneQueues}, "bca"},
	} {
		t.Run(name, func(t *testing.T) {
			r, all := three(t, PolicyFirst)
			for _, b := range all {
				b.State.SetCapacity(oneQueues)
			}
			for i, capacity := range test.full {
				all[i].State.SetCapacity(capacity)
				all[i].State.Begin()
			}
			if got := orders(r, 1)[0]; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			answersOnce(t, all[2].State, "m", 200, "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m0s")
			if len(test.full) == 1 {
				if got := orders(r, 1)[0]; got != "bca" {
					t.Errorf("one that has spent its limit comes before a full one, and the order is %s", got)
				}
			}
		})
	}
}

// listing sets the models that a backend lists. Without models, it was polled
// and has not answered.
func listing(b *Backend, models ...string) *Backend {
	b.Catalog = new(discovery.Catalog)
	if len(models) > 0 {
		var list []wire.Model
		for _, id := range models {
			list = append(list, wire.Model{ID: id})
		}
		b.Catalog.Set(list)
	}
	return b
}

func TestModelGoesToThoseThatHaveIt(t *testing.T) {
	a := listing(serving(t, "a", "*"), "llama3:latest", "both", "org/renamed")
	a.Rename = map[string]string{"public": "org/renamed"}
	b := listing(serving(t, "b", "*"), "both", "only-b")
	silent := listing(serving(t, "silent", "*"))
	unasked := serving(t, "unasked", "*")
	declared := serving(t, "declared", "gpt-*", "*")
	for _, c := range []struct {
		name     string
		backends []*Backend
		model    string
		want     string
	}{
		{"one has it", []*Backend{b, a}, "only-b", "b/only-b"},
		{"the other has it", []*Backend{b, a}, "llama3", "a/llama3"},
		{"both", []*Backend{b, a}, "both", "b/both a/both"},
		{"nobody: all, as without lists", []*Backend{b, a}, "unknown", "b/unknown a/unknown"},
		{"by the backend's own name", []*Backend{b, a}, "public", "a/org/renamed"},
		{"one that has not answered may have it", []*Backend{silent, b, a}, "only-b", "silent/only-b b/only-b"},
		{"one that is not asked may have it", []*Backend{a, unasked, b}, "only-b", "unasked/only-b b/only-b"},
		{"the configuration says who has it", []*Backend{a, declared}, "gpt-5", "declared/gpt-5"},
		{"a pattern of everything says nothing", []*Backend{a, declared}, "unknown", "a/unknown declared/unknown"},
		{"alone", []*Backend{a}, "unknown", "a/unknown"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := NewRouter(c.backends, nil)
			if got := routedTo(r, wire.Chat, c.model); got != c.want {
				t.Errorf("%s goes to %q, want %q", c.model, got, c.want)
			}
		})
	}
	all := []*Backend{a, b}
	r := NewRouter(all, []*Route{routeTo(t, "only-*", PolicyFirst, &Target{Backend: a}, &Target{Backend: b})})
	if got := routedTo(r, wire.Chat, "only-b"); got != "a/only-b b/only-b" {
		t.Errorf("a route that was written goes to %q", got)
	}
}
