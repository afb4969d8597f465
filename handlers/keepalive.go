package handlers

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// keepAlive puts the dialect's keep-alive into a stream that is silent for long,
// so that nobody on the way takes it for dead. It is what a stream is written
// to, and costs it a mutex: nothing runs for a stream that flows.
//
// The connection is the request's own goroutine's to write to. While that one
// waits for the backend between two events it writes nothing, and that is when a
// keep-alive may be written by another: who waits says so by between, and does
// not go on before what was begun meanwhile is written. So no stream needs a
// goroutine of its own that reads for it.
type keepAlive struct {
	http.ResponseWriter
	pings map[string][]byte // by the line break

	mu     sync.Mutex // held by who writes
	open   string     // the line break to be used while the request's goroutine waits between two events, else ""
	begun  bool       // the first byte has left
	broken bool       // the caller can't be written to

	writes  atomic.Uint64 // how many there were
	writing atomic.Bool   // a keep-alive is on its way

	// Of the goroutine that calls due.
	seen  uint64    // writes
	since time.Time // when seen was seen first, or the last keep-alive was due
}

// newKeepAlive returns what a stream of the dialect is written to.
func newKeepAlive(w http.ResponseWriter, d *wire.Dialect) *keepAlive {
	k := &keepAlive{ResponseWriter: w, pings: d.KeepAlive}
	return k
}

// Write writes a part of the stream.
func (k *keepAlive) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n, err := k.ResponseWriter.Write(p)
	k.begun = k.begun || n > 0
	k.broken = k.broken || err != nil
	k.writes.Add(1)
	return n, err
}

// FlushError sends what was written. reverse_proxy also flushes the header, by a
// timer, which is another goroutine.
func (k *keepAlive) FlushError() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return http.NewResponseController(k.ResponseWriter).Flush()
}

// Flush is FlushError for who does not want to know.
func (k *keepAlive) Flush() { _ = k.FlushError() }

// Unwrap returns what it writes to, for http.ResponseController.
func (k *keepAlive) Unwrap() http.ResponseWriter { return k.ResponseWriter }

// between notes that the request's goroutine waits between two events of a stream
// that breaks its lines so; "": it does not.
func (k *keepAlive) between(lineBreak string) {
	k.mu.Lock()
	k.open = lineBreak
	k.mu.Unlock()
}

// due tells whether a keep-alive is to be sent, which is when there was silence
// for as long as said. Silence counts from the first call that sees it.
func (k *keepAlive) due(now time.Time, after time.Duration) bool {
	if n := k.writes.Load(); n != k.seen || k.since.IsZero() {
		k.seen, k.since = n, now
		return false
	}
	if now.Sub(k.since) < after {
		return false
	}
	k.since = now
	return k.writing.CompareAndSwap(false, true) // else the caller does not take the one before
}

// send sends a keep-alive where one may stand. It may take as long as any write
// to the caller.
func (k *keepAlive) send() {
	defer k.writing.Store(false)
	if !k.mu.TryLock() {
		return // something is being written
	}
	defer k.mu.Unlock()
	if k.open == "" || !k.begun || k.broken {
		return
	}
	defer func() {
		// Here nobody catches the panic of a writer, as the server does for a
		// handler, and it would end the process.
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
