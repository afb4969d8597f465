package handlers

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// answersOnce has a backend's own answer reach what is known of it.
func answersOnce(t *testing.T, live *backends.Live, model string, status int, header ...string) {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}))
	defer upstream.Close()
	transport := newTransport(t)
	ex := &backends.Exchange{Endpoint: wire.Chat, Live: live, Model: model, Fallback: true}
	req, err := http.NewRequestWithContext(backends.WithExchange(context.Background(), ex), "POST", upstream.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(req)
	if err == nil {
		res.Body.Close()
	}
}

// left is what is left of three candidates, as their names, or the refusal.
func left(t *testing.T, all []*Backend, policy RoutePolicy, names string) (order string, refusal *wire.Error) {
	t.Helper()
	var targets []*Target
	for _, b := range all {
		if strings.Contains(names, b.Name) {
			targets = append(targets, &Target{Backend: b})
		}
	}
	g := &Gateway{Router: NewRouter(all, []*Route{routeTo(t, "m", policy, targets...)})}
	c := &call{g: g, endpoint: wire.Chat, key: &keys.Key{ID: "alice"}, request: &wire.Request{Model: "m"}, start: time.Now()}
	if refusal := c.route(); refusal != nil {
		return "", refusal
	}
	for _, candidate := range c.candidates {
		order += candidate.Name
	}
	return order, nil
}

func TestBackendsThatCoolAreLeftOut(t *testing.T) {
	registry := prometheus.NewRegistry()
	m, err := metrics.For(registry, false)
	if err != nil {
		t.Fatal(err)
	}
	fails := func(b *Backend, n int) {
		for range n {
			answersOnce(t, b.Live, "m", 500)
		}
	}
	for name, test := range map[string]struct {
		prepare func(a, b, c *Backend)
		names   string
		want    string
		kind    wire.Kind
		wait    time.Duration // at most
	}{
		"none cools": {func(_, _, _ *Backend) {}, "abc", "abc", 0, 0},
		"one said so": {func(a, _, _ *Backend) {
			answersOnce(t, a.Live, "m", 429, "Retry-After", "60")
		}, "abc", "bc", 0, 0},
		"of another model": {func(a, _, _ *Backend) {
			answersOnce(t, a.Live, "n", 429, "Retry-After", "60")
		}, "abc", "abc", 0, 0},
		"one failed once":            {func(a, _, _ *Backend) { fails(a, 1) }, "abc", "abc", 0, 0},
		"one failed again and again": {func(a, _, _ *Backend) { fails(a, 3) }, "abc", "bc", 0, 0},
		"one can't be reached": {func(_, b, _ *Backend) {
			for range 3 {
				b.Live.Unreachable(time.Now())
			}
		}, "abc", "ac", 0, 0},
		"one has spent its limit": {func(a, _, _ *Backend) {
			answersOnce(t, a.Live, "m", 200, "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m0s")
		}, "abc", "bca", 0, 0},
		"all said so": {func(a, b, c *Backend) {
			answersOnce(t, a.Live, "m", 429, "Retry-After", "60")
			answersOnce(t, b.Live, "m", 429, "Retry-After", "30")
			answersOnce(t, c.Live, "m", 503, "Retry-After", "90")
		}, "abc", "", wire.KindSlowDown, 30 * time.Second},
		"all are overloaded": {func(a, b, _ *Backend) {
			answersOnce(t, a.Live, "m", 503, "Retry-After", "20")
			answersOnce(t, b.Live, "m", 429, "Retry-After", "30")
		}, "ab", "", wire.KindOverloaded, 20 * time.Second},
		"all fail": {func(a, b, _ *Backend) { fails(a, 3); fails(b, 3) }, "ab", "", wire.KindOverloaded, time.Second},
		"the only one said so": {func(a, _, _ *Backend) {
			answersOnce(t, a.Live, "m", 429, "Retry-After", "60")
		}, "a", "a", 0, 0},
		"the only one fails again and again": {func(a, _, _ *Backend) { fails(a, 10) }, "a", "a", 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			all := []*Backend{serving(t, "a"), serving(t, "b"), serving(t, "c")}
			for _, b := range all {
				b.Metrics = m.Backend(b.Name)
			}
			test.prepare(all[0], all[1], all[2])
			order, refusal := left(t, all, PolicyFirst, test.names)
			if order != test.want {
				t.Errorf("got %q, want %q", order, test.want)
			}
			if refusal == nil {
				return
			}
			if refusal.Kind != test.kind || refusal.RetryAfter > test.wait || refusal.RetryAfter < test.wait/2-15*time.Second {
				t.Errorf("refused by %v, after %v", refusal, refusal.RetryAfter)
			}
		})
	}
	if got := upSeries(t, registry, "b"); got != "0" {
		t.Errorf("a backend that cools as a whole is shown as %q", got)
	}
}

// newTransport is a backend's transport as it is by default.
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
