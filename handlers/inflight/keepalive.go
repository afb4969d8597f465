package inflight

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// KeepAlive is the ResponseWriter of a stream. It adds the dialect's keep-alive
// after a long silence, so that no client or proxy takes the stream for dead.
// It costs a stream one mutex: nothing runs for a stream that flows.
//
// The connection belongs to the request's own goroutine. While that goroutine
// waits for the backend between two events, it writes nothing, and the Set may
// write a keep-alive. Between opens that window; closing it waits for a write
// that has begun. So no stream needs a goroutine of its own for reading.
type KeepAlive struct {
	http.ResponseWriter
	after time.Duration     // of silence
	pings map[string][]byte // by line break

	mu     sync.Mutex // held while writing
	open   string     // the line break to use between two events; "": not between two events
	begun  bool       // the first byte has been written
	broken bool       // a write has failed

	writes  atomic.Uint64 // the number of writes
	writing atomic.Bool   // a keep-alive is being written

	// Used only by the goroutine that calls due.
	seen  uint64    // writes
	since time.Time // when seen was first observed, or the last keep-alive was due
}

// NewKeepAlive returns a writer that sends the keep-alive of dialect d when the
// stream has been silent for the duration after.
func NewKeepAlive(w http.ResponseWriter, d *wire.Dialect, after time.Duration) *KeepAlive {
	return &KeepAlive{ResponseWriter: w, after: after, pings: d.KeepAlive}
}

// Write writes a part of the stream.
func (k *KeepAlive) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err := k.ResponseWriter.Write(p)
	k.begun = k.begun || n > 0
	k.broken = k.broken || err != nil
	k.writes.Add(1)
	return n, err
}

// FlushError flushes what was written. reverse_proxy also flushes the header, by a
// timer, in another goroutine.
func (k *KeepAlive) FlushError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return http.NewResponseController(k.ResponseWriter).Flush()
}

// Flush implements http.Flusher.
func (k *KeepAlive) Flush() { _ = k.FlushError() }

// Unwrap returns the writer below, for http.ResponseController.
func (k *KeepAlive) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// Between sets whether the request's goroutine waits between two events of a
// stream, with the line break to use there; "" ends the wait.
func (k *KeepAlive) Between(lineBreak string) {
	k.mu.Lock()
	k.open = lineBreak
	k.mu.Unlock()
}

// due reports whether a keep-alive must be sent. Silence counts from the first
// call that observes it.
func (k *KeepAlive) due(now time.Time) bool {
	if n := k.writes.Load(); n != k.seen || k.since.IsZero() {
		k.seen, k.since = n, now
		return false
	}
	if now.Sub(k.since) < k.after {
		return false
	}
	k.since = now
	return k.writing.CompareAndSwap(false, true) // else the previous one is still being written
}

// send writes a keep-alive if the stream is between two events. It may block as
// long as any write to the caller.
func (k *KeepAlive) send() {
	defer k.writing.Store(false)
	if !k.mu.TryLock() {
		return // something is being written
	}
	defer k.mu.Unlock()
	if k.open == "" || !k.begun || k.broken {
		return
	}
	defer func() {
		// No server recovers from a writer's panic here, as it does for a
		// handler's goroutine; it would end the process.
		if recover() != nil {
			k.broken = true
		}
	}()
	if _, err := k.ResponseWriter.Write(k.pings[k.open]); err != nil {
		k.broken = true
		return
	}
	_ = http.NewResponseController(k.ResponseWriter).Flush()
}
