package backends

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Capacity is how many requests a backend takes at once, and how many wait for
// their turn meanwhile. The zero value: as many as come.
type Capacity struct {
	// Inflight is how many are with the backend at once, at most. 0: no bound.
	Inflight int64

	// Waiting is how many wait, at most. 0: none, who finds no room is refused.
	Waiting int

	// Bytes is how much they hold together, at most. 0: no bound.
	Bytes int64

	// Wait is for how long each of them waits, at most.
	Wait time.Duration
}

// FullError says that a backend had no room for a request.
type FullError struct {
	// RetryAfter is when there may be room, as far as can be told.
	RetryAfter time.Duration

	// Late tells that the request waited for its turn, and for too long.
	Late bool
}

// Error implements error.
func (e *FullError) Error() string {
	if e.Late {
		return "the request waited too long for its turn at the backend"
	}
	return "the backend has no room for the request"
}

const (
	// What a refused caller is told to wait, at least and at most: how long a
	// place is held is known of the past only.
	leastRetry = time.Second
	mostRetry  = time.Minute

	// heldWeight is how much the last request counts in the mean time for which
	// a place is held.
	heldWeight = 0.1
)

// queue is where requests wait for a place at a backend: a line for each key, and
// the lines take turns, so that a key with many requests makes no other one wait
// longer than its own line (fair queueing, Nagle, RFC 970). The zero value is
// ready to use, and bounds nothing.
//
// How many requests are with the backend is [Live]'s count, which also goes on
// while there is no bound: those that came before there was one hold a place, too.
type queue struct {
	bound atomic.Int64 // capacity.Inflight, to be asked without the lock; 0: none

	mu         sync.Mutex
	configured bool
	capacity   Capacity
	waiting    int
	bytes      int64     // that those who wait hold
	lines      list.List // of *line, none of them empty, by their turns
	byKey      map[string]*line
	held       time.Duration // for how long a place is held, a moving mean; 0: not known
}

// line is the waiters of one key.
type line struct {
	key     string
	waiters list.List     // of *waiter, oldest first
	bytes   int64         // that they hold
	turn    *list.Element // in queue.lines
}

// waiter is a request that waits for its turn.
type waiter struct {
	line  *line
	bytes int64         // that it holds
	place *list.Element // in line.waiters; nil: it is out of the queue. Guarded by queue.mu.
	told  chan error    // of what became of it: nil is its turn. Holds one.
}

// SetCapacity says how many requests the backend takes from now on. Where that
// are more than before, those that wait come in at once; where less, those that
// are there stay. Who waits already does so by what held when he came.
func (l *Live) SetCapacity(c Capacity) {
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.configured, q.capacity = true, c
	q.bound.Store(c.Inflight)
	l.letIn()
}

// InitCapacity is SetCapacity for a backend of which nothing was said before.
func (l *Live) InitCapacity(c Capacity) {
	l.queue.mu.Lock()
	known := l.queue.configured
	l.queue.mu.Unlock()
	if !known {
		l.SetCapacity(c)
	}
}

// Full tells whether there is no room for one request more, and whether it can
// wait there for its turn.
func (l *Live) Full() (full, queues bool) {
	bound := l.queue.bound.Load()
	if bound == 0 || l.inflight.Load() < bound {
		return false, false
	}
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return true, l.queue.capacity.Waiting > 0
}

// Begin takes a place for a request that goes to the backend, and tells whether
// there was one. Whoever got one calls [Live.End].
func (l *Live) Begin() bool {
	if l.queue.bound.Load() == 0 {
		l.inflight.Add(1)
		return true
	}
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.enter()
}

// End gives the place of a request back that went to the backend at the time; the
// zero time: it never did.
func (l *Live) End(began time.Time) {
	l.inflight.Add(-1)
	if l.queue.bound.Load() == 0 {
		return // whoever sets a bound from now on counts after this
	}
	q := &l.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !began.IsZero() {
		q.hold(time.Since(began))
	}
	l.letIn()
}

// Wait takes a place for a request of a key as soon as it is its turn, as Begin
// does. Meanwhile the request holds so many bytes. It returns a [*FullError] where none can be waited for, or none came in
// time, and ctx's cause once that ends. Queued is called where the request does
// have to wait.
func (l *Live) Wait(ctx context.Context, key string, bytes int64, queued func()) error {
	q := &l.queue
	q.mu.Lock()
	if l.enter() {
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
	case err := <-w.told:
		return err
	case <-late.C:
		if !l.quit(w) { // it was told just now
			return <-w.told
		}
		full.Late = true
		full.RetryAfter = l.RetryAfter()
		return full
	case <-ctx.Done():
		if !l.quit(w) && <-w.told == nil {
			l.End(time.Time{}) // for the next one
		}
		return context.Cause(ctx)
	}
}

// Waiting is how many requests wait for their turn.
func (l *Live) Waiting() int {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.waiting
}

// RetryAfter is when there may be room for one request more.
func (l *Live) RetryAfter() time.Duration {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	return l.queue.retryAfter()
}

