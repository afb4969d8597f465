package usage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// damage is an error of a file that is not what a ledger wrote.
type damage struct{ error }

func (d damage) Unwrap() error { return d.error }

// openFile opens the file at path and loads it. A damaged one is set aside, and
// load is called again with a new one.
func openFile(path string, opts BoltOptions, load func(*bbolt.DB) error) (*bbolt.DB, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making its directory: %w", err)
	}
	db, err := tryFile(path, opts.LockTimeout, load)
	if found := new(damage); !errors.As(err, found) {
		return db, err
	}
	aside, asideErr := setAside(path, opts.Now())
	if asideErr != nil {
		return nil, fmt.Errorf("setting a damaged file aside: %w (%w)", asideErr, err)
	}
	opts.Warn(fmt.Sprintf("usage ledger %s is damaged (%v): it was set aside as %s, and a new one is started", path, err, aside))
	return tryFile(path, opts.LockTimeout, load)
}

// setAside gives the file a name that is not in use, and returns it.
func setAside(path string, now time.Time) (string, error) {
	base := path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	for i := 0; ; i++ {
		aside := base
		if i > 0 {
			aside = fmt.Sprintf("%s-%d", base, i)
		}
		if _, err := os.Lstat(aside); err == nil {
			continue
		}
		return aside, os.Rename(path, aside)
	}
}

// tryFile opens the file at path. The error is a damage where the file is to
// blame, and not the disk, the permissions or another process.
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

// errCrashed is what guarded makes of a panic.
var errCrashed = errors.New("the file is not what its index says")

// guarded runs what reads the file. bbolt trusts its pages: a damaged one makes
// it panic, or touch memory that the file does not reach, and a ledger must not
// take the gate down with it.
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
	return damage{err}
}

// isSystem tells whether the operating system refused something.
func isSystem(err error) bool {
	var number interface{ Temporary() bool } // what syscall.Errno is on every system
	return errors.As(err, &number)
}

var (
	errForeign = errors.New("the file is a bbolt database, but not a usage ledger")
	errNewer   = errors.New("the file was written by a newer version")
)

// prepare makes the buckets of a new file, and refuses one that holds something
// else.
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
		for _, name := range [][]byte{bucketMeta, bucketNames, []byte(levelNames[minutes]), []byte(levelNames[hours]), []byte(levelNames[days])} {
			if _, err := tx.CreateBucket(name); err != nil {
				return fmt.Errorf("making a new file: %w", err)
			}
		}
		return writeNumber(tx.Bucket(bucketMeta), keyFormat, fileFormat)
	})
}

// loadInto reads the tuples and checks every block, so that damage is found now,
// when the file can be set aside, and not by a query. Blocks stay in the file:
// queries read them there.
func loadInto(r *rollup, db *bbolt.DB) error {
	if err := readAhead(db.Path()); err != nil {
		return err
	}
	return db.View(func(tx *bbolt.Tx) error {
		meta, tuples := tx.Bucket(bucketMeta), tx.Bucket(bucketNames)
		if tuples == nil {
			return errors.New("tuples are missing")
		}
		var err error
		if r.runs, err = loadRuns(tx); err != nil {
			return err
		}
		var current uint32 // ids from here on are of the run that may go on
		if n := len(r.runs); n > 0 {
			current = r.runs[n-1].first
		}
		err = tuples.ForEach(func(k, v []byte) error {
			encoded, err := unseal(k, v)
			if err != nil || len(k) != 4 {
				return fmt.Errorf("tuples: %w", errDamaged)
			}
			var row nameRow
			row.decode(encoded)
			id, put := binary.BigEndian.Uint32(k), r.tuples.put
			if id < current {
				put = r.tuples.putOld
			}
			put(id, row.tuple).lastDay = row.lastDay
			return nil
		})
		if err != nil {
			return err
		}
		next, err := readNumber(meta, keyNextID)
		if err != nil {
			return err
		}
		r.tuples.reserve(uint32(next))
		last, err := readNumber(meta, keyBatch)
		if err != nil {
			return err
		}
		r.begin(last + 1)
		if r.entry, err = readNumber(meta, keyEntry); err != nil {
			return err
		}
		r.summed = r.entry
		for l := range numLevels {
			bucket := txBlocks{tx}.level(l)
			if bucket == nil {
				return fmt.Errorf("%ss are missing", levelNames[l])
			}
			err := bucket.ForEach(func(k, v []byte) error {
				_, err := unseal(k, v)
				return err
			})
			if err != nil {
				return fmt.Errorf("%ss: %w", levelNames[l], err)
			}
		}
		return checkPages(tx)
	})
}

// checkPages checks what reading does not come upon: that bbolt can tell which
// pages are in use, or writing would fail for ever. It must be called when all
// has been read, since bbolt does it in a goroutine of its own, where a fault
// would not be caught.
func checkPages(tx *bbolt.Tx) (first error) {
	for err := range tx.Check() { // to the end, or the goroutine stays
		if first == nil {
			first = err
		}
	}
	return first
}

// readAhead reads the file from end to end, which brings it into the system's
// cache in one sweep: bbolt itself asks the system not to read ahead, and page
// by page it would take many times as long.
func readAhead(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(io.Discard, file)
	return err
}
