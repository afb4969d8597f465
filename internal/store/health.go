package store

import (
	"sync"

	"go.uber.org/zap"
)

// healthReporter logs once when something begins to fail, and once when it works
// again.
type healthReporter struct {
	fails, works string // log messages

	mu      sync.Mutex
	failing bool // guarded by mu
}

// report records the outcome of an attempt and logs a change.
func (r *healthReporter) report(logger *zap.Logger, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failing == (err != nil) {
		return
	}
	r.failing = err != nil
	if r.failing {
		logger.Error(r.fails, zap.Error(err))
	} else {
		logger.Info(r.works)
	}
}
