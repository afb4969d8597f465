package usage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage/journal"
)

// checkpoint is what a request that is under way had used when it was last
// asked.
type checkpoint struct {
	number uint64 // of its entry
	entry  []byte
}

// journalDir is where the journal of the ledger at a path lies: beside it.
func journalDir(path string) string { return strings.TrimSuffix(path, ".db") + ".journal" }

// openJournal opens the ledger's journal, counts what the file does not hold
// yet, and settles the requests that a process left behind when it died, each
// at its last checkpoint. It must be called before anybody else has the ledger.
func (b *Bolt) openJournal(opts BoltOptions) error {
	held := b.sums.entry
	options := opts.journal
	options.After, options.Sync, options.Now = held, opts.Sync, opts.Now
	options.Warn, options.Changed = opts.Warn, b.changed
	j, err := journal.Open(journalDir(b.path), options, func(number uint64, entry []byte) error {
		return b.replay(held, number, entry)
	})
	if err != nil {
		return err
	}
	b.journal = j
	if first := j.First(); held == 0 && first > 1 {
		b.warn(fmt.Sprintf("usage ledger %s is new, and its journal is not: of %d earlier entries, whose sums were in the file before it, nothing is counted", b.path, first-1))
	}
	if err := b.countDoubtful(); err != nil {
		return errors.Join(err, j.Close())
	}
	b.sums.log = b.append
	if opts.Shared {
		// Before requests are settled that the process before has left: whatever
		// else has this directory knows them too, and its run must not differ.
		if err := b.share(); err != nil {
			return errors.Join(err, j.Close())
		}
	}
	b.interrupted(opts.Interrupted)
	// So that a damaged segment is set aside, and the next start finds less.
	_ = b.Flush() // Err and Warn tell
	return nil
}

// replay takes an entry of the journal over. Those up to held are in the file.
func (b *Bolt) replay(held, number uint64, entry []byte) error {
	kind, r, err := decodeEntry(entry)
	if errors.Is(err, errEntry) {
		b.warn(fmt.Sprintf("usage journal %s: entry %d is left out: %v", journalDir(b.path), number, err))
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case kind == entryDelivered:
		b.journaled[r.ID] = max(b.journaled[r.ID], uint64(r.Input))
		b.doubtful = slices.DeleteFunc(b.doubtful, func(d doubt) bool { return d.number <= uint64(r.Input) })
		return nil
	case kind == entryCheckpoint:
		if !b.sums.seen(r.ID) {
			b.open[r.ID] = checkpoint{number, slices.Clone(entry)}
		}
		return nil
	case kind == entryForgotten || number <= held:
		b.sums.see(r.ID)
	case held == 0:
		b.doubtful = append(b.doubtful, doubt{number, r})
	default:
		if err := b.count(r); err != nil {
			return err
		}
	}
	delete(b.open, r.ID)
	b.sums.mu.Lock()
	b.sums.entry = max(held, number)
	b.sums.mu.Unlock()
	return nil
}

// doubt is a record in the journal of a ledger whose file is new. Where the file
// before it was set aside, the record may have been delivered already.
type doubt struct {
	number uint64
	*Record
}

// countDoubtful adds the records up of which the journal does not say that they
// were delivered.
func (b *Bolt) countDoubtful() error {
	last := b.sums.entry
	for _, d := range b.doubtful {
		b.sums.entry = d.number // what a batch says that it counts
		if err := b.count(d.Record); err != nil {
			return err
		}
	}
	b.sums.entry, b.doubtful = last, nil
	return nil
}

// noteDelivered writes into the journal that Redis has a run up to an entry. It
// need not be safe at once: what is delivered twice counts once.
func (b *Bolt) noteDelivered(run string, through uint64) {
	b.sums.mu.Lock()
	defer b.sums.mu.Unlock()
	b.entry = appendEntry(b.entry[:0], entryDelivered, &Record{ID: run, Outcome: OK, Tokens: wire.Tokens{Input: int64(through)}})
	if number, err := b.journal.Append(b.entry); err == nil {
		b.sums.entry = number
	}
}

// count adds a record of the journal up. What is not kept any more is left out,
// and so is what makes no sense, which no ledger wrote.
func (b *Bolt) count(r *Record) error {
	waiting, _, err := b.sums.record(r)
	switch {
	case errors.Is(err, ErrInvalid):
		return nil
	case errors.Is(err, ErrFull) || waiting > b.sums.maxCells/4:
		if err := b.write(); err != nil {
			return fmt.Errorf("writing what the journal holds: %w", err)
		}
	}
	if errors.Is(err, ErrFull) {
		_, _, err = b.sums.record(r)
	}
	return err
}

