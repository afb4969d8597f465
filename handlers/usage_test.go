package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/amanycodes/pine-gate/usage"
)

// unread is a ledger that can't be read.
type unread struct{ usage.Ledger }

func (unread) Query(context.Context, usage.Query) (*usage.Page, error) {
	return nil, errors.New("the disk is broken")
}

// held is a Shared whose references are not counted.
type held struct{ away }

func (held) Acquire() {}
func (held) Release() {}

func TestUsageThatCannotBeReadIsToldToTheLog(t *testing.T) {
	core, logs := observer.New(zap.DebugLevel)
	err := WriteUsage(held{away{ledger: unread{}}}, zap.New(core), httptest.NewRecorder(), httptest.NewRequest("GET", "/v1/usage", nil))
	if err == nil || err.StatusCode() != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
	if logs.FilterLevelExact(zap.ErrorLevel).Len() != 1 || logs.All()[0].ContextMap()["error"] != "the disk is broken" {
		t.Errorf("the log says %v", logs.All())
	}
}
