package usage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"go.etcd.io/bbolt"
)

// The buckets of the file. Blocks lie in one for each level, named as in
// levelNames, under the start of their bucket of time (8 bytes, big endian) and
// their chunk (4): a range of time is a range of the file.
var (
	bucketMeta  = []byte("meta")
	bucketNames = []byte("names") // tuples by id (4 bytes, big endian)

	keyFormat = []byte("format") // fileFormat
	keyBatch  = []byte("batch")  // number of the last batch that was written
	keyNextID = []byte("next")   // first tuple id that was not given out
	keyEntry  = []byte("entry")  // last entry of the journal that the sums count
)

// fileFormat is the version of all this.
const fileFormat = 1

// deleteStep is how many blocks one transaction deletes at most.
const deleteStep = 10_000

// txBlocks are the blocks in the file, as a transaction sees them.
type txBlocks struct{ tx *bbolt.Tx }

func (t txBlocks) level(l level) *bbolt.Bucket { return t.tx.Bucket([]byte(levelNames[l])) }

func (t txBlocks) get(s span, chunk uint32) ([]byte, error) {
	key := blockKey(s.start, chunk)
	sealed := t.level(s.level).Get(key)
	if sealed == nil {
		return nil, nil
	}
	return unseal(key, sealed)
}

func (t txBlocks) put(s span, chunk uint32, block []byte) error {
	key := blockKey(s.start, chunk)
	return t.level(s.level).Put(key, seal(key, block))
}

func (t txBlocks) scan(l level, from, to int64, f func(uint32, []byte), wanted func(uint32) bool) error {
	end := blockKey(to, 0)
	c := t.level(l).Cursor()
	for key, sealed := c.Seek(blockKey(from, 0)); key != nil && bytes.Compare(key, end) < 0; key, sealed = c.Next() {
		if len(key) != len(end) {
			return errDamaged
		}
		chunk := binary.BigEndian.Uint32(key[8:])
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

func blockKey(start int64, chunk uint32) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 12), uint64(start))
	return binary.BigEndian.AppendUint32(b, chunk)
}

// Every value ends in the CRC-32C of its key and itself.
const checksumSize = 4

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errDamaged = errors.New("a checksum is wrong")

func checksum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value)
}

func seal(key, value []byte) []byte {
	return binary.BigEndian.AppendUint32(value, checksum(key, value))
}

func unseal(key, sealed []byte) ([]byte, error) {
	n := len(sealed) - checksumSize
	if n <= 0 || binary.BigEndian.Uint32(sealed[n:]) != checksum(key, sealed[:n]) {
		return nil, errDamaged
	}
	return sealed[:n], nil
}

// writeBatch adds a batch to the file, once: a commit that was told to have
// failed may have reached the disk, and then the file knows the batch's number.
func writeBatch(tx *bbolt.Tx, b *batch) error {
	meta, tuples := tx.Bucket(bucketMeta), tx.Bucket(bucketNames)
	last, err := readNumber(meta, keyBatch)
	if err != nil || last >= b.number {
		return err
	}
	if err := b.merge(txBlocks{tx}); err != nil {
		return err
	}
	next, err := readNumber(meta, keyNextID)
	if err != nil {
		return err
	}
	for i := range b.names {
		row := &b.names[i]
		key := binary.BigEndian.AppendUint32(nil, row.id)
		if err := tuples.Put(key, seal(key, row.encode())); err != nil {
			return fmt.Errorf("writing a tuple: %w", err)
		}
		next = max(next, uint64(row.id)+1)
	}
	return errors.Join(writeRuns(tx, b.runs), writeNumber(meta, keyNextID, next), writeNumber(meta, keyBatch, b.number), writeNumber(meta, keyEntry, b.through))
}

// deleteExpired deletes blocks before the oldest of each level, and tuples that
// are forgotten, and tells whether blocks are left.
func deleteExpired(tx *bbolt.Tx, oldest [numLevels]int64, forgotten []uint32) (more bool, err error) {
	left := deleteStep
	for l := range numLevels {
		bucket := txBlocks{tx}.level(l)
		end := blockKey(oldest[l], 0)
		var keys [][]byte // gathered first: a cursor is lost by deleting
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
	for _, id := range forgotten {
		if err := tx.Bucket(bucketNames).Delete(binary.BigEndian.AppendUint32(nil, id)); err != nil {
			return false, fmt.Errorf("deleting a tuple: %w", err)
		}
	}
	return left == 0, nil
}

// readNumber is 0 where there is none.
func readNumber(b *bbolt.Bucket, key []byte) (uint64, error) {
	sealed := b.Get(key)
	if sealed == nil {
		return 0, nil
	}
	v, err := unseal(key, sealed)
	if err != nil || len(v) != 8 {
		return 0, fmt.Errorf("reading %s: %w", key, errDamaged)
	}
	return binary.BigEndian.Uint64(v), nil
}

func writeNumber(b *bbolt.Bucket, key []byte, n uint64) error {
	if err := b.Put(key, seal(key, binary.BigEndian.AppendUint64(nil, n))); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}

// encode lays a tuple out: its last day, and its names with their lengths.
func (row *nameRow) encode() []byte {
	b := binary.AppendUvarint(nil, uint64(row.lastDay))
	for _, name := range [...]string{row.key, row.team, row.model, row.backend, row.endpoint} {
		b = binary.AppendUvarint(b, uint64(len(name)))
		b = append(b, name...)
	}
	return b
}

// decode reads what encode laid out; the checksum was right.
func (row *nameRow) decode(b []byte) {
	day, n := binary.Uvarint(b)
	row.lastDay = int64(day)
	b = b[n:]
	for _, name := range [...]*string{&row.key, &row.team, &row.model, &row.backend, &row.endpoint} {
		length, n := binary.Uvarint(b)
		*name = string(b[n : n+int(length)])
		b = b[n+int(length):]
	}
}