// interrupted settles what is open in the journal.
func (b *Bolt) interrupted(tell func(*Record)) {
	ids := make([]string, 0, len(b.open))
	for id := range b.open {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(x, y string) int { return cmp.Compare(b.open[x].number, b.open[y].number) })
	for _, id := range ids {
		_, r, err := decodeEntry(b.open[id].entry)
		if err != nil {
			continue // it was read before
		}
		r.Outcome, r.Estimated = Interrupted, true
		if b.Record(context.Background(), r) == nil && tell != nil {
			tell(r)
		}
	}
	if len(ids) > 0 {
		b.warn(fmt.Sprintf("usage ledger %s: the process before this one left %d requests unfinished; they are charged for what was delivered at their last checkpoint", b.path, len(ids)))
	}
}

// append writes a record into the journal's memory. It must be called with
// b.sums.mu held.
func (b *Bolt) append(kind entryKind, r *Record) (uint64, error) {
	b.entry = appendEntry(b.entry[:0], kind, r)
	number, err := b.journal.Append(b.entry)
	switch {
	case errors.Is(err, journal.ErrFull):
		return 0, ErrFull
	case errors.Is(err, journal.ErrClosed):
		return 0, ErrClosed
	case err != nil:
		return 0, fmt.Errorf("%w %s: %w", ErrInvalid, r.ID, err)
	}
	if kind == entryCheckpoint {
		b.open[r.ID] = checkpoint{number, slices.Clone(b.entry)}
	} else if len(b.open) > 0 {
		delete(b.open, r.ID)
	}
	return number, nil
}

// Checkpoint implements Ledger. The entries share one write.
func (b *Bolt) Checkpoint(_ context.Context, records []Record) error {
	if err := b.journal.Err(); err != nil {
		// What can't be written is no checkpoint, and memory is for records.
		return fmt.Errorf("writing checkpoints: %w", err)
	}
	return b.enter(entryCheckpoint, records)
}

// Forget implements Ledger.
func (b *Bolt) Forget(_ context.Context, id string) error {
	return b.enter(entryForgotten, []Record{{ID: id}})
}

// enter writes entries that change no sums.
func (b *Bolt) enter(kind entryKind, records []Record) error {
	number, err := func() (number uint64, err error) {
		b.sums.mu.Lock()
		defer b.sums.mu.Unlock()
		if b.sums.closed {
			return 0, ErrClosed
		}
		for i := range records {
			r := &records[i]
			hash := b.sums.recent.hash(r.ID)
			if b.sums.recent.has(hash) {
				continue // it has ended meanwhile
			}
			if kind == entryForgotten {
				b.sums.recent.add(hash)
			}
			if number, err = b.append(kind, r); err != nil {
				return 0, err
			}
			b.sums.entry = number
		}
		return number, nil
	}()
	if err != nil {
		return err
	}
	b.journal.Commit(number)
	return nil
}

// Ready implements Ledger.
func (b *Bolt) Ready() error {
	b.sums.mu.Lock()
	closed, crowded := b.sums.closed, b.sums.cells() > b.sums.maxCells/4*3
	b.sums.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case crowded || b.journal.Crowded():
		return errors.Join(ErrFull, b.Err())
	}
	return nil
}

// retire removes the segments of the journal whose records the file holds, and
// keeps the checkpoints in them that nothing has superseded. It must be called
// with b.writing held.
func (b *Bolt) retire() error {
	last, some, number, err := b.carry()
	if err != nil || !some {
		return err
	}
	if number > 0 {
		b.journal.Commit(number)
	}
	if number == 0 || b.journal.Err() == nil { // else the journal tells
		err = b.journal.Retire(last)
	}
	return err
}

// carry appends the checkpoints again that stand in segments which could be
// removed, those up to last. It returns the number of the newest; 0: none.
func (b *Bolt) carry() (last uint64, some bool, number uint64, err error) {
	b.sums.mu.Lock()
	defer b.sums.mu.Unlock()
	if last, some = b.journal.Retirable(b.sums.held()); !some {
		return 0, false, 0, nil
	}
	for id, c := range b.open {
		if c.number > last {
			continue
		}
		if number, err = b.journal.Append(c.entry); err != nil {
			return 0, false, 0, fmt.Errorf("keeping the checkpoints of requests: %w", err)
		}
		b.sums.entry, b.open[id] = number, checkpoint{number, c.entry}
	}
	return last, true, number, nil
}
