package boltdb

import (
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/usage"
)

// run flushes at every interval until the ledger is closed.
func (l *Ledger) run(interval time.Duration) {
	defer close(l.stopped)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			_ = l.Flush() // Flush reports to Warn and Err
		case <-l.stop:
			return
		}
	}
}

// Flush writes everything that was recorded before the call, and deletes what
// is no longer kept. After Close it returns usage.ErrClosed.
func (l *Ledger) Flush() error {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if l.gone {
		return usage.ErrClosed
	}
	err := l.write()
	if err == nil {
		err = l.truncate()
	}
	l.failure.Lock()
	before := l.failure.err
	l.failure.err = err
	l.failure.Unlock()
	switch {
	case before == nil && err != nil:
		l.warn(fmt.Sprintf("writing usage ledger %s fails, its sums are kept in memory: %v", l.path, err))
		l.notifyStatus()
	case before != nil && err == nil:
		l.warn(fmt.Sprintf("writing usage ledger %s works again", l.path))
		l.notifyStatus()
	}
	return err
}

// write writes the pending samples. l.flushing must be held.
func (l *Ledger) write() error {
	l.mu.Lock()
	failed := l.sums.Merging()
	l.mu.Unlock()
	if failed {
		if err := l.writeBatch(); err != nil {
			return err
		}
	}
	if err := l.writeBatch(); err != nil {
		return err
	}
	return l.deleteExpired()
}

// writeBatch writes the next batch, or retries the one that failed.
func (l *Ledger) writeBatch() error {
	l.mu.Lock()
	batch := l.sums.Take()
	l.mu.Unlock()
	if batch == nil {
		return nil
	}
	return l.update(func(tx *bbolt.Tx) error { return writeBatch(tx, batch) }, func() {
		if l.changes != nil {
			l.changes.addBatch(batch)
		}
		l.sums.Merged()
	})
}

// update changes the file in a transaction, and then the memory; queries see
// both changes at once. It calls onCommit with l.atomic and l.mu held, and
// only if the transaction was committed.
func (l *Ledger) update(change func(*bbolt.Tx) error, onCommit func()) error {
	return guarded(func() error {
		tx, err := l.db.Begin(true)
		if err != nil {
			return fmt.Errorf("beginning to write: %w", err)
		}
		defer tx.Rollback() //nolint:errcheck // nothing to do after Commit
		if err := change(tx); err != nil {
			return err
		}
		l.atomic.Lock()
		defer l.atomic.Unlock()
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("committing: %w", err)
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		onCommit()
		return nil
	})
}

// deleteExpired deletes expired blocks and series, in steps that do not delay
// writes for long.
func (l *Ledger) deleteExpired() error {
	l.mu.Lock()
	expired, changed := l.sums.Expire()
	oldest := uint32(0)
	if generations := l.sums.Generations(); len(generations) > 0 {
		oldest = generations[0].First
	}
	l.mu.Unlock()
	if !changed && !l.expired {
		return nil
	}
	l.expired = true
	var more bool
	err := l.update(func(tx *bbolt.Tx) (err error) {
		if more, err = deleteExpired(tx, expired); err != nil {
			return err
		}
		return deleteGenerations(tx, oldest)
	}, func() { l.expired = more })
	return err
}
