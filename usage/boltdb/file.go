package boltdb

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

// corruption is the error of a file with content that no ledger wrote.
type corruption struct{ error }

func (c corruption) Unwrap() error { return c.error }

// openFile opens the file at path and calls load. It quarantines a corrupt file,
// and calls load again with a new one.
func openFile(path string, opts Options, load func(*bbolt.DB) error) (*bbolt.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("creating its directory: %w", err)
	}
	db, err := tryFile(path, opts.LockTimeout, load)
	if found := new(corruption); !errors.As(err, found) {
		return db, err
	}
	quarantined, renameErr := quarantine(path, opts.Now())
	if renameErr != nil {
		return nil, fmt.Errorf("quarantining a corrupt file: %w (%w)", renameErr, err)
	}
	opts.Warn(fmt.Sprintf("usage ledger %s is corrupt (%v): it was renamed to %s, and a new one is started", path, err, quarantined))
	return tryFile(path, opts.LockTimeout, load)
}

// quarantine renames the file to an unused name, and returns that name.
func quarantine(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	for i := 0; ; i++ {
		name := base
		if i > 0 {
			name = fmt.Sprintf("%s-%d", base, i)
		}
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		return name, os.Rename(path, name)
	}
}

// tryFile opens the file at path. The error is a corruption if it is caused by the
// file itself, and not by the disk, the permissions or another process.
func tryFile(path string, timeout time.Duration, load func(*bbolt.DB) error) (_ *bbolt.DB, err error) {
	var file *os.File
	var db *bbolt.DB
	defer func() {
		if err == nil {
			return
		}
		if db != nil {
			_ = db.Close()
		} else if file != nil {
			_ = file.Close() // bbolt panicked, or closed it itself
		}
	}()
	err = guarded(func() (err error) {
		db, err = bbolt.Open(path, 0o600, &bbolt.Options{
			Timeout:      timeout,
			FreelistType: bbolt.FreelistMapType,
			OpenFile: func(name string, flag int, mode os.FileMode) (*os.File, error) {
				f, err := os.OpenFile(name, flag, mode)
				file = f
				return f, err
			},
		})
		return err
	})
	if err != nil {
		return nil, classify(err)
	}
	if err := guarded(func() error { return prepare(db) }); err != nil {
		return nil, classify(err)
	}
	if err := guarded(func() error { return load(db) }); err != nil {
		return nil, classify(err)
	}
	return db, nil
}

// errCrashed is returned by guarded after a panic.
var errCrashed = errors.New("the file does not match its index")

// guarded calls f, which reads the file, and turns a panic into an error. bbolt
// trusts its pages: a corrupt one makes it panic, or touch memory beyond the end
// of the file, and that must not end the process.
func guarded(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errCrashed, p)
		}
	}()
	return f()
}

func classify(err error) error {
	var system *os.PathError
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return ErrLocked
	case errors.Is(err, errForeign), errors.Is(err, errNewer), errors.As(err, &system), isSystem(err):
		return err
	}
	return corruption{err}
}

// isSystem reports whether err is an error of the operating system.
func isSystem(err error) bool {
	var errno interface{ Temporary() bool } // syscall.Errno implements it on every system
	return errors.As(err, &errno)
}

var (
	errForeign = errors.New("the file is a bbolt database, but not a usage ledger")
	errNewer   = errors.New("the file was written by a newer version")
)

// prepare creates the buckets of a new file. It refuses a file with other
// content.
func prepare(db *bbolt.DB) error {
	empty := false
	err := db.View(func(tx *bbolt.Tx) error {
		first, _ := tx.Cursor().First()
		meta := tx.Bucket(bucketMeta)
		switch {
		case first == nil:
			empty = true
			return nil
		case meta == nil && tx.Bucket(bucketNames) == nil:
			return errForeign
		case meta == nil || meta.Get(keyFormat) == nil:
			return errors.New("its format is missing")
		}
		format, err := readNumber(meta, keyFormat)
		if err == nil && format > fileFormat {
			return errNewer
		}
		return err
	})
	if err != nil || !empty {
		return err
	}
	return db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketMeta, bucketNames, levelBucket(rollup.Minutes), levelBucket(rollup.Hours), levelBucket(rollup.Days)} {
			if _, err := tx.CreateBucket(name); err != nil {
				return fmt.Errorf("creating a new file: %w", err)
			}
		}
		return writeNumber(tx.Bucket(bucketMeta), keyFormat, fileFormat)
	})
}

// loadInto reads the state of a rollup and checks every block, so that corruption
// is detected now, while the file can be quarantined, and not by a query. Blocks
// stay in the file: queries read them there.
func loadInto(r *rollup.Rollup, db *bbolt.DB) error {
	if err := readAhead(db.Path()); err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		state, err := loadState(tx)
		if err != nil {
			return err
		}
		r.Restore(state)
		for level := range rollup.NumLevels {
			bucket := txBlocks{tx}.level(level)
			if bucket == nil {
				return fmt.Errorf("%ss are missing", level)
			}
			err := bucket.ForEach(func(k, v []byte) error {
				_, err := unseal(k, v)
				return err
			})
			if err != nil {
				return fmt.Errorf("%ss: %w", level, err)
			}
		}
		return checkPages(tx)
	})
}

// checkPages checks what the reads above don't cover: bbolt's list of the pages in
// use, without which writing would always fail. It must be called after everything
// has been read, since bbolt checks in its own goroutine, where a fault would not
// be caught.
func checkPages(tx *bbolt.Tx) (first error) {
	for err := range tx.Check() { // to the end, or the goroutine leaks
		if first == nil {
			first = err
		}
	}
	return first
}

// readAhead reads the file from end to end, which loads it into the system's cache
// in one pass: bbolt itself asks the system not to read ahead, and reading page by
// page takes many times as long.
func readAhead(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(io.Discard, file)
	return err
}
