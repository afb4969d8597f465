// Package boltdb implements a usage ledger in a journal and a bbolt file.
package boltdb

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
	"github.com/amanycodes/pine-gate/usage/journal"
)

// Options are the options of Open; the zero value has the defaults.
type Options struct {
	// Retention is how long daily sums are kept, at least usage.LeastRetention.
	// Default: usage.DefaultRetention.
	Retention time.Duration

	// Sync is the interval at which the journal is synced to the disk: a loss of
	// power may lose the records of one interval. A killed process loses nothing.
	// Default: 1s. usage.SyncAlways: Record waits for the disk.
	Sync time.Duration

	// FlushInterval is the interval at which sums are written. The next start has to
	// replay that much of the journal. Default: 5s.
	FlushInterval time.Duration

	// LockTimeout is how long Open waits while another process has the ledger open.
	// Default: 5s.
	LockTimeout time.Duration

	// Shared makes Open begin a generation, before anything is recorded, for a
	// ledger that gates share. Default: [Feed.Start] begins it.
	Shared bool

	// Warn, if set, is called with one line for each event that an operator should
	// see: a quarantined file, writes that fail and work again. It may be called
	// from any goroutine and must not call the ledger.
	Warn func(message string)

	// Status, if set, is called with the reason when writing begins to fail, and
	// with nil when it works again. It may be called from any goroutine and must
	// not call the ledger.
	Status func(err error)

	// Interrupted, if set, is called by Open with the record of each request that a
	// dead process has left unfinished.
	Interrupted func(r *usage.Record)

	// Now is the clock, which decides what is kept. Default: time.Now.
	Now func() time.Time

	// Set by tests.
	journal    journal.Options
	maxPending int
}

