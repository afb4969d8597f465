package redis

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

const (
	// settleBatch is the maximum number of settlements in a call, and settleCalls that of calls in one
	// round trip. Redis executes nothing else while it settles a batch, about a millisecond.
	settleBatch = 64
	settleCalls = 16

	// settleQueue is the maximum number of settlements queued while Redis is unavailable. Further ones
	// are dropped, and their reservations reaped.
	settleQueue = 100_000

	// settleTimeout is the timeout of one round trip, for which no caller waits.
	settleTimeout = time.Second

	// settleTries is the maximum number of attempts for a call to which Redis replies with an error
	// that is not known to be temporary.
	settleTries = 5
)

// settlement ends the holds of a reservation.
type settlement struct {
	id      string
	used    limiter.Usage
	holds   []account.Hold
	givenUp bool   // the call that reserves it may still reach Redis
	lost    bool   // Redis has no record of it: what was used is charged without one
	charge  []byte // record to settle instead of one in Redis: see Store.Charge
	tries   int
	order   uint64 // sequence number
}

// settler delivers settlements to Redis: in order, in batches, and repeatedly until Redis replies. An
// admission takes those along that wait, so that they cost no round trip and it sees their effect; its
// goroutine delivers the others. A repeated call is harmless, because settlements are idempotent by their ids.
type settler struct {
	store *Store
	done  chan struct{} // closed when run has returned
	wake  chan struct{} // buffered, 1
	hurry chan struct{} // closed by close

	mu      sync.Mutex // guards the fields below
	queue   []settlement
	busy    int      // settlements under way
	added   uint64   // settlements added since the start
	waiting []waiter // flushes, in the order of their last settlements
	dropped uint64
	closed  bool
}

// waiter waits until all settlements up to last are delivered or dropped.
type waiter struct {
	last uint64
	done chan struct{}
}

func (s *settler) start(r *Store) {
	s.store = r
	s.done, s.wake, s.hurry = make(chan struct{}), make(chan struct{}, 1), make(chan struct{})
	go s.run()
}

// add queues a settlement. It drops it if the queue is full or closed.
func (s *settler) add(st settlement) {
	s.mu.Lock()
	if s.closed || len(s.queue) >= settleQueue {
		s.dropped++
		s.mu.Unlock()
		return
	}
	s.added++
	st.order = s.added
	s.queue = append(s.queue, st)
	s.mu.Unlock()
	s.prod()
}

func (s *settler) prod() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *settler) stats() (queued int, dropped uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) + s.busy, s.dropped
}

// flush waits until all settlements that were added before are delivered or dropped, but not for those
// added meanwhile.
func (s *settler) flush(ctx context.Context) error {
	s.mu.Lock()
	if len(s.queue) == 0 && s.busy == 0 {
		s.mu.Unlock()
		return nil
	}
	done := make(chan struct{})
	s.waiting = append(s.waiting, waiter{s.added, done})
	s.mu.Unlock()
	s.prod()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiting = slices.DeleteFunc(s.waiting, func(w waiter) bool { return w.done == done })
		return ctx.Err()
	}
}

// close delivers the queue, for at most tuning.closing, and stops the goroutine.
func (s *settler) close() {
	ctx, cancel := context.WithTimeout(context.Background(), s.store.tuning.closing)
	defer cancel()
	_ = s.flush(ctx)
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	close(s.hurry)
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped += uint64(len(s.queue))
	s.queue = nil
}

func (s *settler) run() {
	defer close(s.done)
	backoff := time.Duration(0)
	for {
		if !s.wait(backoff) {
			return
		}
		batch := s.take(settleBatch * settleCalls)
		if len(batch) == 0 {
			continue
		}
		again, err := s.deliver(batch)
		s.finish(again, err)
		switch {
		case err == nil:
			backoff = 0
		default:
			s.store.opts.OnError(err)
			backoff = min(max(2*backoff, 50*time.Millisecond), time.Second)
		}
	}
}

// wait waits for backoff if set; else for a settlement, and then batchDelay for more of them. It returns
// false when the store is closed.
func (s *settler) wait(backoff time.Duration) bool {
	if backoff > 0 {
		return s.sleep(backoff, s.awaited)
	}
	s.mu.Lock()
	idle := len(s.queue) == 0 || s.busy > 0 // then sent wakes it
	s.mu.Unlock()
	if idle {
		select {
		case <-s.wake:
		case <-s.hurry:
			return false
		}
	}
	s.mu.Lock()
	full := len(s.queue) >= settleBatch || len(s.waiting) > 0
	s.mu.Unlock()
	return full || s.sleep(s.store.tuning.batchDelay, s.rushed)
}

// rushed reports whether a flush waits for the queue, or the queue has a full batch.
func (s *settler) rushed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) >= settleBatch || len(s.waiting) > 0
}

