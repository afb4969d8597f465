package usage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/usage/journal"
)

// BoltOptions are those of OpenBolt; the zero value has the defaults.
type BoltOptions struct {
	// Retention is how long daily sums are kept, at least LeastRetention. Default: 400 days.
	Retention time.Duration

	// Sync is how often the journal is brought to the disk, and so what a loss
	// of power may lose; a killed process loses nothing. Default: 1s.
	// SyncAlways: Record waits for the disk.
	Sync time.Duration

	// FlushInterval is how often sums are written, and so how much of the
	// journal the next start has to add up. Default: 5s.
	FlushInterval time.Duration

	// LockTimeout is how long to wait for another process that has the ledger
	// open. Default: 5s.
	LockTimeout time.Duration

	// Shared begins a run of the ledger that [Share] delivers, before anything is
	// recorded. Default: the first Share does.
	Shared bool

	// Warn is told, in one line each, what an operator should know: a ledger
	// that was set aside, writes that fail and work again. It may be called
	// from any goroutine and must not call the ledger. Default: nobody is
	// told.
	Warn func(message string)

	// Status is told when writing begins to fail, with the reason, and nil
	// when it works again. It may be called from any goroutine and must not
	// call the ledger. Default: nobody is told.
	Status func(err error)

	// Interrupted is told each record of a request that a process which died
	// has left open, while the ledger is opened. Default: nobody is told.
	Interrupted func(r *Record)

	// Now is the clock, which decides what is kept. Default: time.Now.
	Now func() time.Time

	// What tests set.
	journal  journal.Options
	maxCells int
}

// SyncAlways makes Record wait until the disk has the record.
const SyncAlways = journal.SyncAlways

// maxUnwritten is how many cells wait to be written at most, some 100 MB of
// them: that is days of a disk that fails for a gate with a hundred busy
// tuples. Beyond it, Record answers ErrFull.
const maxUnwritten = 1 << 20

// Bolt is a ledger in a journal and a bbolt file. The journal is the truth:
// Record returns when the kernel has the record. The file holds the sums of all
// records up to one of the journal, which it names, so that a start adds up just
// those that come after it. Sums are gathered in memory and written every few
// seconds; segments of the journal that are summed up are removed.
//
// While the journal can't be written, records are kept in memory, up to 16 MiB,
// and written when it works again: SIGKILL would lose them meanwhile. A write of
// sums that fails is tried again with the next; until then they stay in memory,
// and queries count them.
type Bolt struct {
	sums    *rollup
	journal *journal.Journal
	entry   []byte                // memory of append; guarded by sums.mu
	changes *changes              // of the file, for a ledger that is shared; nil: it is not; guarded by sums.mu
	remote  map[string]bool       // runs that are read from Redis; guarded by sums.mu
	open    map[string]checkpoint // of requests that have not ended, by id; guarded by sums.mu
	status  func(error)
	db      *bbolt.DB
	path    string
	warn    func(string)

	writing   sync.Mutex // held while a batch is written
	leftovers bool       // expired blocks wait to be deleted; guarded by writing

	// instant is held to change at once what is in the file and what is in
	// memory, and to look at both. It is taken after writing and before
	// sums.mu.
	instant sync.RWMutex
	gone    bool // the file is closed; guarded by both writing and instant

	failure struct {
		sync.Mutex
		err error
	}

	// What the journal says while the ledger is opened.
	journaled map[string]uint64 // up to which entry runs were delivered
	doubtful  []doubt           // records of which the file can't tell

	sealing  sync.Once
	closing  sync.Once
	closeErr error
	stop     chan struct{}
	stopped  chan struct{}
}

