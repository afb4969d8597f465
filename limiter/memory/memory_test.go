package memory_test

import (
	"sync"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/limitertest"
	"github.com/amanycodes/pine-gate/limiter/memory"
)

// clock is a clock that moves by Advance alone.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestMemory(t *testing.T) {
	limitertest.Run(t, func(t *testing.T, seed limiter.Seed) (limiter.Limiter, func(time.Duration)) {
		c := &clock{now: time.Date(2026, 2, 27, 22, 30, 0, 0, time.UTC)}
		m := memory.New(memory.Options{Now: c.Now, Seed: seed, Sweep: -1})
		t.Cleanup(func() { _ = m.Close() })
		return m, c.Advance
	})
}
