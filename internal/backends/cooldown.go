package backends

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxAsked bounds for how long a backend is left alone because it said so: it
	// may be wrong, or its limit may be raised meanwhile.
	maxAsked = 5 * time.Minute

	// failuresAllowed is how many failures in a row there are before a backend is
	// given a rest. One by itself is an accident.
	failuresAllowed = 3

	// A rest takes the first, twice that after the next failure and so on up to
	// the last, each less up to a half of it at random: gates must not come back
	// all at once.
	firstRest = time.Second
	lastRest  = time.Minute

	// probeLasts bounds for how long others wait for the one request that finds
	// out whether a backend works again: its answer may take long.
	probeLasts = 10 * time.Second

	// cooldownsKept bounds how many models of one backend are known to cool.
	cooldownsKept = 1000
)

// Cooling is whether a backend, or the model that is asked of it, is to be left
// alone. The zero value: it is not.
type Cooling struct {
	// Wait is for how long nothing shall be sent. Zero: it may be.
	Wait time.Duration

	// Limited tells that it waits for a limit that is used up (429).
	Limited bool

	// Whole tells that it is the backend, not only a model of it.
	Whole bool

	// Last tells that another candidate is better, if there is one: the backend
	// has nothing left of a limit, or one request is just finding out whether it
	// works again.
	Last bool
}

// cooldowns is why a backend and its models are left alone, by the backend's own
// names of models; "" is the backend as a whole. There is an entry from the first
// failure to the next success, so that mostly there is none. The zero value is
// ready to use.
type cooldowns struct {
	some atomic.Bool // whether each has an entry, to be asked without the lock
	mu   sync.Mutex
	each map[string]*cooldown
}

// cooldown is one reason to leave a backend alone: a circuit breaker (Nygard,
// Release It!, 2007) that also opens when the backend asks for it.
type cooldown struct {
	asked    time.Time // until when the backend asked to be left alone
	limited  bool      // by 429
	resting  time.Time // until when it is given a rest
	failures int       // in a row
	probed   time.Time // when the request was sent that finds out; zero: none is
	spent    time.Time // until when a limit has nothing left
}

// open tells whether the first request from now on is to find out whether the
// backend works.
func (c *cooldown) open() bool { return c.failures >= failuresAllowed || !c.asked.IsZero() }

// Cooling tells whether a request for a model may be sent to the backend.
func (l *Live) Cooling(model string, now time.Time) (result Cooling) {
	if !l.cooldowns.some.Load() {
		return result
	}
	l.cooldowns.mu.Lock()
	defer l.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		c := l.cooldowns.each[name]
		if c == nil {
			continue
		}
		if wait := max(c.asked.Sub(now), c.resting.Sub(now)); wait > result.Wait {
			result.Wait, result.Limited = wait, c.limited
			result.Whole = result.Whole || name == ""
		}
		probing := c.open() && now.Sub(c.probed) < probeLasts
		result.Last = result.Last || probing || now.Before(c.spent)
	}
	return result
}

// Probe is called before a request is sent. It tells whether that is the one that
// finds out whether a backend works again, while others go elsewhere; then
// [Live.EndProbe] is to be called when it is over.
func (l *Live) Probe(model string, now time.Time) (probing bool) {
	if !l.cooldowns.some.Load() {
		return false
	}
	l.cooldowns.mu.Lock()
	defer l.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		if c := l.cooldowns.each[name]; c != nil && c.open() && now.Sub(c.probed) >= probeLasts {
			c.probed, probing = now, true
		}
	}
	return probing
}

// EndProbe lets another request find out, where this one did not: its caller has
// left.
func (l *Live) EndProbe(model string) {
	l.cooldowns.mu.Lock()
	defer l.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		if c := l.cooldowns.each[name]; c != nil {
			c.probed = time.Time{}
		}
	}
}

// worked notes that the backend answered for a model. What it asked for itself
// still holds: the request may have been sent before.
func (l *Live) worked(model string, now time.Time) {
	l.tries.attempts.Add(1)
	if !l.cooldowns.some.Load() {
		return
	}
	l.cooldowns.mu.Lock()
	defer l.cooldowns.mu.Unlock()
	for _, name := range [...]string{"", model} {
		c := l.cooldowns.each[name]
		switch {
		case c == nil:
		case now.Before(c.asked) || now.Before(c.spent):
			c.failures, c.resting, c.probed = 0, time.Time{}, time.Time{}
		default:
			l.cooldowns.drop(name)
		}
	}
}

// Unreachable notes that a request could not even be sent to the backend, since
// none of its upstreams is healthy.
func (l *Live) Unreachable(now time.Time) { l.failed("", 0, false, now) }

// failed notes that the backend, or where one is named a model of it, failed. It
// returns for how long it is left alone from now on, 0 where it is not or was
// already. asked is how long the backend wants that; limited, that it is by 429,
// which says as much without a time.
func (l *Live) failed(model string, asked time.Duration, limited bool, now time.Time) (rest time.Duration) {
	l.tries.attempts.Add(1)
	l.tries.failures.Add(1)
	l.cooldowns.mu.Lock()
	defer l.cooldowns.mu.Unlock()
	c := l.cooldowns.get(model)
	c.probed = time.Time{}
	if now.Before(c.asked) || now.Before(c.resting) {
		// Sent before it was left alone: nothing new, but for another time.
		if until := now.Add(min(asked, maxAsked)); asked > 0 && until.After(c.asked) {
			c.asked, c.limited = until, limited
			l.tell(cooled{model, limited, true}, until)
		}
		return 0
	}
	c.failures++
	c.limited = limited
	if asked > 0 {
		rest = min(asked, maxAsked)
		c.asked = now.Add(rest)
		l.tell(cooled{model, limited, true}, c.asked)
		return rest
	}
	if limited {
		c.failures = max(c.failures, failuresAllowed)
	}
	if c.failures < failuresAllowed {
		return 0
	}
	rest = restAfter(c.failures - failuresAllowed)
	c.resting = now.Add(rest)
	l.tell(cooled{model, limited, false}, c.resting)
	return rest
}

// restAfter is how long a rest takes after so many others.
func restAfter(others int) time.Duration {
	rest := lastRest
	if others < 6 {
		rest = min(firstRest<<others, lastRest)
	}
	return rest - rand.N(rest/2) //nolint:gosec // no secret: it spreads retries
}

// spent notes that a limit of the model has nothing left for so long.
func (l *Live) spent(model string, wait time.Duration, now time.Time) {
	l.cooldowns.mu.Lock()
	defer l.cooldowns.mu.Unlock()
	l.cooldowns.get(model).spent = now.Add(min(wait, maxAsked))
}

// get returns the entry of a model, begun where there is none. It must be called
// with the lock held.
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

// drop ends an entry. It must be called with the lock held.
func (c *cooldowns) drop(model string) {
	delete(c.each, model)
	c.some.Store(len(c.each) > 0)
}