// OpenBolt opens the ledger at path, or makes it with its directory (modes 0600
// and 0700). Opening reads the whole file once. A file that is damaged is set
// aside under a new name, which Warn is told, and a new one is made in its
// place; nothing is deleted. What the journal beside it holds beyond the file is
// added up then, and what is damaged of that is set aside likewise. Requests that
// a process which died has left open are settled at their last checkpoint. The
// error wraps ErrLocked where another process, or this one, has it open.
func OpenBolt(path string, opts BoltOptions) (*Bolt, error) {
	if opts.FlushInterval <= 0 {
		opts.FlushInterval = 5 * time.Second
	}
	if opts.LockTimeout <= 0 {
		opts.LockTimeout = 5 * time.Second
	}
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	if opts.Status == nil {
		opts.Status = func(error) {}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.maxCells == 0 {
		opts.maxCells = maxUnwritten
	}
	b := &Bolt{path: path, warn: opts.Warn, status: opts.Status, open: map[string]checkpoint{}, remote: map[string]bool{}, journaled: map[string]uint64{}, stop: make(chan struct{}), stopped: make(chan struct{}), leftovers: true}
	load := func(db *bbolt.DB) error {
		b.sums = newRollup(opts.Retention, opts.maxCells, opts.Now)
		return loadInto(b.sums, db)
	}
	db, err := openFile(path, opts, load)
	if err != nil {
		return nil, fmt.Errorf("opening usage ledger %s: %w", path, err)
	}
	b.db = db
	if err := b.openJournal(opts); err != nil {
		return nil, errors.Join(fmt.Errorf("opening usage ledger %s: %w", path, err), db.Close())
	}
	go b.run(opts.FlushInterval)
	return b, nil
}

// Record implements Ledger. It takes one write to a file, which callers share
// who come at the same time.
func (b *Bolt) Record(_ context.Context, r *Record) error {
	_, entry, err := b.sums.record(r)
	if err != nil {
		return err
	}
	b.journal.Commit(entry)
	return nil
}

// Configure implements Ledger.
func (b *Bolt) Configure(s Settings) {
	b.sums.retain(s.Retention)
	b.journal.SetSync(s.Sync)
}

// Query implements Ledger.
func (b *Bolt) Query(ctx context.Context, q Query) (page *Page, err error) {
	from, to, err := b.sums.resolve(&q)
	if err != nil {
		return nil, err
	}
	err = b.read(q.Width.level(), from, to, func(r *reading) (err error) {
		page, err = r.page(ctx, &q, to)
		return err
	})
	return page, err
}

// Totals implements Ledger.
func (b *Bolt) Totals(_ context.Context, key string, since time.Time) (totals Totals, err error) {
	err = b.read(days, floor(max(0, since.Unix()), 86400), maxUnix+1, func(r *reading) (err error) {
		totals, err = r.totals(key, since)
		return err
	})
	return totals, err
}

// read calls f with the ledger at one instant.
func (b *Bolt) read(l level, from, to int64, f func(*reading) error) error {
	return guarded(func() error {
		b.instant.RLock()
		if b.gone {
			b.instant.RUnlock()
			return ErrClosed
		}
		tx, err := b.db.Begin(false)
		if err != nil {
			b.instant.RUnlock()
			return fmt.Errorf("reading usage ledger %s: %w", b.path, err)
		}
		b.sums.mu.Lock()
		r := b.sums.snapshot(l, from, to)
		b.sums.mu.Unlock()
		b.instant.RUnlock()
		defer tx.Rollback() //nolint:errcheck // of a transaction that only reads
		r.source = txBlocks{tx}
		return f(r)
	})
}

// run writes at every interval until the ledger is closed.
func (b *Bolt) run(interval time.Duration) {
	defer close(b.stopped)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = b.Flush() // Err and Warn tell
		case <-b.stop:
			return
		}
	}
}

