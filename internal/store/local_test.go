package store

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/amanycodes/pine-gate/internal/alerts"
	"github.com/amanycodes/pine-gate/internal/backends/queue"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/metrics"
	"github.com/amanycodes/pine-gate/usage"
)

// fakeLedger records the settings that it gets.
type fakeLedger struct {
	usage.Ledger
	got []usage.Settings
}

func (l *fakeLedger) Configure(s usage.Settings)                       { l.got = append(l.got, s) }
func (l *fakeLedger) Checkpoint(context.Context, []usage.Record) error { return nil }
func (l *fakeLedger) Close() error                                     { return nil }

// A reload applies its settings; one that fails to start restores the previous ones.
func TestSettingsFollowTheConfigurationThatRuns(t *testing.T) {
	app := func(d time.Duration) *Store {
		m, err := metrics.For(prometheus.NewRegistry(), false)
		if err != nil {
			t.Fatal(err)
		}
		return &Store{config: &Config{
			Store: &config.Store{Retention: caddy.Duration(d)}, Metrics: m,
			Capacities: map[string]queue.Capacity{"gpu": {Inflight: int64(d / time.Hour)}},
		}}
	}
	ledger, opened := new(fakeLedger), 0
	first, second, failed := app(time.Hour), app(2*time.Hour), app(3*time.Hour)
	closing, closed := context.WithCancel(context.Background())
	s := &localState{maker: first, closing: closing, closed: closed, webhook: alerts.NewWebhook(alerts.WebhookOptions{})}
	away := errors.New("the disk is away")
	s.open = func(got ledgerOptions) (usage.Ledger, error) {
		if opened++; opened == 1 {
			return nil, away
		}
		if got.Retention != time.Hour {
			t.Errorf("opened with %+v", got)
		}
		return ledger, nil
	}
	if err := s.start(first); !errors.Is(err, away) {
		t.Fatalf("starting: %v", err)
	}
	s.stop(first)
	var takes []int64 // of the backend, after each step
	for _, step := range []func(){
		func() { _ = s.start(first) },
		func() { _ = s.start(second); s.stop(first) },  // a reload
		func() { _ = s.start(failed); s.stop(failed) }, // one that fails
		func() { s.stop(second) },                      // the process exits
	} {
		step()
		gpu := s.backends.Get("gpu")
		for gpu.Begin() && gpu.InFlight() < 10 {
		}
		takes = append(takes, gpu.InFlight())
		for gpu.InFlight() > 0 {
			gpu.End(time.Time{})
		}
	}
	if fmt.Sprint(takes) != "[1 2 2 2]" {
		t.Errorf("a backend took %v requests", takes)
	}
	var got []time.Duration
	for _, settings := range ledger.got {
		got = append(got, settings.Retention/time.Hour)
	}
	want := []time.Duration{1, 2, 2, 3, 2}
	if len(got) != len(want) {
		t.Fatalf("configured with %v hours, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("configured with %v hours, want %v", got, want)
		}
	}
	if opened != 2 {
		t.Errorf("opened %d times", opened)
	}
	closed()
	<-s.settled
}
