package journal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Defaults of Options.
const (
	defaultSync        = time.Second
	defaultSegmentSize = 16 << 20
	defaultMaxPending  = 16 << 20
	defaultRetry       = time.Second
)

// maxSegment is the length in bytes of the longest file that is read as a segment:
// a segment may exceed SegmentSize by one group of records.
const maxSegment = 1 << 30

// Open opens the journal in dir, which it creates if there is none (mode 0700), and
// calls replay with each record, in order and once. replay must not keep the
// record. Open returns the first error of replay.
//
// Open drops a torn record at the end of a segment: it was never committed. If
// anything else is corrupt, it reports the file and the offset to Warn, and replays
// the records around it. When [Journal.Truncate] would remove such a file, it
// quarantines it under a new name instead. A file that another process created is
// never written to.
func Open(dir string, opts Options, replay func(number uint64, record []byte) error) (*Journal, error) {
	opts.setDefaults()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the journal's directory: %w", err)
	}
	j := &Journal{dir: dir, opts: opts, salt: newSalt(), syncEvery: opts.Sync,
		resync: make(chan time.Duration), stop: make(chan struct{}), stopped: make(chan struct{})}
	j.done.L = &j.mu
	j.seed = crc32.Checksum(j.salt[:], castagnoli)
	r := &reader{opts: &opts, replay: replay}
	if err := r.readAll(dir); err != nil {
		return nil, fmt.Errorf("reading usage journal %s: %w", dir, err)
	}
	j.old = r.segments
	j.next = max(r.last, opts.After) + 1
	j.written, j.synced = j.next-1, j.next-1
	go j.run(opts.Sync)
	return j, nil
}

func (o *Options) setDefaults() {
	if o.Sync == 0 {
		o.Sync = defaultSync
	}
	if o.SegmentSize <= 0 {
		o.SegmentSize = defaultSegmentSize
	}
	if o.MaxPending <= 0 {
		o.MaxPending = defaultMaxPending
	}
	if o.Retry <= 0 {
		o.Retry = defaultRetry
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Changed == nil {
		o.Changed = func() {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Create == nil {
		o.Create = createFile
	}
}

// reader reads the segments of a journal.
type reader struct {
	opts     *Options
	replay   func(uint64, []byte) error
	segments []*segment
	last     uint64 // number of the last record

	// Invalid ends of segments. The number of the next record shows whether they are
	// torn or corrupt.
	tails []*damage
}

// damage is an invalid part of a segment.
type damage struct {
	segment  *segment
	from, to int
	after    uint64 // the last record before it
	certain  bool   // it is corrupt, not torn: a file longer than a header has no valid header
}

func (r *reader) readAll(dir string) error {
	entries, err := os.ReadDir(dir) // sorted by name, and so by number
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !isSegment(entry.Name()) {
			continue
		}
		if err := r.read(filepath.Join(dir, entry.Name())); err != nil {
			return fmt.Errorf("%s: %w", entry.Name(), err)
		}
	}
	for _, t := range r.tails {
		if t.certain {
			r.corrupt(t, r.last+1)
			continue
		}
		r.opts.Warn(fmt.Sprintf("usage journal %s ended in a torn record, which was dropped: %d bytes at offset %d", t.segment.name, t.to-t.from, t.from))
	}
	return nil
}

func (r *reader) read(name string) error {
	s := &segment{name: name}
	data, err := readFile(name)
	switch {
	case errors.Is(err, errNoSegment):
		s.corrupt = true
		r.opts.Warn(fmt.Sprintf("usage journal %s is not a file of a journal: it will be renamed", name))
		r.segments = append(r.segments, s)
		return nil
	case err != nil:
		return err
	}
	var inside *damage
	err = scan(data, func(number uint64, record []byte) error {
		if inside != nil {
			r.corrupt(inside, number)
			inside = nil
		}
		s.last = max(s.last, number)
		if number <= r.last { // written again after a failed write
			return nil
		}
		r.closeTails(number)
		r.last = number
		return r.replay(number, record)
	}, func(from, to int) {
		inside = &damage{segment: s, from: from, to: to, after: r.last}
	})
	if err != nil {
		return err
	}
	r.segments = append(r.segments, s)
	if inside != nil && inside.to > inside.from {
		inside.certain = inside.from == 0 && inside.to > headerSize
		r.tails = append(r.tails, inside)
	}
	return nil
}

// closeTails handles the invalid ends of earlier segments. If numbers are missing
// before next, records were lost; otherwise the end was torn.
func (r *reader) closeTails(next uint64) {
	for _, t := range r.tails {
		if t.certain || next > max(t.after, r.opts.After)+1 {
			r.corrupt(t, next)
		}
	}
	r.tails = nil
}

// corrupt reports an invalid part of a segment; next is the number of the record
// that follows it.
func (r *reader) corrupt(d *damage, next uint64) {
	d.segment.corrupt = true
	lost := uint64(0)
	if from := max(d.after, r.opts.After) + 1; next > from {
		lost = next - from
	}
	r.opts.Warn(fmt.Sprintf("usage journal %s is corrupt: %d bytes at offset %d cannot be read, %d records that are stored nowhere else are lost; the others are kept, and the file will be renamed",
		d.segment.name, d.to-d.from, d.from, lost))
}

var errNoSegment = errors.New("no segment")

// readFile reads a segment.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNoSegment // a link to nowhere
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSegment {
		return nil, errNoSegment
	}
	return os.ReadFile(name)
}

// First returns the number of the first record of the oldest ended segment: the
// records before it were removed. It returns 0 if there is no segment of an earlier
// process.
func (j *Journal) First() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.old) == 0 {
		return 0
	}
	return firstOf(filepath.Base(j.old[0].name))
}

// Truncatable reports whether Truncate(through) would remove segments, which are
// those that hold only records through this number. last is the number of the last
// record in them.
func (j *Journal) Truncatable(through uint64) (last uint64, some bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.old {
		if s.last > through {
			break
		}
		last, some = s.last, true
	}
	return last, some
}

// Truncate removes the segments that hold only records through this number, which
// the caller has stored elsewhere or appended again. It quarantines a corrupt
// segment under a new name. It first syncs what was written.
func (j *Journal) Truncate(through uint64) error {
	j.sync()
	j.mu.Lock()
	err := j.syncErr
	j.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		j.mu.Lock()
		if len(j.old) == 0 || j.old[0].last > through {
			j.mu.Unlock()
			return nil
		}
		s := j.old[0]
		j.mu.Unlock()
		if err := j.remove(s); err != nil {
			return fmt.Errorf("removing a segment that is no longer needed: %w", err)
		}
		j.mu.Lock()
		j.old = j.old[1:]
		j.mu.Unlock()
	}
}

func (j *Journal) remove(s *segment) error {
	if !s.corrupt {
		err := os.Remove(s.name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	base := s.name + ".damaged-" + j.opts.Now().UTC().Format("20060102T150405Z")
	for try := range maxTries {
		aside := base
		if try > 0 {
			aside = fmt.Sprintf("%s-%d", base, try)
		}
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		if err := os.Rename(s.name, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		j.opts.Warn(fmt.Sprintf("usage journal %s was renamed to %s", s.name, aside))
		return nil
	}
	return fmt.Errorf("%d names like %s are taken", maxTries, base)
}
