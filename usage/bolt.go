package usage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/bbolt"
)

// BoltOptions are those of OpenBolt; the zero value has the defaults.
type BoltOptions struct {
	// Retention is how long daily sums are kept. Default: 400 days.
	Retention time.Duration

	// FlushInterval is how often sums are written, and so how much of them a
	// killed process may lose. Default: 1s.
	FlushInterval time.Duration

	// LockTimeout is how long to wait for another process that has the ledger
	// open. Default: 5s.
	LockTimeout time.Duration

	// Warn is told, in one line each, what an operator should know: a ledger
	// that was set aside, writes that fail and work again. It may be called
	// from any goroutine and must not call the ledger. Default: nobody is
	// told.
	Warn func(message string)

	// Now is the clock, which decides what is kept. Default: time.Now.
	Now func() time.Time
}

// maxUnwritten is how many cells wait to be written at most, some 100 MB of
// them: that is days of a disk that fails for a gate with a hundred busy
// tuples. Beyond it, Record answers ErrFull.
const maxUnwritten = 1 << 20

// Bolt is a ledger in a bbolt file. Records are added up in memory and written
// by one goroutine, so that recording does no I/O: a process that is killed
// loses what it recorded since the last write. What was written survives a loss
// of power.
//
// A write that fails is tried again with the next; until then its sums stay in
// memory, and queries count them.
type Bolt struct {
	sums *rollup
	db   *bbolt.DB
	path string
	warn func(string)

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

	closing  sync.Once
	closeErr error
	stop     chan struct{}
	stopped  chan struct{}
}

// OpenBolt opens the ledger at path, or makes it with its directory (modes 0600
// and 0700). Opening reads the whole file once. A file that is damaged is set
// aside under a new name, which Warn is told, and a new one is made in its
// place; nothing is deleted. The error wraps ErrLocked where another process,
// or this one, has it open.
func OpenBolt(path string, opts BoltOptions) (*Bolt, error) {
	if opts.FlushInterval <= 0 {
		opts.FlushInterval = time.Second
	}
	if opts.LockTimeout <= 0 {
		opts.LockTimeout = 5 * time.Second
	}
	if opts.Warn == nil {
		opts.Warn = func(string) {}
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	b := &Bolt{path: path, warn: opts.Warn, stop: make(chan struct{}), stopped: make(chan struct{}), leftovers: true}
	load := func(db *bbolt.DB) error {
		b.sums = newRollup(opts.Retention, maxUnwritten, opts.Now)
		return loadInto(b.sums, db)
	}
	db, err := openFile(path, opts, load)
	if err != nil {
		return nil, fmt.Errorf("opening usage ledger %s: %w", path, err)
	}
	b.db = db
	go b.run(opts.FlushInterval)
	return b, nil
}

// Record implements Ledger. It takes under a microsecond.
func (b *Bolt) Record(_ context.Context, r *Record) error {
	_, err := b.sums.record(r)
	return err
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
	b.failure.Lock()
	before := b.failure.err
	b.failure.err = err
	b.failure.Unlock()
	switch {
	case before == nil && err != nil:
		b.warn(fmt.Sprintf("writing usage ledger %s fails, its sums are kept in memory: %v", b.path, err))
	case before != nil && err == nil:
		b.warn(fmt.Sprintf("writing usage ledger %s works again", b.path))
	}
	return err
}

// Err is why the last write failed; nil where it did not.
func (b *Bolt) Err() error {
	b.failure.Lock()
	defer b.failure.Unlock()
	return b.failure.err
}

// Close implements Ledger. The error is that of the last write: what it would
// have written is lost then.
func (b *Bolt) Close() error {
	b.closing.Do(func() {
		close(b.stop)
		<-b.stopped
		b.sums.mu.Lock()
		b.sums.closed = true
		b.sums.mu.Unlock()
		flushErr := b.Flush()
		b.writing.Lock()
		defer b.writing.Unlock()
		b.instant.Lock()
		b.gone = true
		b.instant.Unlock()
		b.closeErr = errors.Join(flushErr, b.db.Close())
	})
	return b.closeErr
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
	return b.update(func(tx *bbolt.Tx) error { return writeBatch(tx, batch) }, b.sums.merged)
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
	b.sums.mu.Unlock()
	if !changed && !b.leftovers {
		return nil
	}
	b.leftovers = true
	var more bool
	err := b.update(func(tx *bbolt.Tx) (err error) {
		more, err = deleteExpired(tx, oldest, forgotten)
		return err
	}, func() { b.leftovers = more })
	return err
}

var _ Ledger = (*Bolt)(nil)
