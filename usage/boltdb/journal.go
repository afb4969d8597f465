package boltdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/journal"
)

// checkpoint is the last checkpoint of a request in flight.
type checkpoint struct {
	offset uint64 // of its entry
	entry  []byte
}

// uncertain is a record in the journal of a ledger whose file is new. If the
// previous file was quarantined, the record may have been delivered already.
type uncertain struct {
	offset uint64
	*usage.Record
}

// journalDir returns the directory of the journal, beside the ledger's file at
// path.
func journalDir(path string) string { return strings.TrimSuffix(path, ".db") + ".journal" }

// openJournal opens the ledger's journal, counts the records that the file does
// not count yet, and settles the requests that a dead process left unfinished,
// each at its last checkpoint. Nothing else may use the ledger yet.
func (l *Ledger) openJournal(opts Options) error {
	committed := l.sums.Offset()
	options := opts.journal
	options.After, options.Sync, options.Now = committed, opts.Sync, opts.Now
	options.Warn, options.Changed = opts.Warn, l.notifyStatus
	j, err := journal.Open(journalDir(l.path), options, func(offset uint64, entry []byte) error {
		return l.replay(committed, offset, entry)
	})
	if err != nil {
		return err
	}
	l.journal = j
	if first := j.First(); committed == 0 && first > 1 {
		l.warn(fmt.Sprintf("usage ledger %s is new, but its journal is not: %d earlier entries, whose sums were in the previous file, are not counted", l.path, first-1))
	}
	if err := l.countUncertain(); err != nil {
		return errors.Join(err, j.Close())
	}
	l.sums.Log = func(r *usage.Record) (uint64, error) { return l.append(entryFinal, r) }
	if opts.Shared {
		// Begin it before unfinished requests are settled: another process with a copy
		// of this directory settles them too, and the previous generation, which both
		// have, must not differ.
		if err := l.beginGeneration(); err != nil {
			return errors.Join(err, j.Close())
		}
	}
	l.settleInterrupted(opts.Interrupted)
	// Flush, so that a corrupt segment is quarantined, and the next start has less
	// to replay.
	_ = l.Flush() // Flush reports to Warn and Err
	return nil
}

// replay applies an entry of the journal. The file counts the entries through
// committed already.
func (l *Ledger) replay(committed, offset uint64, entry []byte) error {
	kind, r, err := decodeEntry(entry)
	if errors.Is(err, errEntry) {
		l.warn(fmt.Sprintf("usage journal %s: entry %d is ignored: %v", journalDir(l.path), offset, err))
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case kind == entryDelivered:
		through := uint64(r.Input)
		l.delivered[r.ID] = max(l.delivered[r.ID], through)
		l.uncertain = slices.DeleteFunc(l.uncertain, func(u uncertain) bool { return u.offset <= through })
		return nil
	case kind == entryCheckpoint:
		if !l.sums.Ended(r.ID) {
			l.open[r.ID] = checkpoint{offset, slices.Clone(entry)}
		}
		return nil
	case kind == entryForgotten || offset <= committed:
		l.sums.SetEnded(r.ID)
	case committed == 0:
		l.uncertain = append(l.uncertain, uncertain{offset, r})
	default:
		if err := l.count(r); err != nil {
			return err
		}
	}
	delete(l.open, r.ID)
	l.sums.SetOffset(max(committed, offset))
	return nil
}

// countUncertain counts the uncertain records that the journal does not report as
// delivered.
func (l *Ledger) countUncertain() error {
	last := l.sums.Offset()
	for _, u := range l.uncertain {
		l.sums.SetOffset(u.offset) // a batch stores it
		if err := l.count(u.Record); err != nil {
			return err
		}
	}
	l.sums.SetOffset(last)
	l.uncertain = nil
	return nil
}

// count counts a record of the journal. It ignores a record that is no longer
// kept, or is invalid, which no ledger wrote.
func (l *Ledger) count(r *usage.Record) error {
	pending, _, err := l.record(r)
	switch {
	case errors.Is(err, usage.ErrInvalid):
		return nil
	case errors.Is(err, usage.ErrFull) || pending > l.sums.MaxPending()/4:
		if err := l.write(); err != nil {
			return fmt.Errorf("writing what the journal holds: %w", err)
		}
	}
	if errors.Is(err, usage.ErrFull) {
		_, _, err = l.record(r)
	}
	return err
}

