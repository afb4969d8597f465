package registry

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Bolt is a storage in a file, which only one process at a time can open. Each
// change is on the disk before Update returns.
type Bolt struct{ db *bbolt.DB }

// lockWait is how long OpenBolt waits for another process to close the file.
const lockWait = time.Second

var (
	boltMeta    = []byte("meta")
	boltChanges = []byte("changes") // version, big endian → kind, 0, id
	epochName   = []byte("epoch")
)

// OpenBolt opens the file at path, or creates it and its directory. It fails
// with [ErrUnavailable] if another process has the file open, or if it is not
// a valid file.
func OpenBolt(path string) (*Bolt, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("%w: creating its directory: %w", ErrUnavailable, err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("%w: another process has %s open", ErrUnavailable, path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: opening %s: %w", ErrUnavailable, path, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{boltMeta, boltChanges, []byte(KindKey), []byte(KindTeam)} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(boltMeta)
		if meta.Get(epochName) != nil {
			return nil
		}
		return meta.Put(epochName, []byte(rand.Text()))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: preparing %s: %w", ErrUnavailable, path, err), db.Close())
	}
	return &Bolt{db}, nil
}

// Changes implements [Storage].
func (b *Bolt) Changes(_ context.Context, since Revision) (changes Changes, err error) {
	err = b.db.View(func(tx *bbolt.Tx) error {
		log := tx.Bucket(boltChanges)
		changes.Revision = Revision{string(tx.Bucket(boltMeta).Get(epochName)), log.Sequence()}
		if changes.Revision == since {
			return nil
		}
		if since.Epoch != changes.Revision.Epoch {
			changes.Complete = true
			for _, kind := range []Kind{KindKey, KindTeam} {
				err := tx.Bucket([]byte(kind)).ForEach(func(id, value []byte) error {
					changes.Entries = append(changes.Entries, Entry{kind, string(id), bytes.Clone(value)})
					return nil
				})
				if err != nil {
					return err
				}
			}
			return nil
		}
		cursor := log.Cursor()
		for at, name := cursor.Seek(version(since.Version + 1)); at != nil; at, name = cursor.Next() {
			kind, id, _ := bytes.Cut(name, []byte{0})
			value := bytes.Clone(tx.Bucket(kind).Get(id))
			changes.Entries = append(changes.Entries, Entry{Kind(kind), string(id), value})
		}
		return nil
	})
	if err != nil {
		return Changes{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return changes, nil
}

// Update implements [Storage].
func (b *Bolt) Update(_ context.Context, kind Kind, id string, change func([]byte) ([]byte, error)) error {
	var refused error
	err := b.db.Update(func(tx *bbolt.Tx) error {
		entries := tx.Bucket([]byte(kind))
		var value []byte
		value, refused = change(bytes.Clone(entries.Get([]byte(id))))
		if refused != nil {
			return refused
		}
		var err error
		if value == nil {
			err = entries.Delete([]byte(id))
		} else {
			err = entries.Put([]byte(id), value)
		}
		if err != nil {
			return err
		}
		log := tx.Bucket(boltChanges)
		next, err := log.NextSequence()
		if err != nil {
			return err
		}
		if next > changesKept {
			if err := log.Delete(version(next - changesKept)); err != nil {
				return err
			}
		}
		return log.Put(version(next), append(append([]byte(kind), 0), id...))
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// changesKept is the length of the list of changes. Only this process reads
// it, after each change, and is never further behind.
const changesKept = 1000

// Close implements [Storage].
func (b *Bolt) Close() error { return b.db.Close() }

// version returns n encoded so that keys sort by it.
func version(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
