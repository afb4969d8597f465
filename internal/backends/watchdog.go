package backends

import (
	"sync/atomic"
	"time"
)

// Timeouts of an attempt whose backend kept its caller waiting. Their Timeout
// method returns true.
var (
	ErrFirstTokenTimeout error = timeoutError("the answer did not begin within first_token_timeout")
	ErrIdleTimeout       error = timeoutError("the answer stalled for longer than idle_timeout")
)

type timeoutError string

func (e timeoutError) Error() string { return string(e) }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false } // completes net.Error

// Watchdog measures how long an attempt has been waiting for its backend. It has
// no timer and reads no clock: the owner of the attempt calls Expired at
// intervals, which are its resolution.
//
// Time in which nobody reads, because the caller is slower than the backend,
// does not count.
type Watchdog struct {
	wait atomic.Uint64 // what is waited for and a counter of waits, so that no value occurs twice

	// Used only by the goroutine that calls Expired.
	seen  uint64
	since time.Time // when Expired first read seen
}

// What can be waited for: the lowest bits of wait.
const (
	waitNone  = iota
	waitFirst // the beginning of the response
	waitNext  // more of it
	waitBits  = 2
)

// expect sets what is waited for from now on. It must not be called
// concurrently.
func (w *Watchdog) expect(what uint64) {
	w.wait.Store((w.wait.Load()>>waitBits+1)<<waitBits | what)
}

// Expired returns ErrFirstTokenTimeout or ErrIdleTimeout if the backend has kept
// the attempt waiting for at least firstToken or idle; zero is no bound. A wait
// counts from the first call that observes it.
func (w *Watchdog) Expired(now time.Time, firstToken, idle time.Duration) error {
	wait := w.wait.Load()
	if wait != w.seen {
		w.seen, w.since = wait, now
		return nil
	}
	switch waited := now.Sub(w.since); {
	case wait&(1<<waitBits-1) == waitFirst && firstToken > 0 && waited >= firstToken:
		return ErrFirstTokenTimeout
	case wait&(1<<waitBits-1) == waitNext && idle > 0 && waited >= idle:
		return ErrIdleTimeout
	}
	return nil
}
