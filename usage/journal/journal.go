// Package journal is an append-only log of records that survives the death of
// its process at any instant. Records are opaque bytes; each has a number,
// ascending by one over restarts. They lie in segments, files that are only
// ever added to, and removed when their records are held elsewhere.
//
// A record that was committed is in the kernel: SIGKILL does not lose it, and a
// loss of power what was not yet synced. While the disk fails, records are
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
	// After is the number of the last record that the caller holds elsewhere:
	// the next record's is larger, and damage of the records up to it loses
	// nothing.
	After uint64

	// Sync is how often what was written is brought to the disk, and so what
	// a loss of power may lose. Default: 1s. SyncAlways: Commit waits for the
	// disk.
	Sync time.Duration

	// SegmentSize is the length in bytes from which on a segment is ended.
	// Default: 16 MiB.
	SegmentSize int64

	// MaxPending bounds the bytes that wait to be written, which they do while
	// the disk fails. Beyond it Append answers ErrFull. Default: 16 MiB.
	MaxPending int

	// Retry is how often writing is tried again while it fails. Default: 1s.
	Retry time.Duration

	// Warn is told, in one line each, what an operator should know. It may be
	// called from any goroutine and must not call the journal. Default: nobody
	// is told.
	Warn func(message string)

	// Changed is called when writing begins to fail and when it works again;
	// [Journal.Err] tells which. Like Warn. Default: nobody is told.
	Changed func()

	// Now is the clock, for the names of files that are set aside. Default:
	// time.Now.
	Now func() time.Time

	// Create makes the file of a new segment, and fails with os.ErrExist where
	// there is one: tests have disks that fail. Default: a real file of mode
	// 0600.
	Create func(name string) (File, error)
}

// File is what a journal needs of a segment's file.
type File interface {
	WriteAt(b []byte, offset int64) (int, error)
	Sync() error
	Close() error
}

// SyncAlways makes Commit wait until the disk has the record.
const SyncAlways time.Duration = -1

// What a caller decides on.
var (
	ErrFull   = errors.New("the journal holds as many unwritten records as it may")
	ErrClosed = errors.New("the journal is closed")
)

// Journal is an open journal. Its methods may be called by many goroutines at
// once. Nothing but its caller keeps two of them out of one directory.
type Journal struct {
	dir  string
	opts Options
	salt [8]byte // of all segments that this process makes
	seed uint32  // its checksum

	mu     sync.Mutex
	done   sync.Cond // broadcast when a write has ended
	closed bool

	next    uint64 // number of the next record
	pending []byte // frames that nobody has begun to write
	spare   []byte // memory for the next pending
	waiting int    // bytes of all frames that are not written
	begun   bool   // somebody writes, syncs with SyncAlways, or ends a segment
	written uint64 // the kernel has the records up to this one
	synced  uint64 // so has the disk

	writeErr, syncErr error
	told              bool // that it fails

	current *segment   // what is written to; what it holds is the writer's while begun
	suspect *segment   // could not be synced: nothing is added to it any more
	ended   []File     // segments to be synced and closed
	old     []*segment // those to be removed, oldest first
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
	file    File // nil: it is only there to be removed
	size    int64
	last    uint64 // number of its last record; 0: none
	failed  bool   // the last write to it failed
	damaged bool   // to be set aside, not to be deleted
}

// Append adds a record to those that wait to be written, and returns its
// number: numbers follow the order of the calls. It copies the record and does
// no I/O; [Journal.Commit] does. The error is ErrFull or ErrClosed, or says
// that the record is longer than MaxRecord.
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

// Commit waits until the kernel has the record of this number and all before
// it, with SyncAlways until the disk has them. While writing fails it returns
// at once: the record is then in memory only, until writing works again.
//
// Whoever comes first writes for all that wait: no goroutine is woken for one
// caller, and many callers share one write.
func (j *Journal) Commit(number uint64) {
	j.mu.Lock()
	for j.written < number && j.writeErr == nil && !j.closed {
		if j.begun {
			j.done.Wait()
			continue
		}
		// Whoever can run now may have a record too: under load one write in
		// fifteen is left of one for each record, and where nobody can, nothing
		// is lost.
		j.begun = true
		j.mu.Unlock()
		runtime.Gosched()
		j.mu.Lock()
		j.write()
	}
	j.mu.Unlock()
}

// Err is why records or their syncing failed the last time; nil where they did
// not.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err()
}

// err must be called with j.mu held.
func (j *Journal) err() error {
	if j.writeErr != nil {
		return j.writeErr
	}
	return j.syncErr
}

// Crowded tells that three quarters of what may wait to be written do: what is
// under way finds room, and nothing new should begin.
func (j *Journal) Crowded() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.waiting >= j.opts.MaxPending/4*3
}

// SetSync changes how often what was written is synced; see [Options].
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

// Close writes and syncs what waits. The error is that of the last write or
// sync: what it would have written is lost then.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true // nothing is appended any more
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

// createFile is Options.Create by default.
func createFile(name string) (File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err // not f: it would be a File that is not nil
	}
	return f, nil
}
