package health

import (
	"math/rand/v2"
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

	// pace is the least time between two requests that are sent although every
	// candidate cools down: a wait may be wrong, and a refusal may have been about
	// the request that met it.
	pace = time.Second

	// cooldownsKept bounds how many cooldowns of one backend are kept, over all
	// models and keys.
	cooldownsKept = 1000
)

// Backoff is the cooldown state of a backend and one of its models for the
// requests of a key. The zero value means that requests may be sent.
type Backoff struct {
	// Wait is how long no request should be sent. Zero: one may be.
	Wait time.Duration

	// Limited is set if a rate limit of the backend is exhausted (429).
	Limited bool

	// Whole is set if the whole backend cools down for all keys.
	Whole bool

	// Last is set if any other candidate is better: a rate limit of the backend
	// is exhausted, or one request is probing whether it works again.
	Last bool
}

// Failure is what an attempt showed: that a backend, or a model of it, fails.
type Failure struct {
	Model string // the backend's own name of it; "": the whole backend

	// Key is the caller's key. The failure may be about its requests, so that it
	// counts for other keys only once a second key has met it, too. "": it can't
	// be about a request, such as a refused connection.
	Key string

	Asked   time.Duration // the wait that the backend asked for; 0: none
	Limited bool          // by 429, which starts a backoff even without a wait
}

// Backoff returns the state of the backend and of model for a key: whether a
// request may be sent.
func (b *BackendState) Backoff(model, key string, now time.Time) (result Backoff) {
	if !b.cooldowns.some.Load() {
		return result
	}
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	add := func(until time.Time, limited, whole bool) {
		if wait := until.Sub(now); wait > result.Wait {
			result.Wait, result.Limited = wait, limited
			result.Whole = result.Whole || whole
		}
	}
	for _, name := range [...]string{"", model} {
		m := b.cooldowns.models[name]
		if m == nil {
			continue
		}
		add(m.all.end(), m.all.limited, name == "")
		add(m.latest[1].until, m.latest[1].limited, name == "")
		for c := range m.of(key) {
			add(c.end(), c.limited, false)
			result.Last = result.Last || c.open() && now.Sub(c.probed) < probeTimeout
		}
		result.Last = result.Last || now.Before(m.exhausted)
	}
	return result
}

// Pace reports whether a request of a key may be sent although its candidates
// cool down. It grants one a second for what cools down for the key alone, and one
// a second, to keys in turn, for what cools down for all.
func (b *BackendState) Pace(model, key string, now time.Time) bool {
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	names := [...]string{"", model}
	for _, name := range names {
		m := b.cooldowns.models[name]
		if m == nil {
			continue
		}
		least := pace
		if m.pacedFor == key {
			least = 2 * pace
		}
		if m.coolsForAll(now) && now.Sub(m.paced) < least {
			return false
		}
		if c := m.keys[key]; c != nil && now.Before(c.end()) && now.Sub(c.paced) < pace {
			return false
		}
	}
	for _, name := range names {
		if m := b.cooldowns.models[name]; m != nil {
			if m.coolsForAll(now) {
				m.paced, m.pacedFor = now, key
			}
			if c := m.keys[key]; c != nil {
				c.paced = now
			}
		}
	}
	return true
}

// Probe reports whether the request that is about to be sent probes a backend
// that was cooling down, while others avoid it. The caller then calls
// [BackendState.EndProbe] when the request is over.
func (b *BackendState) Probe(model, key string, now time.Time) (probing bool) {
	if !b.cooldowns.some.Load() {
		return false
	}
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for c := range b.cooldowns.of(model, key) {
		if c.open() && now.Sub(c.probed) >= probeTimeout {
			c.probed, probing = now, true
		}
	}
	return probing
}

// EndProbe lets another request probe if this one ended without a result because
// its caller left.
func (b *BackendState) EndProbe(model, key string) {
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for c := range b.cooldowns.of(model, key) {
		c.probed = time.Time{}
	}
}

// Succeeded records that the backend answered a request of a key for model, which
// was sent at sent.
func (b *BackendState) Succeeded(model, key string, sent, now time.Time) {
	b.stats.attempts.Add(1)
	if !b.cooldowns.some.Load() {
		return
	}
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		m := b.cooldowns.models[name]
		if m == nil {
			continue
		}
		if c := m.keys[key]; c != nil && c.recovered(sent, now) {
			b.cooldowns.forget(m, key)
		}
		m.keepAsked() // it works for one key
		if m.all.recovered(sent, now) {
			m.all = cooldown{}
		}
		b.cooldowns.drop(name, now)
	}
}

// Unreachable records that a request could not be sent because no upstream of
// the backend is healthy.
func (b *BackendState) Unreachable(now time.Time) { b.Failed(Failure{}, now) }

// Failed records a failure. It returns how long the new cooldown lasts, or 0 if
// there is none or one is already active.
func (b *BackendState) Failed(f Failure, now time.Time) time.Duration {
	b.stats.attempts.Add(1)
	b.stats.failures.Add(1)
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	m := b.cooldowns.get(f.Model)
	c := &m.all
	if f.Key != "" {
		c = b.cooldowns.entry(m, f.Key)
	}
	wait, changed := c.fail(f, now)
	if !changed {
		return 0
	}
	if f.Key != "" {
		m.ends(ending{f.Key, c.end(), f.Limited, f.Asked > 0})
	}
	b.publish(sharedCooldown{f.Model, f.Key, f.Limited, f.Asked > 0}, c.end())
	return wait
}

// Forgive takes back a failure that a key's request has met: every candidate has
// said the same of it, so it was about the request.
func (b *BackendState) Forgive(model, key string, now time.Time) {
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		m := b.cooldowns.models[name]
		if m == nil || m.keys[key] == nil {
			continue
		}
		c := m.keys[key]
		if c.failures = max(0, c.failures-1); c.failures < failuresAllowed {
			c.until = time.Time{}
		}
		if c.failures == 0 && c.asked.IsZero() {
			b.cooldowns.forget(m, key)
			b.cooldowns.drop(name, now)
		}
	}
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
