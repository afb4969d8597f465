package deployments

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
)

// grafanaVariables are what Grafana puts in before it asks Prometheus.
var grafanaVariables = strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$__all", ".*", "$job", ".*", "$backend", ".*")

// Every panel asks, in valid PromQL, for metrics that the gate has, and every
// metric of the gate has a panel.
func TestDashboardShowsTheGatesMetrics(t *testing.T) {
	dashboard := readDashboard(t)
	known, shown, ids := gateMetrics(t), make(map[string]bool), make(map[int]bool)
	promql := parser.NewParser(parser.Options{})
	for _, panel := range dashboard.Panels {
		if ids[panel.ID] {
			t.Errorf("panel %q: its id is another's, too", panel.Title)
		}
		ids[panel.ID] = true
		if panel.GridPos.X+panel.GridPos.W > 24 || panel.GridPos.W == 0 || panel.GridPos.H == 0 {
			t.Errorf("panel %q stands outside of the page", panel.Title)
		}
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %q asks for nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			if _, err := promql.ParseExpr(grafanaVariables.Replace(target.Expr)); err != nil {
				t.Errorf("panel %q: %v", panel.Title, err)
			}
			for _, name := range metricNames.FindAllString(target.Expr, -1) {
				if !known[name] {
					t.Errorf("panel %q asks for %s, which the gate does not have", panel.Title, name)
				}
				shown[strings.TrimSuffix(name, "_bucket")] = true
			}
		}
	}
	for name := range known {
		if base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_sum"), "_count"); !shown[base] {
			t.Errorf("no panel shows %s", base)
		}
	}
}

type grafanaDashboard struct {
	Title, UID string
	Panels     []struct {
		ID      int
		Type    string
		Title   string
		GridPos struct{ X, Y, W, H int }
		Targets []struct{ Expr string }
	}
}

func readDashboard(t *testing.T) (d grafanaDashboard) {
	t.Helper()
	text, err := os.ReadFile("grafana/pine-gate.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}
