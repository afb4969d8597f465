package boltdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

// The buckets of the file. Blocks are in one bucket for each level, under the
// start of their time bucket (8 bytes, big endian) and their chunk (4): a range
// of time is a range of the file.
var (
	bucketMeta        = []byte("meta")
	bucketNames       = []byte("names") // series by id (4 bytes, big endian)
	bucketGenerations = []byte("runs")  // by the first id of their series (4 bytes, big endian); missing in ledgers that were never shared

	keyFormat = []byte("format") // fileFormat
	keyBatch  = []byte("batch")  // number of the last written batch
	keyNextID = []byte("next")   // lowest series id that is still unused
	keyOffset = []byte("entry")  // committed offset: the offset of the last journal entry that the sums count
)

// fileFormat is the version of the layout.
const fileFormat = 1

// levelBucket returns the name of the bucket of a level's blocks.
func levelBucket(l rollup.Level) []byte { return []byte(l.String()) }

// deleteStep is how many blocks one transaction deletes at most.
const deleteStep = 10_000

// txBlocks implements rollup.Blocks and rollup.Source on a transaction.
type txBlocks struct{ tx *bbolt.Tx }

func (t txBlocks) level(l rollup.Level) *bbolt.Bucket { return t.tx.Bucket(levelBucket(l)) }

func (t txBlocks) Get(b rollup.Bucket, chunk uint32) ([]byte, error) {
	key := BlockKey(b.Start, chunk)
	sealed := t.level(b.Level).Get(key)
	if sealed == nil {
		return nil, nil
	}
	return unseal(key, sealed)
}

func (t txBlocks) Put(b rollup.Bucket, chunk uint32, block []byte) error {
	key := BlockKey(b.Start, chunk)
	return t.level(b.Level).Put(key, seal(key, block))
}

func (t txBlocks) Scan(over rollup.Range, wanted func(uint32) bool, f func(uint32, []byte)) error {
	end := BlockKey(over.To, 0)
	c := t.level(over.Level).Cursor()
	for key, sealed := c.Seek(BlockKey(over.From, 0)); key != nil && bytes.Compare(key, end) < 0; key, sealed = c.Next() {
		_, chunk, ok := ParseBlockKey(key)
		if !ok {
			return errCorrupt
		}
		if !wanted(chunk) {
			continue
		}
		block, err := unseal(key, sealed)
		if err != nil {
			return err
		}
		f(chunk, block)
	}
	return nil
}

// BlockKey returns the key of a block in its level's bucket.
func BlockKey(start int64, chunk uint32) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 12), uint64(start))
	return binary.BigEndian.AppendUint32(b, chunk)
}

// ParseBlockKey parses the key of a block. ok is false for any other key.
func ParseBlockKey(key []byte) (start int64, chunk uint32, ok bool) {
	if len(key) != 12 {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(key)), binary.BigEndian.Uint32(key[8:]), true
}

// checksumSize is the size of the CRC-32C of key and value at the end of every
// value.
const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCorrupt = errors.New("a checksum is wrong")

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func seal(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(value, checksum(key, value))
}

func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - checksumSize
	if n <= 0 || binary.BigEndian.Uint32(sealed[n:]) != checksum(key, sealed[:n]) {
		return nil, errCorrupt
	}
	return sealed[:n], nil
}

// writeBatch adds a batch to the file, once: a commit that failed may have
// reached the disk nevertheless, and then the file has the batch's number.
func writeBatch(tx *bbolt.Tx, b *rollup.Batch) error {
	meta, names := tx.Bucket(bucketMeta), tx.Bucket(bucketNames)
	last, err := readNumber(meta, keyBatch)
	if err != nil || last >= b.Number {
		return err
	}
	if err := b.Merge(txBlocks{tx}); err != nil {
		return err
	}
	next, err := readNumber(meta, keyNextID)
	if err != nil {
		return err
	}
	for i := range b.Series {
		row := &b.Series[i]
		key := binary.BigEndian.AppendUint32(nil, row.ID)
		if err := names.Put(key, seal(key, encodeSeries(row))); err != nil {
			return fmt.Errorf("writing a series: %w", err)
		}
		next = max(next, uint64(row.ID)+1)
	}
	return errors.Join(writeGenerations(tx, b.Generations), writeNumber(meta, keyNextID, next),
		writeNumber(meta, keyBatch, b.Number), writeNumber(meta, keyOffset, b.Offset))
}