// Flush writes all that was recorded before the call, and deletes what is not
// kept any more. After Close it answers ErrClosed.
func (b *Bolt) Flush() error {
	b.writing.Lock()
	defer b.writing.Unlock()
	if b.gone {
		return ErrClosed
	}
	err := b.write()
	if err == nil {
		err = b.retire()
	}
	b.failure.Lock()
	before := b.failure.err
	b.failure.err = err
	b.failure.Unlock()
	switch {
	case before == nil && err != nil:
		b.warn(fmt.Sprintf("writing usage ledger %s fails, its sums are kept in memory: %v", b.path, err))
		b.changed()
	case before != nil && err == nil:
		b.warn(fmt.Sprintf("writing usage ledger %s works again", b.path))
		b.changed()
	}
	return err
}

// Err is why the last write of sums, or of the journal, failed; nil where
// neither did.
func (b *Bolt) Err() error {
	b.failure.Lock()
	err := b.failure.err
	b.failure.Unlock()
	if err != nil {
		return err
	}
	return b.journal.Err()
}

// changed tells that Err may have changed.
func (b *Bolt) changed() { b.status(b.Err()) }

// Close implements Ledger. The error is that of the last write: what it would
// have written is lost then, unless it were sums of what the journal holds.
func (b *Bolt) Close() error {
	b.closing.Do(func() {
		b.seal()
		flushErr := b.Flush()
		b.writing.Lock()
		defer b.writing.Unlock()
		b.instant.Lock()
		b.gone = true
		b.instant.Unlock()
		b.closeErr = errors.Join(flushErr, b.journal.Close(), b.db.Close())
	})
	return b.closeErr
}

// seal ends the recording.
func (b *Bolt) seal() {
	b.sealing.Do(func() {
		close(b.stop)
		<-b.stopped
		b.sums.mu.Lock()
		b.sums.closed = true
		b.sums.mu.Unlock()
	})
}

// write writes what waits. It must be called with b.writing held.
func (b *Bolt) write() error {
	b.sums.mu.Lock()
	failed := b.sums.merging != nil
	b.sums.mu.Unlock()
	if failed {
		if err := b.writeBatch(); err != nil {
			return err
		}
	}
	if err := b.writeBatch(); err != nil {
		return err
	}
	return b.deleteExpired()
}

// writeBatch writes the next batch, or the one that failed.
func (b *Bolt) writeBatch() error {
	b.sums.mu.Lock()
	batch := b.sums.take()
	b.sums.mu.Unlock()
	if batch == nil {
		return nil
	}
	return b.update(func(tx *bbolt.Tx) error { return writeBatch(tx, batch) }, func() {
		if b.changes != nil {
			b.changes.note(batch)
		}
		b.sums.merged()
	})
}

// update changes the file in a transaction, and memory by then, at once for
// queries. Then is called with b.sums.mu held, and only where the transaction
// was committed.
func (b *Bolt) update(change func(*bbolt.Tx) error, then func()) error {
	return guarded(func() error {
		tx, err := b.db.Begin(true)
		if err != nil {
			return fmt.Errorf("beginning to write: %w", err)
		}
		defer tx.Rollback() //nolint:errcheck // nothing to do after Commit
		if err := change(tx); err != nil {
			return err
		}
		b.instant.Lock()
		defer b.instant.Unlock()
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("committing: %w", err)
		}
		b.sums.mu.Lock()
		defer b.sums.mu.Unlock()
		then()
		return nil
	})
}

// deleteExpired deletes what is not kept any more: in steps, not to hold up the
// writes for long.
func (b *Bolt) deleteExpired() error {
	b.sums.mu.Lock()
	oldest, forgotten, changed := b.sums.expire()
	oldestRun := uint32(0)
	if len(b.sums.runs) > 0 {
		oldestRun = b.sums.runs[0].first
	}
	b.sums.mu.Unlock()
	if !changed && !b.leftovers {
		return nil
	}
	b.leftovers = true
	var more bool
	err := b.update(func(tx *bbolt.Tx) (err error) {
		if more, err = deleteExpired(tx, oldest, forgotten); err != nil {
			return err
		}
		return deleteRuns(tx, oldestRun)
	}, func() { b.leftovers = more })
	return err
}

var _ Ledger = (*Bolt)(nil)
