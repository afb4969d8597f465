// Package journal is an append-only log of records that survives the death of its
// process at any instant. Records are opaque bytes; each has a number, ascending by
// one over restarts. They are in segments, files that are only appended to, and
// removed when their records are stored elsewhere.
//
// The kernel has a record that was committed: SIGKILL does not lose it, and a loss
// of power loses only what was not yet synced. While the disk fails, records are
// kept in memory up to a bound, and written when it works again.
package journal

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"
)

// Options are those of Open; the zero value has the defaults.
type Options struct {
	// After is the number of the last record that the caller has stored elsewhere:
	// the number of the next record is larger, and corruption of the records
	// through it loses nothing.
	After uint64

	// Sync is how often what was written is synced to the disk, and so what a loss
	// of power may lose. Default: 1s. SyncAlways: Commit waits for the disk.
	Sync time.Duration

	// SegmentSize is the length in bytes at which a segment is ended.
	// Default: 16 MiB.
	SegmentSize int64

	// MaxPending bounds the bytes that wait to be written while the disk fails.
	// Beyond it, Append returns ErrFull. Default: 16 MiB.
	MaxPending int

	// Retry is how often a write that failed is repeated. Default: 1s.
	Retry time.Duration

	// Warn, if set, is called with one line for each event that an operator should
	// know of. It may be called from any goroutine and must not call the journal.
	Warn func(message string)

	// Changed, if set, is called when writing begins to fail and when it works
	// again; see [Journal.Err]. It may be called as Warn is.
	Changed func()

	// Now is the clock, for the names of quarantined files. Default: time.Now.
	Now func() time.Time

	// Create creates the file of a new segment, and fails with os.ErrExist if there
	// is one: tests have disks that fail. Default: a real file of mode 0600.
	Create func(name string) (File, error)
}

// File is the file of a segment.
type File interface {
	WriteAt(b []byte, offset int64) (int, error)
	Sync() error
	Close() error
}

// SyncAlways makes Commit wait until the disk has the record.
const SyncAlways time.Duration = -1

// Errors of a journal.
var (
	ErrFull   = errors.New("the journal holds as many unwritten records as it may")
	ErrClosed = errors.New("the journal is closed")
)

// Journal is an open journal. It is safe for concurrent use. The caller must not
// open two of them in one directory.
type Journal struct {
	dir  string
	opts Options
	salt [8]byte // of all segments that this process creates
	seed uint32  // its checksum

	mu     sync.Mutex
	done   sync.Cond // broadcast when a write has ended
	closed bool

	next    uint64 // number of the next record
	pending []byte // frames that are not being written
	spare   []byte // memory for the next pending
	waiting int    // bytes of all frames that are not written
	begun   bool   // a goroutine writes, syncs with SyncAlways, or ends a segment
	written uint64 // the kernel has the records up to this one
	synced  uint64 // so has the disk

	writeErr, syncErr error
	announced         bool // that it fails

	current *segment   // is written to; its content belongs to the writer while begun
	suspect *segment   // could not be synced: nothing is appended to it
	ended   []File     // segments to be synced and closed
	old     []*segment // to be removed, oldest first
	newDir  bool       // the directory has names that are not synced

	syncing   sync.Mutex // held while files are synced; taken before mu
	syncEvery time.Duration
	resync    chan time.Duration
	stop      chan struct{}
	stopped   chan struct{}
}

// segment is a file of a journal.
type segment struct {
	name    string
	file    File // nil if the segment is only to be removed
	size    int64
	last    uint64 // number of its last record; 0: none
	failed  bool   // the last write to it failed
	corrupt bool   // to be quarantined, not deleted
}

// Append adds a record to those that wait to be written, and returns its number:
// numbers follow the order of the calls. It copies the record and does no I/O;
// [Journal.Commit] does. It fails with ErrFull or ErrClosed, or if the record is
// longer than MaxRecord.
func (j *Journal) Append(record []byte) (number uint64, err error) {
	if len(record) == 0 || len(record) > MaxRecord {
		return 0, errors.New("a record of a journal has at least one byte and at most 64 KiB")
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	size := frameSize + len(record)
	switch {
	case j.closed:
		return 0, ErrClosed
	case j.waiting+size > j.opts.MaxPending:
		return 0, ErrFull
	}
	number = j.next
	j.next++
	j.pending = appendFrame(j.pending, j.seed, number, record)
	j.waiting += size
	return number, nil
}

// Commit waits until the kernel has the record of this number and all before it,
// and with SyncAlways until the disk has them. While writing fails it returns at
// once: then the record is in memory only, until writing works again.
//
// The first caller writes for all that wait: no goroutine is woken for one caller,
// and many callers share one write.
func (j *Journal) Commit(number uint64) {
	j.mu.Lock()
	for j.written < number && j.writeErr == nil && !j.closed {
		if j.begun {
			j.done.Wait()
			continue
		}
		// Other goroutines may have a record too: under load, this leaves one write
		// for fifteen records. Without others, it costs nothing.
		j.begun = true
		j.mu.Unlock()
		runtime.Gosched()
		j.mu.Lock()
		j.write()
	}
	j.mu.Unlock()
}

// Err returns why the last write or sync failed; nil if it did not.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err()
}

// err is Err. j.mu must be held.
func (j *Journal) err() error {
	if j.writeErr != nil {
		return j.writeErr
	}
	return j.syncErr
}

// Crowded reports whether the bytes that wait to be written are three quarters of
// their bound: requests under way find room, and new ones should not begin.
func (j *Journal) Crowded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.waiting >= j.opts.MaxPending/4*3
}

// SetSync sets how often what was written is synced; see [Options].
func (j *Journal) SetSync(every time.Duration) {
	if every == 0 {
		every = defaultSync
	}
	j.mu.Lock()
	same := j.syncEvery == every || j.closed
	j.syncEvery = every
	j.mu.Unlock()
	if same {
		return
	}
	select {
	case j.resync <- every:
	case <-j.stopped:
	}
}

// Close writes and syncs what waits. The error is that of the last write or sync;
// what that would have written is lost.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true // nothing is appended after this
	j.mu.Unlock()
	close(j.stop)
	<-j.stopped

	j.mu.Lock()
	for j.begun {
		j.done.Wait()
	}
	if len(j.pending) > 0 {
		j.write()
	}
	j.done.Broadcast()
	j.endSegment()
	j.mu.Unlock()
	j.sync()
	return j.Err()
}

// createFile is the default of Options.Create.
func createFile(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err // not f: it would be a File that is not nil
	}
	return f, nil
}