// loadState reads everything but the blocks.
func loadState(tx *bbolt.Tx) (s rollup.State, err error) {
	meta, names := tx.Bucket(bucketMeta), tx.Bucket(bucketNames)
	if names == nil {
		return s, errors.New("series are missing")
	}
	if s.Generations, err = loadGenerations(tx); err != nil {
		return s, err
	}
	err = names.ForEach(func(k, v []byte) error {
		encoded, err := unseal(k, v)
		if err != nil || len(k) != 4 {
			return fmt.Errorf("series: %w", errCorrupt)
		}
		row, err := DecodeSeries(encoded)
		if err != nil {
			return err
		}
		row.ID = binary.BigEndian.Uint32(k)
		s.Series = append(s.Series, row)
		return nil
	})
	if err != nil {
		return s, err
	}
	next, err := readNumber(meta, keyNextID)
	if err != nil {
		return s, err
	}
	s.NextID = uint32(next)
	if s.Batch, err = readNumber(meta, keyBatch); err != nil {
		return s, err
	}
	s.Offset, err = readNumber(meta, keyOffset)
	return s, err
}

// deleteExpired deletes expired blocks and series, at most deleteStep blocks of
// them, and reports whether blocks are left.
func deleteExpired(tx *bbolt.Tx, expired rollup.Expired) (more bool, err error) {
	left := deleteStep
	for l := range rollup.NumLevels {
		bucket := txBlocks{tx}.level(l)
		end := BlockKey(expired.Oldest[l], 0)
		var keys [][]byte // collected first, because deleting moves the cursor
		c := bucket.Cursor()
		for k, _ := c.First(); k != nil && bytes.Compare(k, end) < 0 && len(keys) < left; k, _ = c.Next() {
			keys = append(keys, k)
		}
		for _, k := range keys {
			if err := bucket.Delete(k); err != nil {
				return false, fmt.Errorf("deleting expired sums: %w", err)
			}
		}
		left -= len(keys)
	}
	for _, id := range expired.Series {
		if err := tx.Bucket(bucketNames).Delete(binary.BigEndian.AppendUint32(nil, id)); err != nil {
			return false, fmt.Errorf("deleting a series: %w", err)
		}
	}
	return left == 0, nil
}

// readNumber returns the number under key, or 0 if there is none.
func readNumber(b *bbolt.Bucket, key []byte) (uint64, error) {
	sealed := b.Get(key)
	if sealed == nil {
		return 0, nil
	}
	v, err := unseal(key, sealed)
	if err != nil || len(v) != 8 {
		return 0, fmt.Errorf("reading %s: %w", key, errCorrupt)
	}
	return binary.BigEndian.Uint64(v), nil
}

func writeNumber(b *bbolt.Bucket, key []byte, n uint64) error {
	if err := b.Put(key, seal(key, binary.BigEndian.AppendUint64(nil, n))); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}

// encodeSeries returns the last day of a series, and its labels, each prefixed
// with its length.
func encodeSeries(row *rollup.SeriesRow) []byte {
	b := binary.AppendUvarint(nil, uint64(row.LastDay))
	for _, label := range [...]string{row.Key, row.Team, row.Model, row.Backend, row.Endpoint} {
		b = appendString(b, label)
	}
	return b
}

// DecodeSeries parses a series as it is stored in the file, without its id.
func DecodeSeries(b []byte) (row rollup.SeriesRow, err error) {
	d := decoder{b: b}
	row.LastDay = int64(d.unsigned())
	for _, label := range [...]*string{&row.Key, &row.Team, &row.Model, &row.Backend, &row.Endpoint} {
		*label = d.string()
	}
	if d.failed || len(d.b) > 0 {
		return row, errCorrupt
	}
	return row, nil
}
