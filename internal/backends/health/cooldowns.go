package health

import (
	"iter"
	"sync"
	"sync/atomic"
	"time"
)

// cooldowns holds the cooldowns of a backend. An entry lasts from the first
// failure to the next success, so there is usually none. The zero value is ready
// to use.
type cooldowns struct {
	some   atomic.Bool // whether there is an entry; read without the lock
	mu     sync.Mutex
	models map[string]*modelCooldowns // by the backend's own names; "": as a whole
	n      int                        // entries of keys, over all models
}

// modelCooldowns holds the cooldowns of one model.
type modelCooldowns struct {
	all       cooldown             // failures that can't be about a request
	keys      map[string]*cooldown // the others, by the key that met them
	latest    [2]ending            // of keys, the two that end last; all keys cool down until the second
	exhausted time.Time            // until when a rate limit is exhausted
	paced     time.Time            // when a request was last sent despite a cooldown of all keys
	pacedFor  string               // its key
}

// ending is the end of a key's cooldown. The zero value is none.
type ending struct {
	key     string
	until   time.Time
	limited bool
	asked   bool // by the backend
}

// cooldown is a circuit breaker (Nygard, Release It!, 2007) that also opens when
// the backend asks for it.
type cooldown struct {
	asked    time.Time // until when the backend asked for no requests
	limited  bool      // by 429
	until    time.Time // end of the backoff after failures
	failures int       // in a row
	failed   time.Time // the last time
	probed   time.Time // when a probing request was sent; zero: none is in flight
	paced    time.Time // when a request was last sent despite the cooldown
}

// open reports whether the next request is a probe.
func (c *cooldown) open() bool { return c.failures >= failuresAllowed || !c.asked.IsZero() }

// end returns when the cooldown ends.
func (c *cooldown) end() time.Time {
	if c.asked.After(c.until) {
		return c.asked
	}
	return c.until
}

// recovered resets c after a request that was sent at sent has succeeded, and
// reports whether nothing is left of it. A wait that the backend asked for still
// holds if the request was sent before.
func (c *cooldown) recovered(sent, now time.Time) bool {
	c.failures, c.until, c.probed = 0, time.Time{}, time.Time{}
	if sent.After(c.failed) || !now.Before(c.asked) {
		c.asked = time.Time{}
	}
	return c.asked.IsZero()
}

// of yields the entries that concern the requests of a key.
func (m *modelCooldowns) of(key string) iter.Seq[*cooldown] {
	return func(yield func(*cooldown) bool) {
		if c := m.keys[key]; c == nil || yield(c) {
			yield(&m.all)
		}
	}
}

func (m *modelCooldowns) coolsForAll(now time.Time) bool {
	return now.Before(m.all.end()) || now.Before(m.latest[1].until)
}

// of yields the entries of the whole backend and of a model that concern the
// requests of a key. c.mu must be held.
func (c *cooldowns) of(model, key string) iter.Seq[*cooldown] {
	return func(yield func(*cooldown) bool) {
		for _, name := range [...]string{"", model} {
			if m := c.models[name]; m != nil {
				for entry := range m.of(key) {
					if !yield(entry) {
						return
					}
				}
			}
		}
	}
}

// fail records a failure. It reports whether the end of the cooldown has changed,
// and returns the wait if a cooldown has begun.
func (c *cooldown) fail(f Failure, now time.Time) (wait time.Duration, changed bool) {
	asked := min(f.Asked, maxAsked)
	c.probed = time.Time{}
	if now.Before(c.end()) {
		// The request was sent before the cooldown began: it can only extend it.
		if until := now.Add(asked); asked > 0 && until.After(c.asked) {
			c.asked, c.limited, c.failed = until, f.Limited, now
			return 0, true
		}
		return 0, false
	}
	c.failures++
	c.limited, c.failed = f.Limited, now
	if asked > 0 {
		c.asked = now.Add(asked)
		return asked, true
	}
	if f.Limited {
		c.failures = max(c.failures, failuresAllowed)
	}
	if c.failures < failuresAllowed {
		return 0, false
	}
	wait = backoffAfter(c.failures - failuresAllowed)
	c.until = now.Add(wait)
	return wait, true
}

// ends records until when a key's cooldown lasts.
func (m *modelCooldowns) ends(e ending) {
	first, second := &m.latest[0], &m.latest[1]
	switch {
	case first.key == e.key:
		*first = e
	case second.key == e.key:
		*second = e
	case e.until.After(first.until):
		*second, *first = *first, e
	case e.until.After(second.until):
		*second = e
	}
	if second.until.After(first.until) {
		*first, *second = *second, *first
	}
}

// keepAsked forgets the ends of cooldowns for which no backend asked.
func (m *modelCooldowns) keepAsked() {
	before := m.latest
	m.latest = [2]ending{}
	for _, e := range before {
		if e.asked {
			m.ends(e)
		}
	}
}

// get returns the entries of a model and creates them if there are none. c.mu must
// be held.
func (c *cooldowns) get(model string) *modelCooldowns {
	if known := c.models[model]; known != nil {
		return known
	}
	if c.models == nil {
		c.models = make(map[string]*modelCooldowns)
	}
	if len(c.models) >= cooldownsKept {
		for other, m := range c.models {
			if other != "" {
				c.n -= len(m.keys)
				delete(c.models, other)
				break
			}
		}
	}
	known := new(modelCooldowns)
	c.models[model] = known
	c.some.Store(true)
	return known
}

// entry returns the entry of a key and creates it if there is none. If there are
// too many, any other one is forgotten. c.mu must be held.
func (c *cooldowns) entry(m *modelCooldowns, key string) *cooldown {
	if known := m.keys[key]; known != nil {
		return known
	}
	if c.n >= cooldownsKept {
		c.evict()
	}
	if m.keys == nil {
		m.keys = make(map[string]*cooldown)
	}
	known := new(cooldown)
	m.keys[key] = known
	c.n++
	return known
}

// evict forgets the entry of any key.
func (c *cooldowns) evict() {
	for _, m := range c.models {
		for key := range m.keys {
			c.forget(m, key)
			return
		}
	}
}

// forget removes the entry of a key. c.mu must be held.
func (c *cooldowns) forget(m *modelCooldowns, key string) {
	delete(m.keys, key)
	c.n--
	for i, e := range m.latest {
		if e.key == key {
			m.latest[i] = ending{}
		}
	}
	if m.latest[0].key == "" {
		m.latest[0], m.latest[1] = m.latest[1], ending{}
	}
}

// drop removes what is kept of a model if nothing is left in it. c.mu must be
// held.
func (c *cooldowns) drop(model string, now time.Time) {
	m := c.models[model]
	if len(m.keys) > 0 || m.all != (cooldown{}) || now.Before(m.exhausted) || now.Before(m.latest[1].until) {
		return
	}
	delete(c.models, model)
	c.some.Store(len(c.models) > 0)
}
