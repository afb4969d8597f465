// Package queue bounds how many requests are in flight at a backend and queues
// the others fairly by key.
package queue

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Capacity is how many requests a backend takes at once, and how many may wait
// for it. The zero value sets no bound.
type Capacity struct {
	// Inflight is the most requests in flight at the backend. 0: no bound.
	Inflight int64

	// Waiting is the most requests that wait. 0: none; a request without room is
	// refused.
	Waiting int

	// Bytes is the most bytes that waiting requests hold together. 0: no bound.
	Bytes int64

	// Wait is how long each of them waits at most.
	Wait time.Duration
}

// FullError is returned if a backend has no room for a request.
type FullError struct {
	// RetryAfter is an estimate of when there will be room.
	RetryAfter time.Duration

	// Late is set if the request waited for as long as the capacity allows.
	Late bool
}

// Error implements error.
func (e *FullError) Error() string {
	if e.Late {
		return "the request waited too long in the backend's queue"
	}
	return "the backend has no room for the request"
}

const (
	// Bounds of RetryAfter, which is estimated from past requests only.
	minRetryAfter = time.Second
	maxRetryAfter = time.Minute

	// serviceWeight is the weight of the last request in the mean service time.
	serviceWeight = 0.1
)

// Queue counts a backend's requests in flight and queues those beyond its
// capacity. Each key has a queue of its own, and the key queues take turns (fair
// queueing, Nagle, RFC 970): a key with many requests delays only its own. The
// zero value is ready to use and sets no bound.
//
// Requests in flight are counted even without a bound, so that a bound set later
// includes those that began before.
type Queue struct {
	inflight atomic.Int64
	bound    atomic.Int64 // capacity.Inflight, read without the lock; 0: none

	mu         sync.Mutex
	configured bool
	capacity   Capacity
	waiting    int
	bytes      int64     // held by the waiters
	queues     list.List // of *keyQueue, none of them empty, by turn
	byKey      map[string]*keyQueue
	service    time.Duration // moving mean of the time that a request is in flight; 0: unknown
}

// keyQueue holds the waiters of one key.
type keyQueue struct {
	key     string
	waiters list.List     // of *waiter, oldest first
	bytes   int64         // held by the waiters
	turn    *list.Element // in Queue.queues
}

// waiter is a request that waits.
type waiter struct {
	queue *keyQueue
	bytes int64         // that it holds
	entry *list.Element // in keyQueue.waiters; nil once it has left the queue. Guarded by Queue.mu.
	done  chan error    // receives once: nil if the request may begin
}

// InFlight returns how many requests of this gate are at the backend.
func (q *Queue) InFlight() int64 { return q.inflight.Load() }

// SetCapacity sets the capacity. If it grows, waiters begin at once; if it
// shrinks, requests in flight continue. Requests that wait keep their deadlines.
func (q *Queue) SetCapacity(c Capacity) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.configured, q.capacity = true, c
	q.bound.Store(c.Inflight)
	q.admit()
}

// InitCapacity sets the capacity unless one was set before.
func (q *Queue) InitCapacity(c Capacity) {
	q.mu.Lock()
	known := q.configured
	q.mu.Unlock()
	if !known {
		q.SetCapacity(c)
	}
}

