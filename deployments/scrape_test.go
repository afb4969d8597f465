package deployments

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/util/teststorage"
)

// quiet are the panels of what a gate that is well does not have: queries of theirs
// without an answer. All others have one.
var quiet = map[string]int{
	"In flight by backend":            1, // nobody waits for a turn
	"Estimated and unpriced":          2, // the backend reports, and all has a price
	"Budgets told of":                 1, // there is no webhook
	"Errors of stores":                1,
	"Waiting for a turn at a backend": 1,
}

// Prometheus' own scraper and storage, with the configuration of compose, read a gate
// that the chart made, and the dashboard shows what happened there.
func TestPrometheusScrapesTheGate(t *testing.T) {
	gate, admin := startInstalled(t, "testdata/values/watched.yaml")
	query := scrapeGate(t, admin)
	value := func(expr string) (float64, bool) {
		vector, err := query(t.Context(), expr, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", expr, err)
		}
		if len(vector) == 0 {
			return 0, false
		}
		return vector[0].F, true
	}
	eventually := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("not within a minute: %s", what)
				return
			}
		}
	}
	until := func(expr string, want float64) {
		t.Helper()
		eventually(fmt.Sprintf("%s is %v", expr, want), func() bool {
			got, ok := value(expr)
			return ok && got == want
		})
	}
	const body = `{"model":"echo","stream":true,"messages":[{"role":"user","content":"one two three"}]}`
	chat := func(key string, want int) {
		t.Helper()
		if status := ask(t, fmt.Sprintf("http://127.0.0.1:%d/v1/chat/completions", gate), key, body); status != want {
			t.Errorf("status %d, expected %d", status, want)
		}
	}

	// A series begins with the request that makes it, and grows with the next.
	until(`up{job="pine-gate"}`, 1)
	chat("callers-key-of-a-chart-test", 200)
	chat("nobody", 401)
	until("sum(pinegate_requests_total)", 1)
	until(`sum(pinegate_rejected_total{reason="unauthenticated"})`, 1)
	chat("callers-key-of-a-chart-test", 200)
	chat("callers-key-of-a-chart-test", 429)
	until("sum(pinegate_requests_total)", 2)
	until(`sum(pinegate_rejected_total{reason="rate_limit"})`, 1)

	// A rate takes two samples of its series, so that panels come with the next scrape.
	for _, panel := range readDashboard(t).Panels {
		want := len(panel.Targets) - quiet[panel.Title]
		eventually(fmt.Sprintf("panel %q has answers of %d queries", panel.Title, want), func() bool {
			answers := 0
			for _, target := range panel.Targets {
				if _, ok := value(grafanaVariables.Replace(target.Expr)); ok {
					answers++
				}
			}
			return answers == want
		})
	}
}

// scrapeGate reads the metrics of a gate ten times a second until the test ends, and
// returns what asks for them.
func scrapeGate(t *testing.T, admin int) rules.QueryFunc {
	t.Helper()
	text, err := os.ReadFile("compose/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	secret := filepath.Join(t.TempDir(), "admin_key")
	if err := os.WriteFile(secret, []byte("admin-key-of-a-chart-test"), 0o600); err != nil {
		t.Fatal(err)
	}
	moved := strings.NewReplacer(
		"/run/secrets/admin_key", secret, "gate:9180", fmt.Sprintf("127.0.0.1:%d", admin), "scrape_interval: 15s", "scrape_interval: 100ms",
	).Replace(string(text))
	read, err := config.Load(moved, promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	store := teststorage.New(t)
	manager, err := scrape.NewManager(&scrape.Options{DiscoveryReloadInterval: model.Duration(10 * time.Millisecond)},
		nil, nil, store, nil, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	if err := manager.ApplyConfig(read); err != nil {
		t.Fatal(err)
	}
	targets := make(map[string][]*targetgroup.Group)
	for _, s := range read.ScrapeConfigs {
		for _, d := range s.ServiceDiscoveryConfigs {
			targets[s.JobName] = d.(discovery.StaticConfig)
		}
	}
	sets := make(chan map[string][]*targetgroup.Group, 1)
	sets <- targets
	ended := make(chan error, 1)
	go func() { ended <- manager.Run(sets) }()
	t.Cleanup(func() {
		manager.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return rules.EngineQueryFunc(promqltest.NewTestEngine(t, false, 5*time.Minute, 10000), store)
}
