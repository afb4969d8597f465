package backends

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
)

// maxKeyTries bounds how many of a backend's keys one request is tried with.
const maxKeyTries = 3

// rotation uses the api_keys of a backend in turn. A refused key backs off while
// the others stay in use. If all of them back off, it uses the one whose backoff
// ends first: the backend's own response is more accurate than what the gate
// remembers, and a key that works again is found at once.
type rotation struct {
	keys     []*credential
	turn     atomic.Uint64
	backoffs atomic.Pointer[health.KeyBackoffs] // the backend's own, once Share was called
}

// newRotation resolves the placeholders of keys that are sent in header.
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

// first returns the key for a request's first try and its number in api_keys,
// from 1. The key is nil if there are none.
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

// next returns the next key in turn that is not backing off, or nil if all are.
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

// refused records that the backend refused a request sent at sent with status
// because of its key, and that it asked for wait. It returns the key's backoff,
// or 0 if it has none: a single key has no substitute.
func (r *rotation) refused(key *apiKey, status int, wait time.Duration, sent, now time.Time) time.Duration {
	if len(r.keys) < 2 || !refusesKey(status) {
		return 0
	}
	return r.backoffs.Load().Refused(key.id, status, wait, sent, now)
}

// accepted records that a request sent at sent was not refused because of its
// key.
func (r *rotation) accepted(key *apiKey, sent time.Time) {
	if len(r.keys) > 1 {
		r.backoffs.Load().Accepted(key.id, sent)
	}
}

// soonest returns how long it takes until some key may be used.
func (r *rotation) soonest(now time.Time) time.Duration {
	backoffs := r.backoffs.Load()
	soonest := maxRetryAfter
	for _, c := range r.keys {
		soonest = min(soonest, backoffs.Wait(c.get(now).id, now))
	}
	return soonest
}

// refusesKey reports whether a status concerns the key, so that another key may
// succeed: the key is invalid, its account is out of money, or it is over its
// rate limit.
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