// Full reports whether there is no room for another request, and whether such a
// request may wait.
func (q *Queue) Full() (full, queues bool) {
	bound := q.bound.Load()
	if bound == 0 || q.inflight.Load() < bound {
		return false, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return true, q.capacity.Waiting > 0
}

// Begin reports whether there is room for a request and counts it as in flight if
// so. The caller must then call [Queue.End].
func (q *Queue) Begin() bool {
	if q.bound.Load() == 0 {
		q.inflight.Add(1)
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.enter()
}

// End ends a request that was sent to the backend at began; zero if it never was.
func (q *Queue) End(began time.Time) {
	q.inflight.Add(-1)
	if q.bound.Load() == 0 {
		return // a bound that is set from now on sees the new count
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !began.IsZero() {
		q.recordService(time.Since(began))
	}
	q.admit()
}

// Wait waits until a request of key, which holds bytes meanwhile, may begin, and
// counts it as Begin does. It calls queued if the request has to wait. It
// returns a [*FullError] if the queue is full or the request has waited for
// Capacity.Wait, and ctx's cause if ctx ends.
func (q *Queue) Wait(ctx context.Context, key string, bytes int64, queued func()) error {
	q.mu.Lock()
	if q.enter() {
		q.mu.Unlock()
		return nil
	}
	w, longest := q.join(key, bytes), q.capacity.Wait
	full := &FullError{RetryAfter: q.retryAfter()}
	q.mu.Unlock()
	if w == nil {
		return full
	}

	queued()
	late := time.NewTimer(longest)
	defer late.Stop()
	select {
	case err := <-w.done:
		return err
	case <-late.C:
		if !q.quit(w) { // it has just been admitted or evicted
			return <-w.done
		}
		full.Late = true
		full.RetryAfter = q.RetryAfter()
		return full
	case <-ctx.Done():
		if !q.quit(w) && <-w.done == nil {
			q.End(time.Time{}) // admits the next waiter
		}
		return context.Cause(ctx)
	}
}

// Waiting returns how many requests wait.
func (q *Queue) Waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// Capacity returns the capacity.
func (q *Queue) Capacity() Capacity {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.capacity
}

// RetryAfter returns an estimate of when there will be room for another request.
func (q *Queue) RetryAfter() time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.retryAfter()
}

// enter counts a request as in flight if there is room and no request waits.
// q.mu must be held.
func (q *Queue) enter() bool {
	bound := q.capacity.Inflight
	if bound > 0 && (q.waiting > 0 || q.inflight.Load() >= bound) {
		return false
	}
	q.inflight.Add(1)
	return true
}

// admit lets waiters begin while there is room, one of each key queue in turn.
// q.mu must be held.
func (q *Queue) admit() {
	for q.waiting > 0 && (q.capacity.Inflight == 0 || q.inflight.Load() < q.capacity.Inflight) {
		turn := q.queues.Front()
		next := turn.Value.(*keyQueue)
		q.queues.MoveToBack(turn)
		q.inflight.Add(1)
		q.remove(next.waiters.Front().Value.(*waiter), nil)
	}
}

// quit removes a waiter and reports whether it was still in the queue.
func (q *Queue) quit(w *waiter) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w.entry == nil {
		return false
	}
	q.remove(w, errQuit)
	return true
}

// errQuit is sent to a waiter that has already stopped waiting.
var errQuit = errors.New("quit")

// join adds a waiter of key that holds bytes. It returns nil if the queue is
// full and no other key has more in it than this one would have. q.mu must be
// held.
func (q *Queue) join(key string, bytes int64) *waiter {
	own := q.byKey[key]
	overfull := q.waiting > q.capacity.Waiting || q.tooManyBytes(q.bytes) // after the capacity was lowered
	if overfull || !q.makeRoom(own, bytes) {
		return nil
	}
	if own == nil {
		own = &keyQueue{key: key}
		own.turn = q.queues.PushBack(own)
		if q.byKey == nil {
			q.byKey = make(map[string]*keyQueue)
		}
		q.byKey[key] = own
	}
	w := &waiter{queue: own, bytes: bytes, done: make(chan error, 1)}
	w.entry = own.waiters.PushBack(w)
	own.bytes += bytes
	q.bytes += bytes
	q.waiting++
	return w
}

// tooManyBytes reports whether bytes exceeds the capacity.
func (q *Queue) tooManyBytes(bytes int64) bool {
	return q.capacity.Bytes > 0 && bytes > q.capacity.Bytes
}

// share is the size of a key queue while evictions are planned.
type share struct {
	last   *list.Element // in keyQueue.waiters
	length int
	bytes  int64
}

// makeRoom evicts waiters so that a request of bytes fits into own's queue (nil
// means a new key). It evicts the newest waiter of the longest key queue or, if
// the byte limit is exceeded, of the one that holds the most bytes, as long as
// that has more than own would have. If this is not enough it evicts none. It
// visits every key queue, but only if the queue is full.
func (q *Queue) makeRoom(own *keyQueue, bytes int64) bool {
	length, held := q.waiting, q.bytes+bytes
	if length < q.capacity.Waiting && !q.tooManyBytes(held) {
		return true
	}
	mine := share{length: 1, bytes: bytes}
	if own != nil {
		mine.length += own.waiters.Len()
		mine.bytes += own.bytes
	}
	var others []*share
	for turn := q.queues.Front(); turn != nil; turn = turn.Next() {
		k := turn.Value.(*keyQueue)
		if k.waiters.Len() > mine.length || k.bytes > mine.bytes {
			others = append(others, &share{k.waiters.Back(), k.waiters.Len(), k.bytes})
		}
	}

	more := func(a, b *share) bool {
		if length >= q.capacity.Waiting {
			return a.length > b.length
		}
		return a.bytes > b.bytes
	}
	var evicted []*waiter
	for length >= q.capacity.Waiting || q.tooManyBytes(held) {
		var most *share
		for _, s := range others {
			if more(s, &mine) && (most == nil || !more(most, s)) {
				most = s
			}
		}
		if most == nil {
			return false
		}
		w := most.last.Value.(*waiter)
		evicted = append(evicted, w)
		most.last = most.last.Prev()
		most.length, most.bytes = most.length-1, most.bytes-w.bytes
		length, held = length-1, held-w.bytes
	}
	for _, w := range evicted {
		q.remove(w, &FullError{RetryAfter: q.retryAfter()})
	}
	return true
}

// remove removes a waiter from the queue and sends it err. q.mu must be held.
func (q *Queue) remove(w *waiter, err error) {
	w.queue.waiters.Remove(w.entry)
	w.entry = nil
	w.queue.bytes -= w.bytes
	q.bytes -= w.bytes
	if w.queue.waiters.Len() == 0 {
		q.queues.Remove(w.queue.turn)
		delete(q.byKey, w.queue.key)
	}
	q.waiting--
	w.done <- err
}

// recordService adds took to the mean service time. q.mu must be held.
func (q *Queue) recordService(took time.Duration) {
	if q.service == 0 {
		q.service = took
		return
	}
	q.service += time.Duration(serviceWeight * float64(took-q.service))
}

// retryAfter estimates when there will be room if waiters take as long as
// earlier requests did. q.mu must be held.
func (q *Queue) retryAfter() time.Duration {
	if q.capacity.Inflight == 0 {
		return minRetryAfter
	}
	rounds := float64(q.waiting+1) / float64(q.capacity.Inflight)
	// Compared as a float: the product may overflow a duration.
	if wait := rounds * float64(q.service); wait < float64(maxRetryAfter) {
		return max(minRetryAfter, time.Duration(wait))
	}
	return maxRetryAfter
}
