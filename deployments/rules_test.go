package deployments

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/rules"
	"sigs.k8s.io/yaml"
)

const rulesFile = "prometheus/rules.yaml"

// promtool's own parser takes the rules.
func TestRulesAreValid(t *testing.T) {
	groups, errs := rulefmt.ParseFile(rulesFile, false, model.UTF8Validation, parser.NewParser(parser.Options{}), promslog.NewNopLogger())
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	var exprs []string
	recorded := make(map[string]bool)
	for _, group := range groups.Groups {
		for _, rule := range group.Rules {
			exprs = append(exprs, rule.Expr)
			recorded[rule.Record] = true
			if rule.Alert != "" && (rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" || rule.Annotations["description"] == "") {
				t.Errorf("%s lacks its severity, summary or description", rule.Alert)
			}
		}
	}
	known := gateMetrics(t)
	for _, expr := range exprs {
		for _, name := range metricNames.FindAllString(expr, -1) {
			if !known[name] && !recorded[name] {
				t.Errorf("the gate has no metric %s, nor recorded: %s", name, expr)
			}
		}
	}
}

// The chart carries the same rules: Helm reads nothing outside of its folder.
func TestChartCarriesTheRules(t *testing.T) {
	want, err := os.ReadFile(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(chartDir + "/files/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("copy %s to the chart's files", rulesFile)
	}
	var file map[string]any
	if err := yaml.Unmarshal(want, &file); err != nil {
		t.Fatal(err)
	}
	spec := install(t, "testdata/values/single.yaml").others["PrometheusRule"]["spec"]
	if fmt.Sprint(spec) != fmt.Sprint(file) {
		t.Errorf("the PrometheusRule holds %v", spec)
	}
}

// Each alert fires for what it is for, and not of its opposite.
func TestAlertsFire(t *testing.T) {
	for _, c := range []struct {
		name   string
		series string        // a line a series, in promtool's notation, a sample a minute
		at     time.Duration // when it is looked at
		want   string        // the alerts that fire, "" for none
	}{
		{"all is well", `
			pinegate_store_up{store="redis"} 1x90
			pinegate_backend_up{backend="a"} 1x90
			pinegate_requests_total{backend="a",status="200"} 0+600x90
			pinegate_rejected_total{reason="rate_limit",scope="key"} 0+10x90
			pinegate_rejected_total{reason="unauthenticated",scope="caller"} 0+10x90
			pinegate_usage_estimated_total{backend="a"} 0+6x90
			pinegate_alerts_total{scope="key",unit="usd",window="month",percent="80"} 1x90
			pinegate_overhead_seconds_bucket{le="0.1"} 0+600x90
			pinegate_overhead_seconds_bucket{le="+Inf"} 0+600x90`, 80 * time.Minute, ""},
		{"a store away", `pinegate_store_up{store="redis"} 1x5 0x10`, 8 * time.Minute, "PinegateStoreDown"},
		{"a store that failed for a moment", `pinegate_store_up{store="redis"} 1x5 0 1x10`, 8 * time.Minute, ""},
		{"a store that fails operations", `pinegate_store_errors_total{store="ledger"} 0+1x20`, 15 * time.Minute, "PinegateStoreErrors"},
		{"a backend that no gate reaches", `
			pinegate_backend_up{backend="a",instance="1"} 0x10
			pinegate_backend_up{backend="a",instance="2"} 0x10`, 5 * time.Minute, "PinegateBackendDown"},
		{"a backend that one of two gates reaches", `
			pinegate_backend_up{backend="a",instance="1"} 0x10
			pinegate_backend_up{backend="a",instance="2"} 1x10`, 5 * time.Minute, ""},
		{"a backend of errors", `
			pinegate_requests_total{backend="a",status="200"} 0+60x30
			pinegate_requests_total{backend="a",status="502"} 0+10x30`, 25 * time.Minute, "PinegateUpstreamErrors"},
		{"limits that are met", `
			pinegate_requests_total{backend="a",status="200"} 0+60x30
			pinegate_rejected_total{reason="quota",scope="key"} 0+10x30`, 25 * time.Minute, "PinegateManyRefusals"},
		{"limits that are met by all", `pinegate_rejected_total{reason="rate_limit",scope="key"} 0+10x30`, 25 * time.Minute, "PinegateManyRefusals"},
		{"keys that are guessed", `
			pinegate_rejected_total{reason="unauthenticated",scope="caller"} 0+120x30
			pinegate_requests_total{backend="a",status="200"} 0+60x30`, 25 * time.Minute, "PinegateGuessing"},
		{"the first budget of a process", `pinegate_alerts_total{scope="key",unit="usd",window="month",percent="80"} _x10 1x20`, 12 * time.Minute, "PinegateBudgetNearlySpent"},
		{"one more budget", `pinegate_alerts_total{scope="key",unit="usd",window="month",percent="95"} 1x40 2x20`, 45 * time.Minute, "PinegateBudgetNearlySpent"},
		{"half a budget", `pinegate_alerts_total{scope="key",unit="usd",window="month",percent="50"} _x10 1x20`, 12 * time.Minute, ""},
		{"usage that is guessed", `
			pinegate_requests_total{backend="a",status="200"} 0+60x150
			pinegate_usage_estimated_total{backend="a"} 0+10x150`, 120 * time.Minute, "PinegateUsageEstimated"},
		{"a gate that is slow", `
			pinegate_overhead_seconds_bucket{le="0.1"} 0+90x30
			pinegate_overhead_seconds_bucket{le="0.5"} 0+100x30
			pinegate_overhead_seconds_bucket{le="+Inf"} 0+100x30`, 25 * time.Minute, "PinegateSlowGate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(firing(t, c.series, c.at), " "); got != c.want {
				t.Errorf("firing: %q, expected %q", got, c.want)
			}
		})
	}
}

