package backends

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// How long a key rests that a backend refuses. Where the backend says how long,
// that counts, up to a bound: what it says may be wrong, and one try in between
// costs little. Else each further refusal doubles the time.
const (
	maxKeyRest      = time.Hour
	firstLimitRest  = time.Second // 429 that says no time
	maxLimitRest    = time.Minute
	firstRefuseRest = 10 * time.Second // 401, 402, 403
	maxRefuseRest   = 10 * time.Minute

	// keyProbe is how long a key that has rested is tried by one request only.
	keyProbe = 10 * time.Second

	// maxRests bounds how many keys are remembered: files bring new ones.
	maxRests = 1024
)

// keyRests remembers the keys of a backend that rest. It outlives the
// configurations that hold the keys. The zero value is ready to use.
type keyRests struct {
	count atomic.Int64 // of byKey: most of the time there are none

	mu    sync.Mutex
	byKey map[keyID]keyRest
}

type keyRest struct {
	since    time.Time // of the last refusal
	until    time.Time
	probed   time.Time // till then one request tries whether it works again
	refusals int       // without an answer in between
}

// take tells whether a key may be used. Of those that have rested it lets one
// request try first.
func (r *keyRests) take(id keyID, now time.Time) bool {
	if r.count.Load() == 0 {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rest, ok := r.byKey[id]
	switch {
	case !ok:
		return true
	case now.Before(rest.until), now.Before(rest.probed):
		return false
	}
	rest.probed = now.Add(keyProbe)
	r.byKey[id] = rest
	return true
}

// wait is how long a key still rests.
func (r *keyRests) wait(id keyID, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return max(0, r.byKey[id].until.Sub(now))
}

// refused lets a key rest and returns how long.
func (r *keyRests) refused(id keyID, status int, wait time.Duration, sent, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := r.byKey[id]
	if rest.refusals == 0 || !sent.Before(rest.since) {
		rest.refusals++ // else it left with those that were refused already
	}
	rest.since, rest.probed = now, time.Time{}
	if until := now.Add(restFor(status, wait, rest.refusals)); until.After(rest.until) {
		rest.until = until
	}
	if r.byKey == nil {
		r.byKey = make(map[keyID]keyRest)
	}
	r.byKey[id] = rest
	r.forget(now)
	r.count.Store(int64(len(r.byKey)))
	return rest.until.Sub(now)
}

// restFor is how long a key rests after so many refusals in a row.
func restFor(status int, wait time.Duration, refusals int) time.Duration {
	first, most := firstRefuseRest, maxRefuseRest
	if status == http.StatusTooManyRequests {
		first, most = firstLimitRest, maxLimitRest
		if wait > 0 {
			return min(wait, maxKeyRest)
		}
	}
	rest := first << min(refusals-1, 10)
	return min(rest, most)
}

// forget drops keys that nobody uses any more, where there are many. It must be
// called with r.mu held.
func (r *keyRests) forget(now time.Time) {
	if len(r.byKey) <= maxRests {
		return
	}
	for id, rest := range r.byKey {
		if now.After(rest.until) {
			delete(r.byKey, id)
		}
	}
}

// accepted ends the rest of a key that works. Requests that were sent before it
// was refused prove nothing.
func (r *keyRests) accepted(id keyID, sent time.Time) {
	if r.count.Load() == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if rest, ok := r.byKey[id]; ok && !sent.Before(rest.since) {
		delete(r.byKey, id)
		r.count.Store(int64(len(r.byKey)))
	}
}