// enter takes a place where one is free that nobody waits for. It must be called
// with queue.mu held.
func (l *Live) enter() bool {
	bound := l.queue.capacity.Inflight
	if bound > 0 && (l.queue.waiting > 0 || l.inflight.Load() >= bound) {
		return false
	}
	l.inflight.Add(1)
	return true
}

// letIn gives the places that are free to those whose turn it is. It must be
// called with queue.mu held.
func (l *Live) letIn() {
	q := &l.queue
	for q.waiting > 0 && (q.capacity.Inflight == 0 || l.inflight.Load() < q.capacity.Inflight) {
		turn := q.lines.Front()
		next := turn.Value.(*line)
		q.lines.MoveToBack(turn)
		l.inflight.Add(1)
		q.leave(next.waiters.Front().Value.(*waiter), nil)
	}
}

// quit takes a waiter out of the queue, and tells whether it was still there.
func (l *Live) quit(w *waiter) bool {
	l.queue.mu.Lock()
	defer l.queue.mu.Unlock()
	if w.place == nil {
		return false
	}
	l.queue.leave(w, errQuit)
	return true
}

// errQuit is what a waiter is told that went by itself, and does not listen.
var errQuit = errors.New("quit")

// join puts a request of a key, and of so many bytes, into the queue; nil: it is
// full. Where other keys have more in it than this one would have, their last
// requests make way. It must be called with mu held.
func (q *queue) join(key string, bytes int64) *waiter {
	own := q.byKey[key]
	overfull := q.waiting > q.capacity.Waiting || q.over(q.bytes) // for less than when they came
	if overfull || !q.makeWay(own, bytes) {
		return nil
	}
	if own == nil {
		own = &line{key: key}
		own.turn = q.lines.PushBack(own)
		if q.byKey == nil {
			q.byKey = make(map[string]*line)
		}
		q.byKey[key] = own
	}
	w := &waiter{line: own, bytes: bytes, told: make(chan error, 1)}
	w.place = own.waiters.PushBack(w)
	own.bytes += bytes
	q.bytes += bytes
	q.waiting++
	return w
}

// over tells whether so many bytes are more than may wait.
func (q *queue) over(bytes int64) bool {
	return q.capacity.Bytes > 0 && bytes > q.capacity.Bytes
}

// share is what of a line would be left in the queue.
type share struct {
	last   *list.Element // in line.waiters
	length int
	bytes  int64
}

// makeWay makes room for a request of so many bytes in the line given, nil: a new
// one. What it takes is given up by the last requests of the longest line, or,
// where it is bytes that lack, of the line that holds the most of them: as long as
// that has more than the line given would have. Where this is not enough nobody
// gives way. It looks at every line, but only in a queue that is full.
func (q *queue) makeWay(own *line, bytes int64) bool {
	length, held := q.waiting, q.bytes+bytes
	if length < q.capacity.Waiting && !q.over(held) {
		return true
	}
	mine := share{length: 1, bytes: bytes}
	if own != nil {
		mine.length += own.waiters.Len()
		mine.bytes += own.bytes
	}
	var others []*share
	for turn := q.lines.Front(); turn != nil; turn = turn.Next() {
		l := turn.Value.(*line)
		if l.waiters.Len() > mine.length || l.bytes > mine.bytes {
			others = append(others, &share{l.waiters.Back(), l.waiters.Len(), l.bytes})
		}
	}

	more := func(a, b *share) bool {
		if length >= q.capacity.Waiting {
			return a.length > b.length
		}
		return a.bytes > b.bytes
	}
	var leaving []*waiter
	for length >= q.capacity.Waiting || q.over(held) {
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
		leaving = append(leaving, w)
		most.last = most.last.Prev()
		most.length, most.bytes = most.length-1, most.bytes-w.bytes
		length, held = length-1, held-w.bytes
	}
	for _, w := range leaving {
		q.leave(w, &FullError{RetryAfter: q.retryAfter()})
	}
	return true
}

// leave takes a waiter out and tells it why. It must be called with mu held.
func (q *queue) leave(w *waiter, why error) {
	w.line.waiters.Remove(w.place)
	w.place = nil
	w.line.bytes -= w.bytes
	q.bytes -= w.bytes
	if w.line.waiters.Len() == 0 {
		q.lines.Remove(w.line.turn)
		delete(q.byKey, w.line.key)
	}
	q.waiting--
	w.told <- why
}

// hold notes for how long a place was held. It must be called with mu held.
func (q *queue) hold(d time.Duration) {
	if q.held == 0 {
		q.held = d
		return
	}
	q.held += time.Duration(heldWeight * float64(d-q.held))
}

// retryAfter is when there may be room, if those who wait hold their places for
// as long as those before did. It must be called with mu held.
func (q *queue) retryAfter() time.Duration {
	if q.capacity.Inflight == 0 {
		return leastRetry
	}
	rounds := float64(q.waiting+1) / float64(q.capacity.Inflight)
	// Compared as a float: the product may be too long for a duration.
	if wait := rounds * float64(q.held); wait < float64(mostRetry) {
		return max(leastRetry, time.Duration(wait))
	}
	return mostRetry
}
