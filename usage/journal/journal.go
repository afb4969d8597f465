// Package journal is an append-only log of records that survives the death of its
// process at any instant. Records are opaque bytes, numbered consecutively across
// restarts. They are stored in segments: files that are only appended to, and
// removed once their records are stored elsewhere.
//
// A committed record is in the kernel: SIGKILL does not lose it, and a loss of
// power loses only what was not yet synced. While the disk fails, records are kept
// in memory up to a limit, and written when it works again.
package journal

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"
)

// Options are the options of Open; the zero value has the defaults.
type Options struct {
	// After is the number of the last record that the caller has stored elsewhere.
	// The number of the next record is larger, and corruption of the records through
	// After loses nothing.
	After uint64

	// Sync is the interval at which the written records are synced to the disk: a
	// loss of power may lose those of one interval. Default: 1s. SyncAlways: Commit
	// waits for the disk.
	Sync time.Duration

	// SegmentSize is the length in bytes at which a segment is ended.
	// Default: 16 MiB.
	SegmentSize int64

	// MaxPending is the most bytes that may wait to be written while the disk fails.
	// Beyond it, Append returns ErrFull. Default: 16 MiB.
	MaxPending int

	// Retry is the interval at which a failed write is retried. Default: 1s.
	Retry time.Duration

	// Warn, if set, is called with one line for each event that an operator should
	// see. It may be called from any goroutine and must not call the journal.
	Warn func(message string)

	// Changed, if set, is called when writing begins to fail and when it works again;
	// see [Journal.Err]. The rules of Warn apply to it.
	Changed func()

	// Now is the clock, for the names of quarantined files. Default: time.Now.
	Now func() time.Time

	// Create creates the file of a new segment, and fails with os.ErrExist if there
	// is one. Tests set it to simulate failing disks. Default: a real file of mode
	// 0600.
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
	waiting int    // bytes of all unwritten frames
	begun   bool   // a goroutine is writing, syncing with SyncAlways, or ending a segment
	written uint64 // number of the last record that the kernel has
	synced  uint64 // number of the last record that the disk has

	writeErr, syncErr error
	announced         bool // that writing fails

	current *segment   // being written to; owned by the writer while begun
	suspect *segment   // its sync failed: nothing more is appended to it
	ended   []File     // segments to sync and close
	old     []*segment // segments to remove, oldest first
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

// Append queues record for writing, and returns its number: numbers follow the
// order of the calls. It copies the record and does no I/O; [Journal.Commit] does.
// It fails with ErrFull or ErrClosed, or if the record is longer than MaxRecord.
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

// Commit waits until the kernel has the record with this number and all before it,
// and with SyncAlways until the disk has them. While writing fails it returns at
// once: the record is then in memory only, until writing works again.
//
// The first caller writes the records of all waiting callers, so that a single
// caller wakes no goroutine, and many callers share one write.
func (j *Journal) Commit(number uint64) {
	j.mu.Lock()
	for j.written < number && j.writeErr == nil && !j.closed {
		if j.begun {
			j.done.Wait()
			continue
		}
		// Yield to other goroutines that may be about to append: under load, this
		// results in one write for fifteen records. Otherwise it costs nothing.
		j.begun = true
		j.mu.Unlock()
		runtime.Gosched()
		j.mu.Lock()
		j.write()
	}
	j.mu.Unlock()
}

// Err returns the error of the last write or sync; nil if it succeeded.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err()
}

// err is Err for callers that hold j.mu.
func (j *Journal) err() error {
	if j.writeErr != nil {
		return j.writeErr
	}
	return j.syncErr
}

// Crowded reports whether the unwritten bytes have reached three quarters of
// MaxPending: the rest is reserved for requests in flight, and new ones should not
// start.
func (j *Journal) Crowded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.waiting >= j.opts.MaxPending/4*3
}

// SetSync sets the sync interval; see [Options].
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

// Close writes and syncs all pending records. It returns the error of the last
// write or sync; the records concerned are lost.
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
		return nil, err // not f, which would be a non-nil File
	}
	return f, nil
}
