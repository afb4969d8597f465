package handlers

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/usage"
)

func TestEventsAreBuiltOnlyWhereALogTakesThem(t *testing.T) {
	record := usage.Record{ID: "req_1", Start: time.Unix(1, 0), Model: "secret-model", UpstreamModel: "secret-model", CostNano: 1500, Priced: true, Outcome: usage.OK}
	info, _ := observer.New(zap.InfoLevel)
	logger := zap.New(info)
	if n := testing.AllocsPerRun(100, func() { LogEvent(logger, &record, false) }); n != 0 {
		t.Errorf("%v allocations for nobody", n)
	}
	core, logs := observer.New(zap.DebugLevel)
	LogEvent(zap.New(core), &record, true)
	unpriced := record
	unpriced.Priced = false
	LogEvent(zap.New(core), &unpriced, false)
	first, second := logs.All()[0].ContextMap(), logs.All()[1].ContextMap()
	if first["cost_usd"] != "0.0000015" || first["model"] != nil || first["upstream_model"] != nil {
		t.Errorf("hidden: %v", first)
	}
	if _, ok := second["cost_usd"]; ok || second["model"] != "secret-model" {
		t.Errorf("unpriced: %v", second)
	}
}
