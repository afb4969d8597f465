package health

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Backoffs of a refused key. A time that the backend names counts, up to a
// bound: it may be wrong, and an extra request costs little. Otherwise each
// further refusal doubles the backoff.
const (
	maxKeyWait        = time.Hour
	firstLimitBackoff = time.Second // 429 without a time
	maxLimitBackoff   = time.Minute
	firstKeyBackoff   = 10 * time.Second // 401, 402, 403
	maxKeyBackoff     = 10 * time.Minute

	// keyProbeTimeout is how long a single request probes a key after its
	// backoff.
	keyProbeTimeout = 10 * time.Second

	// maxKeyBackoffs bounds how many keys are remembered: key files may change
	// any number of times.
	maxKeyBackoffs = 1024
)

// KeyID identifies a credential by its SHA-256, without revealing it.
type KeyID [sha256.Size]byte

// KeyBackoffs holds the backoffs of a backend's refused keys. It outlives the
// configurations that hold the keys. The zero value is ready to use.
type KeyBackoffs struct {
	count atomic.Int64 // of byKey: usually 0

	mu    sync.Mutex
	byKey map[KeyID]keyBackoff
}

type keyBackoff struct {
	since    time.Time // of the last refusal
	until    time.Time
	probed   time.Time // until when one request probes the key
	refusals int       // in a row
}

// Take reports whether a key may be used. After a backoff one request probes the
// key before others may use it.
func (k *KeyBackoffs) Take(id KeyID, now time.Time) bool {
	if k.count.Load() == 0 {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	backoff, ok := k.byKey[id]
	switch {
	case !ok:
		return true
	case now.Before(backoff.until), now.Before(backoff.probed):
		return false
	}
	backoff.probed = now.Add(keyProbeTimeout)
	k.byKey[id] = backoff
	return true
}

// Wait returns how much of a key's backoff is left.
func (k *KeyBackoffs) Wait(id KeyID, now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return max(0, k.byKey[id].until.Sub(now))
}

// Refused records that a request sent at sent was refused with status because of
// its key, and that the backend asked for wait. It returns the key's remaining
// backoff.
func (k *KeyBackoffs) Refused(id KeyID, status int, wait time.Duration, sent, now time.Time) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	backoff := k.byKey[id]
	if backoff.refusals == 0 || !sent.Before(backoff.since) {
		backoff.refusals++ // else it was sent before the last refusal
	}
	backoff.since, backoff.probed = now, time.Time{}
	if until := now.Add(keyBackoffAfter(status, wait, backoff.refusals)); until.After(backoff.until) {
		backoff.until = until
	}
	if k.byKey == nil {
		k.byKey = make(map[KeyID]keyBackoff)
	}
	k.byKey[id] = backoff
	k.prune(now)
	k.count.Store(int64(len(k.byKey)))
	return backoff.until.Sub(now)
}

// keyBackoffAfter returns the backoff of a key after a number of refusals in a
// row.
func keyBackoffAfter(status int, wait time.Duration, refusals int) time.Duration {
	first, most := firstKeyBackoff, maxKeyBackoff
	if status == http.StatusTooManyRequests {
		first, most = firstLimitBackoff, maxLimitBackoff
		if wait > 0 {
			return min(wait, maxKeyWait)
		}
	}
	backoff := first << min(refusals-1, 10)
	return min(backoff, most)
}

// prune removes keys whose backoff is over if there are too many. k.mu must be
// held.
func (k *KeyBackoffs) prune(now time.Time) {
	if len(k.byKey) <= maxKeyBackoffs {
		return
	}
	for id, backoff := range k.byKey {
		if now.After(backoff.until) {
			delete(k.byKey, id)
		}
	}
}

// Accepted ends the backoff of a key that works, unless the request was sent
// before the last refusal.
func (k *KeyBackoffs) Accepted(id KeyID, sent time.Time) {
	if k.count.Load() == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if backoff, ok := k.byKey[id]; ok && !sent.Before(backoff.since) {
		delete(k.byKey, id)
		k.count.Store(int64(len(k.byKey)))
	}
}