// firing evaluates the rules each minute over the series and returns the names
// of the alerts that fire at the end.
func firing(t *testing.T, series string, at time.Duration) []string {
	t.Helper()
	storage := promqltest.LoadedStorage(t, "load 1m\n"+regexp.MustCompile(`(?m)^\s*pinegate`).ReplaceAllString(series, "  pinegate"))
	engine := promqltest.NewTestEngine(t, false, 0, 10000)
	manager := rules.NewManager(&rules.ManagerOptions{
		QueryFunc:   rules.EngineQueryFunc(engine, storage),
		Appendable:  storage,
		Queryable:   storage,
		ExternalURL: new(url.URL),
		Context:     t.Context(),
		NotifyFunc:  func(context.Context, string, ...*rules.Alert) {},
		Logger:      promslog.NewNopLogger(),
		Parser:      parser.NewParser(parser.Options{}),
	})
	loaded, errs := manager.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, rulesFile)
	if errs != nil {
		t.Fatal(errs)
	}
	groups := make([]*rules.Group, 2)
	for _, group := range loaded { // alerts are built on what is recorded
		groups[map[string]int{"pinegate.recording": 0, "pinegate.alerts": 1}[group.Name()]] = group
	}
	for now := time.Unix(0, 0); !now.After(time.Unix(0, 0).Add(at)); now = now.Add(time.Minute) {
		for _, group := range groups {
			group.Eval(t.Context(), now)
			for _, rule := range group.Rules() {
				if err := rule.LastError(); err != nil {
					t.Fatalf("%s: %v", rule.Name(), err)
				}
			}
		}
	}
	var names []string
	for _, rule := range groups[1].AlertingRules() {
		for _, alert := range rule.ActiveAlerts() {
			if alert.State == rules.StateFiring {
				names = append(names, rule.Name())
			}
		}
	}
	return slices.Compact(slices.Sorted(slices.Values(names)))
}

var (
	metricNames = regexp.MustCompile(`\bpinegate[_:][a-z0-9_:]+`)

	// definitions are the lines of metrics.go that make a collector.
	definitions = regexp.MustCompile(`(counter|gauge|histogram)\("([a-z_]+)"`)
)

// gateMetrics are the names of all series of the gate, from its source.
func gateMetrics(t *testing.T) map[string]bool {
	t.Helper()
	source, err := os.ReadFile("../internal/metrics/metrics.go")
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]bool)
	for _, m := range definitions.FindAllStringSubmatch(string(source), -1) {
		name := "pinegate_" + m[2]
		names[name] = true
		if m[1] == "histogram" {
			names[name+"_bucket"], names[name+"_sum"], names[name+"_count"] = true, true, true
		}
	}
	if len(names) < 10 {
		t.Fatalf("found only %d metrics in metrics.go", len(names))
	}
	return names
}
