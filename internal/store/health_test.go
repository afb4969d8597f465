package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
	usagememory "github.com/amanycodes/pine-gate/usage/memory"
)

func TestHealthReporterLogsEachChangeOnce(t *testing.T) {
	core, seen := observer.New(zap.InfoLevel)
	logger := zap.New(core)
	c := healthReporter{
		logger: func() *zap.Logger { return logger }, fails: "it fails", works: "it works again",
		fields: []zap.Field{zap.String("store", "x")}, reason: func(error) string { return "because" },
	}
	why := errors.New("why")
	for _, err := range []error{nil, nil, why, why, errors.New("another"), nil, nil, why} {
		c.report(err)
	}
	var logged []string
	for _, line := range seen.All() {
		logged = append(logged, line.Message)
		fields := line.ContextMap()
		if err, ok := fields["error"]; (line.Level == zap.ErrorLevel) != ok || ok && (err != "why" || fields["reason"] != "because") || fields["store"] != "x" {
			t.Errorf("%s at %s with %v", line.Message, line.Level, fields)
		}
	}
	if want := []string{"it fails", "it works again", "it fails"}; len(logged) != 3 || logged[0] != want[0] || logged[1] != want[1] || logged[2] != want[2] {
		t.Errorf("logged %q", logged)
	}
}

func TestQuotaIsNotSeededFromALedgerThatCantBeRead(t *testing.T) {
	limit, err := limiter.ParseLimit([]string{"100", "usd/month"})
	if err != nil {
		t.Fatal(err)
	}
	ledger := usagememory.New(time.Hour)
	s := new(localState)
	s.ledger.Store(&ledgerHolder{ledger})
	since, _ := limit.Window.Bounds(time.Now())
	for _, kind := range []limiter.ScopeKind{limiter.ScopeKey, limiter.ScopeTeam, limiter.ScopeModel, limiter.ScopeBackend} {
		if used, err := s.used(limiter.NewRule(kind, "x", limit), since); used != 0 || err != nil {
			t.Errorf("%s: %d, %v", kind, used, err)
		}
	}
	if err := ledger.Close(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []limiter.ScopeKind{limiter.ScopeKey, limiter.ScopeTeam, limiter.ScopeModel, limiter.ScopeBackend} {
		if used, err := s.used(limiter.NewRule(kind, "x", limit), since); !errors.Is(err, usage.ErrClosed) {
			t.Errorf("%s: %d, %v", kind, used, err)
		}
	}
	if !s.seeding.failing {
		t.Error("it is not logged")
	}
}

func TestALedgerThatCantBeOpenedIsLoggedOnce(t *testing.T) {
	locked := errors.New("locked")
	s := &localState{maker: &Store{config: new(Config)}}
	s.closing, s.closed = context.WithCancel(t.Context())
	defer func() {
		s.closed()
		<-s.settled
	}()
	s.open = func(ledgerOptions) (usage.Ledger, error) { return nil, locked }
	for range 2 {
		if _, err := s.Ledger(); !errors.Is(err, locked) || !s.opening.failing {
			t.Errorf("got %v, logged: %t", err, s.opening.failing)
		}
	}
	s.open = func(ledgerOptions) (usage.Ledger, error) { return usagememory.New(time.Hour), nil }
	if _, err := s.Ledger(); err != nil || s.opening.failing {
		t.Errorf("got %v, logged: %t", err, !s.opening.failing)
	}
}