func (o *Options) setDefaults() {
	if o.FlushInterval <= 0 {
		o.FlushInterval = 5 * time.Second
	}
	if o.LockTimeout <= 0 {
		o.LockTimeout = 5 * time.Second
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Status == nil {
		o.Status = func(error) {}
	}
	if o.Interrupted == nil {
		o.Interrupted = func(*usage.Record) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.maxPending == 0 {
		o.maxPending = maxPending
	}
}

// maxPending is the most samples that may wait to be written, some 100 MB. A gate
// with a hundred busy series reaches it after days of a failing disk. Beyond it,
// Record returns usage.ErrFull.
const maxPending = 1 << 20

// ErrLocked is wrapped by the error of Open if the ledger is open in another
// process, or in this one.
var ErrLocked = errors.New("usage ledger is open in another process")

// Ledger is a usage.Ledger in a journal and a bbolt file. The journal is
// authoritative: Record returns once the kernel has the record. The file holds
// the sums of all entries of the journal through the committed offset, which it
// stores too, so that a start replays only the entries after it. Sums are
// collected in memory and written every few seconds. Segments of the journal
// whose entries are all in the file are removed.
//
// While the journal cannot be written, records are kept in memory, up to 16 MiB,
// and written when it works again; SIGKILL would lose them meanwhile. A failed
// write of sums is retried; until it works the sums stay in memory, and queries
// include them.
type Ledger struct {
	path    string
	db      *bbolt.DB
	journal *journal.Journal
	warn    func(string)
	status  func(error)

	// flushing is held while a batch is written.
	flushing sync.Mutex
	expired  bool // expired blocks wait to be deleted; guarded by flushing

	// atomic is held to change the file and the memory together, and to read both
	// together. It is taken after flushing and before mu.
	atomic  sync.RWMutex
	gone    bool     // the file is closed; guarded by both flushing and atomic
	changes *Changes // of the file since the feed was last read, nil without a feed; guarded by atomic

	mu     sync.Mutex // guards what follows
	sums   *rollup.Rollup
	closed bool
	shared bool                  // a generation has begun
	entry  []byte                // buffer of append
	open   map[string]checkpoint // of requests that have not ended, by id

	failure struct {
		sync.Mutex
		err error
	}

	// Read from the journal by Open.
	delivered map[string]uint64 // offsets through which generations were delivered
	uncertain []uncertain       // records that may have been delivered

	sealing  sync.Once
	closing  sync.Once
	closeErr error
	stop     chan struct{}
	stopped  chan struct{}
}

// Open opens the ledger at path, or creates it with its directory (modes 0600 and
// 0700). It reads the whole file once. It quarantines a corrupt file by renaming
// it, reports that to Warn, and creates a new one; nothing is deleted. It then
// replays the entries of the journal that the file does not count yet, and
// quarantines corrupt segments in the same way. It settles the requests that a
// dead process has left unfinished at their last checkpoint. The error wraps
// ErrLocked if the ledger is open already.
func Open(path string, opts Options) (*Ledger, error) {
	opts.setDefaults()
	l := &Ledger{
		path: path, warn: opts.Warn, status: opts.Status, expired: true,
		open: map[string]checkpoint{}, delivered: map[string]uint64{},
		stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	load := func(db *bbolt.DB) error {
		l.sums = rollup.New(opts.Retention, opts.maxPending, opts.Now)
		return loadInto(l.sums, db)
	}
	db, err := openFile(path, opts, load)
	if err != nil {
		return nil, fmt.Errorf("opening usage ledger %s: %w", path, err)
	}
	l.db = db
	if err := l.openJournal(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("opening usage ledger %s: %w", path, err), db.Close())
	}
	go l.run(opts.FlushInterval)
	return l, nil
}

// Record implements usage.Ledger. It costs one write to a file, which concurrent
// callers share.
func (l *Ledger) Record(_ context.Context, r *usage.Record) error {
	_, offset, err := l.record(r)
	if err != nil {
		return err
	}
	l.journal.Commit(offset)
	return nil
}

func (l *Ledger) record(r *usage.Record) (pending int, offset uint64, err error) {
	if err := r.Validate(); err != nil {
		return 0, 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, 0, usage.ErrClosed
	}
	return l.sums.Record(r)
}

// Configure implements usage.Ledger.
func (l *Ledger) Configure(s usage.Settings) {
	l.mu.Lock()
	l.sums.SetRetention(s.Retention)
	l.mu.Unlock()
	l.journal.SetSync(s.Sync)
}

// Ready implements usage.Ledger.
func (l *Ledger) Ready() error {
	l.mu.Lock()
	closed, crowded := l.closed, l.sums.Pending() > l.sums.MaxPending()/4*3
	l.mu.Unlock()
	switch {
	case closed:
		return usage.ErrClosed
	case crowded || l.journal.Crowded():
		return errors.Join(usage.ErrFull, l.Err())
	}
	return nil
}

// Query implements usage.Ledger.
func (l *Ledger) Query(ctx context.Context, q usage.Query) (page *usage.Page, err error) {
	over, err := l.rangeOf(&q)
	if err != nil {
		return nil, err
	}
	err = l.read(over, func(r *rollup.Reading) (err error) {
		page, err = r.Page(ctx, &q)
		return err
	})
	return page, err
}

// Totals implements usage.Ledger.
func (l *Ledger) Totals(_ context.Context, key string, since time.Time) (totals usage.Totals, err error) {
	err = l.read(rollup.DaysSince(since), func(r *rollup.Reading) (err error) {
		totals, err = r.Totals(key)
		return err
	})
	return totals, err
}

func (l *Ledger) rangeOf(q *usage.Query) (rollup.Range, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sums.Range(q)
}

// read calls f with the state of the ledger at one instant.
func (l *Ledger) read(over rollup.Range, f func(*rollup.Reading) error) error {
	return l.view(func(tx *bbolt.Tx) func() error {
		r := l.sums.Snapshot(over)
		r.Source = txBlocks{tx}
		return func() error { return f(r) }
	})
}

// view begins a read transaction and calls prepare at the same instant, with l.mu
// held. It then calls the function that prepare returned, without the lock.
func (l *Ledger) view(prepare func(tx *bbolt.Tx) (read func() error)) error {
	return guarded(func() error {
		l.atomic.RLock()
		if l.gone {
			l.atomic.RUnlock()
			return usage.ErrClosed
		}
		tx, err := l.db.Begin(false)
		if err != nil {
			l.atomic.RUnlock()
			return fmt.Errorf("reading usage ledger %s: %w", l.path, err)
		}
		l.mu.Lock()
		read := prepare(tx)
		l.mu.Unlock()
		l.atomic.RUnlock()
		defer tx.Rollback() //nolint:errcheck // of a transaction that only reads
		return read()
	})
}

// Path returns the path of the ledger's file.
func (l *Ledger) Path() string { return l.path }

// Err returns the error of the last write of sums, or of the journal.
func (l *Ledger) Err() error {
	l.failure.Lock()
	err := l.failure.err
	l.failure.Unlock()
	if err != nil {
		return err
	}
	return l.journal.Err()
}

// notifyStatus calls Status after Err may have changed.
func (l *Ledger) notifyStatus() { l.status(l.Err()) }

// Close implements usage.Ledger. It returns the error of the last write. The data
// of that write is lost, unless the journal holds it.
func (l *Ledger) Close() error {
	l.closing.Do(func() {
		l.StopRecording()
		flushErr := l.Flush()
		l.flushing.Lock()
		defer l.flushing.Unlock()
		l.atomic.Lock()
		l.gone = true
		l.atomic.Unlock()
		l.closeErr = errors.Join(flushErr, l.journal.Close(), l.db.Close())
	})
	return l.closeErr
}

// StopRecording makes the ledger refuse further records with usage.ErrClosed.
// Close calls it.
func (l *Ledger) StopRecording() {
	l.sealing.Do(func() {
		close(l.stop)
		<-l.stopped
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
	})
}

var _ usage.Ledger = (*Ledger)(nil)
