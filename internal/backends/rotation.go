package backends

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
)

// maxKeyTries bounds how many of a backend's keys one request is tried with.
const maxKeyTries = 3

// rotation takes the api_keys of a backend in turn. A key that is refused backoffs
// while the others go on. Where all of them rest, the one is used that is free
// soonest: the backend's own answer is truer than what the gate remembers, and a
// key that works again is found at once.
type rotation struct {
	keys     []*credential
	turn     atomic.Uint64
	backoffs atomic.Pointer[health.KeyBackoffs] // the backend's, once they are shared
}

// newRotation resolves the placeholders of keys that are sent in the header of
// this name.
func newRotation(placeholders []string, header string) (*rotation, error) {
	r := new(rotation)
	r.backoffs.Store(new(health.KeyBackoffs))
	for _, p := range placeholders {
		c, err := newCredential(p, header)
		if err != nil {
			return nil, err
		}
		r.keys = append(r.keys, c)
	}
	return r, nil
}

// first returns the key of a request's first try, nil where there are none, and
// its number as written, from 1.
func (r *rotation) first(now time.Time) (key *apiKey, number int) {
	switch len(r.keys) {
	case 0:
		return nil, 0
	case 1:
		return r.keys[0].get(now), 1 // there is nothing to choose
	}
	if key, number = r.next(now); key != nil {
		return key, number
	}
	backoffs := r.backoffs.Load()
	var soonest time.Duration
	for i, c := range r.keys {
		candidate := c.get(now)
		if wait := backoffs.Wait(candidate.id, now); key == nil || wait < soonest {
			key, number, soonest = candidate, i+1, wait
		}
	}
	return key, number
}

// next returns the next key in turn that does not rest, nil where all do.
func (r *rotation) next(now time.Time) (key *apiKey, number int) {
	backoffs, n := r.backoffs.Load(), uint64(len(r.keys))
	for range r.keys {
		i := int((r.turn.Add(1) - 1) % n)
		if key := r.keys[i].get(now); backoffs.Take(key.id, now) {
			return key, i + 1
		}
	}
	return nil, 0
}

// refused notes that the backend refused a key with this status, to a request
// that was sent at the time, and how long it asked to wait. It returns how long
// the key backoffs now, 0 where it does not: a single key has no other to stand in.
func (r *rotation) refused(key *apiKey, status int, wait time.Duration, sent, now time.Time) time.Duration {
	if len(r.keys) < 2 || !refusesKey(status) {
		return 0
	}
	return r.backoffs.Load().Refused(key.id, status, wait, sent, now)
}

// accepted notes that a request that was sent at the time was not refused for
// its key.
func (r *rotation) accepted(key *apiKey, sent time.Time) {
	if len(r.keys) > 1 {
		r.backoffs.Load().Accepted(key.id, sent)
	}
}

// soonest is how long it takes until some key is free.
func (r *rotation) soonest(now time.Time) time.Duration {
	backoffs := r.backoffs.Load()
	soonest := maxRetryAfter
	for _, c := range r.keys {
		soonest = min(soonest, backoffs.Wait(c.get(now).id, now))
	}
	return soonest
}

// refusesKey reports whether a status is about the key that was used, so that
// another may do better: it is bad, its account is out of money, or it is over
// its rate.
func refusesKey(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusTooManyRequests:
		return true
	}
	return false
}

// Credentials returns how many API keys the backend has, and how many of them are
// backing off.
func (t *Transport) Credentials(now time.Time) (total, backingOff int) {
	backoffs := t.keys.backoffs.Load()
	for _, c := range t.keys.keys {
		if backoffs.Wait(c.get(now).id, now) > 0 {
			backingOff++
		}
	}
	return len(t.keys.keys), backingOff
}