// awaited reports whether a flush waits for the queue.
func (s *settler) awaited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) > 0
}

func (s *settler) sleep(d time.Duration, enough func() bool) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			return true
		case <-s.wake:
			if enough() {
				return true
			}
		case <-s.hurry:
			return false
		}
	}
}

// take removes the settlements of one round trip, at most most, from the queue and returns them. It returns
// none while others are under way.
func (s *settler) take(most int) []settlement {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy > 0 {
		return nil
	}
	n := min(len(s.queue), most)
	batch := s.queue[:n:n]
	s.queue = s.queue[n:]
	if len(s.queue) == 0 {
		s.queue = nil
	}
	s.busy = n
	return batch
}

// finish returns the settlements to retry to the front of the queue, drops those that can't succeed, and
// wakes the flushes that are complete.
func (s *settler) finish(again []settlement, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = 0
	keep := again[:0]
	for _, st := range again {
		st.tries++
		passes := !errors.As(err, new(redis.Error)) || reasonOf(err) != limiter.ReasonOther
		switch {
		case st.lost && st.tries > 0, !passes && st.tries >= settleTries:
			s.dropped++
		default:
			keep = append(keep, st)
		}
	}
	if len(keep) > 0 {
		s.queue = append(keep, s.queue...)
	}
	first := s.added + 1 // the first settlement that is not delivered
	for i := range keep {
		first = min(first, keep[i].order)
	}
	if len(s.queue) > len(keep) {
		first = min(first, s.queue[len(keep)].order)
	}
	s.waiting = slices.DeleteFunc(s.waiting, func(w waiter) bool {
		if w.last >= first {
			return false
		}
		close(w.done)
		return true
	})
}

// deliver makes the calls for a batch. It returns the settlements to retry: those whose call failed, with
// the last error, and those of which Redis has no record.
func (s *settler) deliver(batch []settlement) (again []settlement, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), settleTimeout)
	defer cancel()
	chunks := slices.Collect(slices.Chunk(batch, settleBatch))
	calls := make([]*call, len(chunks))
	for i, chunk := range chunks {
		calls[i] = s.store.settleCall(chunk)
	}
	runAll(ctx, s.store.client, calls)
	for i, chunk := range chunks {
		some, failed := s.outcome(chunk, calls[i])
		if again = append(again, some...); failed != nil {
			err = failed
		}
	}
	return again, err
}

// sent ends a call with settlements that an admission has taken along.
func (s *settler) sent(chunk []settlement, c *call) {
	again, err := s.outcome(chunk, c)
	s.finish(again, err)
	if err != nil {
		s.store.opts.OnError(err)
	}
	s.prod()
}

// outcome reads the reply of a call. It returns the settlements to retry: all, with the error, if it failed;
// else those of which Redis has no record.
func (s *settler) outcome(chunk []settlement, c *call) (again []settlement, err error) {
	missing, err := newReply(c.cmd)
	if err != nil {
		return chunk, s.store.failed(err)
	}
	s.store.overLimit.forget(chunk)
	for missing.more() {
		st := &chunk[missing.number()]
		// If an earlier call got no reply, that call has settled it.
		if st.tries == 0 && !st.givenUp && !st.lost && len(st.holds) > 0 {
			st.lost, st.tries = true, -1
			again = append(again, *st)
		}
	}
	return again, nil
}

// settleCall returns the script call that settles a chunk.
func (r *Store) settleCall(chunk []settlement) *call {
	numbers := make(packed, 0, 8*(5+len(chunk)*(1+limiter.UnitCount))).
		numbers(r.given(), millis(r.tuning.keep), r.frozen(), limiter.UnitCount, float64(len(chunk)))
	args := make([]any, 1, 1+len(chunk))
	var substitutes []any
	for _, st := range chunk {
		how := luaKnown
		switch {
		case st.givenUp:
			how = luaGiveUp
		case st.lost:
			how, substitutes = luaLost, append(substitutes, r.emptyRecord(st.holds))
		case st.charge != nil:
			how, substitutes = luaOnce, append(substitutes, st.charge)
		}
		numbers = numbers.number(how).charges(st.used)
		args = append(args, st.id)
	}
	args[0] = []byte(numbers)
	return &call{script: settleScript, keys: r.recordKeys(), args: append(args, substitutes...)}
}

// emptyRecord returns a record that holds nothing of the counters of holds, so that settling it charges
// all that was used.
func (r *Store) emptyRecord(holds []account.Hold) []byte {
	p := packed(nil).record(len(holds))
	for i := range holds {
		rule := holds[i].Rule
		p = p.hold(luaKind(rule.Limit), rule, r.counterKey(rule), 0, holds[i].Mark)
	}
	return p
}
