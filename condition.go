package pinegate

import (
	"sync"

	"go.uber.org/zap"
)

// condition tells the log once when something begins to fail, and once when it
// works again. It is told the outcome of each try.
type condition struct {
	fails, works string // what the log says

	mu      sync.Mutex
	failing bool // guarded by mu
}

// note notes the outcome of a try: nil is that it works.
func (c *condition) note(logger *zap.Logger, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failing == (err != nil) {
		return
	}
	c.failing = err != nil
	if c.failing {
		logger.Error(c.fails, zap.Error(err))
	} else {
		logger.Info(c.works)
	}
}
