package health

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAsked bounds a cooldown that the backend asked for: the backend may be
	// wrong, or its limit may be raised meanwhile.
	maxAsked = 5 * time.Minute

	// failuresAllowed is how many failures in a row start a backoff. A single
	// one may be a coincidence.
	failuresAllowed = 3

	// A backoff doubles with each further failure up to the maximum. Up to half
	// of it is subtracted at random so that gates do not return all at once.
	firstBackoff = time.Second
	maxBackoff   = time.Minute

	// probeTimeout bounds how long other requests avoid a backend while one
	// request probes whether it works again: its response may take long.
	probeTimeout = 10 * time.Second

	// cooldownsKept bounds how many models of one backend have an entry.
	cooldownsKept = 1000
)

// Backoff is the cooldown state of a backend and one of its models. The zero
// value means that requests may be sent.
type Backoff struct {
	// Wait is how long no request should be sent. Zero: one may be.
	Wait time.Duration

	// Limited is set if a rate limit of the backend is exhausted (429).
	Limited bool

	// Whole is set if the whole backend cools down, not only the model.
	Whole bool

	// Last is set if any other candidate is better: a rate limit of the backend
	// is exhausted, or one request is probing whether it works again.
	Last bool
}

// cooldowns holds the cooldowns of a backend and its models, by the backend's
// own names of models; "" is the backend as a whole. An entry lasts from the
// first failure to the next success, so there is usually none. The zero value is
// ready to use.
type cooldowns struct {
	some atomic.Bool // whether each has an entry; read without the lock
	mu   sync.Mutex
	each map[string]*cooldown
}

// cooldown is a circuit breaker (Nygard, Release It!, 2007) that also opens when
// the backend asks for it.
type cooldown struct {
	asked     time.Time // until when the backend asked for no requests
	limited   bool      // by 429
	until     time.Time // end of the backoff after failures
	failures  int       // in a row
	probed    time.Time // when a probing request was sent; zero: none is in flight
	exhausted time.Time // until when a rate limit is exhausted
}

// open reports whether the next request is a probe.
func (c *cooldown) open() bool { return c.failures >= failuresAllowed || !c.asked.IsZero() }

// Backoff returns the state of the backend and of model: whether a request may
// be sent.
func (b *BackendState) Backoff(model string, now time.Time) (result Backoff) {
	if !b.cooldowns.some.Load() {
		return result
	}
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		c := b.cooldowns.each[name]
		if c == nil {
			continue
		}
		if wait := max(c.asked.Sub(now), c.until.Sub(now)); wait > result.Wait {
			result.Wait, result.Limited = wait, c.limited
			result.Whole = result.Whole || name == ""
		}
		probing := c.open() && now.Sub(c.probed) < probeTimeout
		result.Last = result.Last || probing || now.Before(c.exhausted)
	}
	return result
}

// Probe reports whether the request that is about to be sent probes a backend
// that was cooling down, while others avoid it. The caller then calls
// [BackendState.EndProbe] when the request is over.
func (b *BackendState) Probe(model string, now time.Time) (probing bool) {
	if !b.cooldowns.some.Load() {
		return false
	}
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		if c := b.cooldowns.each[name]; c != nil && c.open() && now.Sub(c.probed) >= probeTimeout {
			c.probed, probing = now, true
		}
	}
	return probing
}

// EndProbe lets another request probe if this one ended without a result because
// its caller left.
func (b *BackendState) EndProbe(model string) {
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		if c := b.cooldowns.each[name]; c != nil {
			c.probed = time.Time{}
		}
	}
}

// Succeeded records that the backend answered a request for model. A wait that
// the backend asked for still holds: the request may have been sent before it.
func (b *BackendState) Succeeded(model string, now time.Time) {
	b.stats.attempts.Add(1)
	if !b.cooldowns.some.Load() {
		return
	}
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		c := b.cooldowns.each[name]
		switch {
		case c == nil:
		case now.Before(c.asked) || now.Before(c.exhausted):
			c.failures, c.until, c.probed = 0, time.Time{}, time.Time{}
		default:
			b.cooldowns.drop(name)
		}
	}
}

// Unreachable records that a request could not be sent because no upstream of
// the backend is healthy.
func (b *BackendState) Unreachable(now time.Time) { b.Failed("", 0, false, now) }

// Failed records that the backend, or the given model of it, failed. It returns
// how long the new cooldown lasts, or 0 if there is none or one is already
// active. asked is the wait that the backend asked for. limited marks a 429,
// which starts a backoff even without a wait.
func (b *BackendState) Failed(model string, asked time.Duration, limited bool, now time.Time) (wait time.Duration) {
	b.stats.attempts.Add(1)
	b.stats.failures.Add(1)
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	c := b.cooldowns.get(model)
	c.probed = time.Time{}
	if now.Before(c.asked) || now.Before(c.until) {
		// The request was sent before the cooldown began: it can only extend it.
		if until := now.Add(min(asked, maxAsked)); asked > 0 && until.After(c.asked) {
			c.asked, c.limited = until, limited
			b.publish(sharedCooldown{model, limited, true}, until)
		}
		return 0
	}
	c.failures++
	c.limited = limited
	if asked > 0 {
		wait = min(asked, maxAsked)
		c.asked = now.Add(wait)
		b.publish(sharedCooldown{model, limited, true}, c.asked)
		return wait
	}
	if limited {
		c.failures = max(c.failures, failuresAllowed)
	}
	if c.failures < failuresAllowed {
		return 0
	}
	wait = backoffAfter(c.failures - failuresAllowed)
	c.until = now.Add(wait)
	b.publish(sharedCooldown{model, limited, false}, c.until)
	return wait
}

// backoffAfter returns the length of a backoff that follows a number of others.
func backoffAfter(others int) time.Duration {
	wait := maxBackoff
	if others < 6 {
		wait = min(firstBackoff<<others, maxBackoff)
	}
	return wait - rand.N(wait/2) //nolint:gosec // no secret: it spreads retries
}

// Exhausted records that a rate limit of model is exhausted for wait.
func (b *BackendState) Exhausted(model string, wait time.Duration, now time.Time) {
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	b.cooldowns.get(model).exhausted = now.Add(min(wait, maxAsked))
}

// get returns the entry of a model and creates it if there is none. c.mu must be
// held.
func (c *cooldowns) get(model string) *cooldown {
	if known := c.each[model]; known != nil {
		return known
	}
	if c.each == nil {
		c.each = make(map[string]*cooldown)
	}
	if len(c.each) >= cooldownsKept {
		for other := range c.each {
			if other != "" {
				delete(c.each, other)
				break
			}
		}
	}
	known := new(cooldown)
	c.each[model] = known
	c.some.Store(true)
	return known
}

// drop removes an entry. c.mu must be held.
func (c *cooldowns) drop(model string) {
	delete(c.each, model)
	c.some.Store(len(c.each) > 0)
}
