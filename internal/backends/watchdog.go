package backends

import (
	"sync/atomic"
	"time"
)

// Why a backend that kept its caller waiting was given up. Both report Timeout.
var (
	ErrFirstTokenTimeout error = timeoutError("the answer did not begin within first_token_timeout")
	ErrIdleTimeout       error = timeoutError("the answer stalled for longer than idle_timeout")
)

type timeoutError string

func (e timeoutError) Error() string { return string(e) }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return false } // completes net.Error

// Watchdog knows for how long an attempt has been waiting for its backend. It
// has no timer and reads no clock: whoever made the attempt asks Expired now
// and then, and so often is it known.
//
// Time in which nobody reads, since the caller is slower than the backend, does
// not count.
type Watchdog struct {
	wait atomic.Uint64 // what is waited for, and which wait it is: it never holds a value twice

	// Of the goroutine that calls Expired.
	seen  uint64
	since time.Time // when seen was seen first
}

// What can be waited for: the lowest bits of wait.
const (
	waitNone  = iota
	waitFirst // the beginning of the answer
	waitNext  // more of it
	waitBits  = 2
)

// expect notes what is waited for from now on. One goroutine at a time does so.
func (w *Watchdog) expect(what uint64) {
	w.wait.Store((w.wait.Load()>>waitBits+1)<<waitBits | what)
}

// Expired returns ErrFirstTokenTimeout or ErrIdleTimeout where the backend has
// kept the attempt waiting for so long; zero is no bound. A wait counts from the
// first call that sees it.
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