// settleInterrupted settles the requests that are open in the journal, and calls
// onSettled with the record of each.
func (l *Ledger) settleInterrupted(onSettled func(*usage.Record)) {
	ids := make([]string, 0, len(l.open))
	for id := range l.open {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y string) int { return cmp.Compare(l.open[x].offset, l.open[y].offset) })
	for _, id := range ids {
		_, r, err := decodeEntry(l.open[id].entry)
		if err != nil {
			continue // it was decoded before
		}
		r.Outcome, r.Estimated = usage.Interrupted, true
		if l.Record(context.Background(), r) == nil {
			onSettled(r)
		}
	}
	if len(ids) > 0 {
		l.warn(fmt.Sprintf("usage ledger %s: the previous process left %d requests unfinished; they are charged for what was delivered at their last checkpoint", l.path, len(ids)))
	}
}

// append appends the entry of a record to the journal's buffer. l.mu must be
// held.
func (l *Ledger) append(kind entryKind, r *usage.Record) (offset uint64, err error) {
	l.entry = appendEntry(l.entry[:0], kind, r)
	offset, err = l.journal.Append(l.entry)
	switch {
	case errors.Is(err, journal.ErrFull):
		return 0, usage.ErrFull
	case errors.Is(err, journal.ErrClosed):
		return 0, usage.ErrClosed
	case err != nil:
		return 0, fmt.Errorf("%w %s: %w", usage.ErrInvalid, r.ID, err)
	}
	if kind == entryCheckpoint {
		l.open[r.ID] = checkpoint{offset, slices.Clone(l.entry)}
	} else if len(l.open) > 0 {
		delete(l.open, r.ID)
	}
	return offset, nil
}

// Checkpoint implements usage.Ledger. The entries share one write.
func (l *Ledger) Checkpoint(_ context.Context, records []usage.Record) error {
	if err := l.journal.Err(); err != nil {
		// An unwritten checkpoint is useless, and the memory is reserved for records.
		return fmt.Errorf("writing checkpoints: %w", err)
	}
	return l.enter(entryCheckpoint, records)
}

// Forget implements usage.Ledger.
func (l *Ledger) Forget(_ context.Context, id string) error {
	return l.enter(entryForgotten, []usage.Record{{ID: id}})
}

// enter writes entries that do not change sums.
func (l *Ledger) enter(kind entryKind, records []usage.Record) error {
	offset, err := l.appendAll(kind, records)
	if err != nil {
		return err
	}
	l.journal.Commit(offset)
	return nil
}

// appendAll appends entries of requests in flight. It returns the offset of the
// last one.
func (l *Ledger) appendAll(kind entryKind, records []usage.Record) (offset uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, usage.ErrClosed
	}
	for i := range records {
		r := &records[i]
		if l.sums.Ended(r.ID) {
			continue
		}
		if kind == entryForgotten {
			l.sums.SetEnded(r.ID)
		}
		if offset, err = l.append(kind, r); err != nil {
			return 0, err
		}
		l.sums.SetOffset(offset)
	}
	return offset, nil
}

// truncate removes the segments of the journal whose records the file counts, and
// appends again the checkpoints in them that nothing has superseded. l.flushing
// must be held.
func (l *Ledger) truncate() error {
	last, some, offset, err := l.carryForward()
	if err != nil || !some {
		return err
	}
	if offset > 0 {
		l.journal.Commit(offset)
	}
	if offset == 0 || l.journal.Err() == nil { // else the journal reports the error
		err = l.journal.Truncate(last)
	}
	return err
}

// carryForward appends again the checkpoints that are in removable segments,
// those through last. It returns the offset of the newest; 0 if there are none.
func (l *Ledger) carryForward() (last uint64, some bool, offset uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, some = l.journal.Truncatable(l.sums.CommittedOffset()); !some {
		return 0, false, 0, nil
	}
	for id, c := range l.open {
		if c.offset > last {
			continue
		}
		if offset, err = l.journal.Append(c.entry); err != nil {
			return 0, false, 0, fmt.Errorf("keeping the checkpoints of requests: %w", err)
		}
		l.sums.SetOffset(offset)
		l.open[id] = checkpoint{offset, c.entry}
	}
	return last, true, offset, nil
}
