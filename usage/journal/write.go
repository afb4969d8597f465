package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// keepSpare is the most memory that is kept for pending records.
const keepSpare = 1 << 20

// maxTries is how many names are tried for a segment.
const maxTries = 1000

// write writes all pending records. j.mu must be held; write releases it
// meanwhile. The caller must have set j.begun or found it false.
func (j *Journal) write() {
	j.begun = true
	frames, last := j.pending, j.next-1
	j.pending = j.spare[:0]
	j.spare = nil
	always := j.syncEvery == SyncAlways
	if s := j.current; s != nil && (s.size >= j.opts.SegmentSize || s.failed && s.size > headerSize || s == j.suspect) {
		j.endSegment()
	}
	current := j.current
	j.mu.Unlock()

	err := j.writeFrames(current, frames, last, always)

	j.mu.Lock()
	if err != nil {
		// In order: before the frames appended meanwhile.
		j.pending = append(frames, j.pending...)
		j.writeErr = fmt.Errorf("writing: %w", err)
	} else {
		j.writeErr = nil
		j.written = last
		j.waiting -= len(frames)
		if always {
			j.synced, j.syncErr = last, nil
		}
		if cap(frames) <= keepSpare {
			j.spare = frames
		}
	}
	j.begun = false
	j.done.Broadcast()
	j.notify()
}

// writeFrames writes frames, of which the last is record last, to s, or to a new
// segment if s is nil. If it fails, some of the frames may have reached the file.
// They are then written again, to another file, and replay skips duplicate
// numbers.
func (j *Journal) writeFrames(s *segment, frames []byte, last uint64, always bool) error {
	if s == nil {
		var err error
		if s, err = j.newSegment(binary.LittleEndian.Uint64(frames[8:])); err != nil {
			return err
		}
		j.mu.Lock()
		j.current, j.newDir = s, true
		j.mu.Unlock()
	}
	s.failed = true // until the write succeeds
	if _, err := s.file.WriteAt(frames, s.size); err != nil {
		return err
	}
	if always {
		if err := j.syncFile(s.file); err != nil {
			return err
		}
	}
	s.size += int64(len(frames))
	s.last = last
	s.failed = false
	return nil
}

// newSegment creates a segment whose first record is first.
func (j *Journal) newSegment(first uint64) (*segment, error) {
	for try := range maxTries {
		name := segmentName(j.dir, first, try)
		file, err := j.opts.Create(name)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if _, err := file.WriteAt(appendHeader(nil, j.salt, first), 0); err != nil {
			_ = file.Close()
			_ = os.Remove(name) // it is empty; if this fails, the next one gets another name
			return nil, err
		}
		return &segment{name: name, file: file, size: headerSize}, nil
	}
	return nil, fmt.Errorf("making a segment: %d names for record %d are taken", maxTries, first)
}

// endSegment ends the current segment: the next write creates another one. j.mu
// must be held, and no other goroutine may be writing.
func (j *Journal) endSegment() {
	if s := j.current; s != nil {
		j.ended = append(j.ended, s.file)
		s.file = nil
		j.old = append(j.old, s)
		j.current = nil
	}
}

// notify calls Warn and Changed if writing has begun to fail or works again. j.mu
// must be held; notify releases it meanwhile.
func (j *Journal) notify() {
	err := j.err()
	if (err != nil) == j.announced {
		return
	}
	j.announced = err != nil
	j.mu.Unlock()
	if err != nil {
		j.opts.Warn(fmt.Sprintf("usage journal %s fails, its records are kept in memory: %v", j.dir, err))
	} else {
		j.opts.Warn(fmt.Sprintf("usage journal %s works again", j.dir))
	}
	j.opts.Changed()
	j.mu.Lock()
}

// run syncs at each interval and retries failed writes until the journal is
// closed.
func (j *Journal) run(every time.Duration) {
	defer close(j.stopped)
	retry := time.NewTicker(j.opts.Retry)
	defer retry.Stop()
	syncs := time.NewTicker(tick(every))
	defer syncs.Stop()
	for {
		select {
		case <-j.stop:
			return
		case every = <-j.resync:
			syncs.Reset(tick(every))
		case <-syncs.C:
			j.sync()
		case <-retry.C:
			j.mu.Lock()
			if j.writeErr != nil && !j.begun && !j.closed {
				j.write()
			}
			j.mu.Unlock()
		}
	}
}

// tick returns the interval of calls to sync. With SyncAlways, writes sync by
// themselves, and only ended segments are left to sync and close.
func tick(every time.Duration) time.Duration {
	if every == SyncAlways {
		return defaultSync
	}
	return every
}

// sync syncs the written records to the disk, and closes the segments that have
// ended.
func (j *Journal) sync() {
	j.syncing.Lock()
	defer j.syncing.Unlock()
	j.mu.Lock()
	ended, current, last := j.ended, j.current, j.written
	j.ended = nil
	var file File
	if current != nil && j.synced < last {
		file = current.file
	}
	j.mu.Unlock()

	var err error
	for _, f := range ended {
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if file != nil {
		err = errors.Join(err, j.syncFile(file))
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case err != nil:
		// The kernel reports a page that it failed to write only once, and drops it. So
		// nothing more is written to that file.
		j.syncErr = fmt.Errorf("syncing: %w", err)
		j.suspect = current
	case len(ended) > 0 || file != nil:
		j.synced, j.syncErr = max(j.synced, last), nil
	}
	j.notify()
}

// syncFile syncs a segment, and the directory if it has new names.
func (j *Journal) syncFile(f File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	j.mu.Lock()
	newDir := j.newDir
	j.newDir = false
	j.mu.Unlock()
	if newDir {
		syncDir(j.dir)
	}
	return nil
}

// syncDir syncs the names in a directory. Some systems don't support that, and
// keep names in order by themselves.
func syncDir(dir string) {
	if d, err := os.Open(filepath.Clean(dir)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}
