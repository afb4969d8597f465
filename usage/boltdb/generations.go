package boltdb

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

// loadGenerations reads the generations, oldest first.
func loadGenerations(tx *bbolt.Tx) (all []rollup.Generation, err error) {
	bucket := tx.Bucket(bucketGenerations)
	if bucket == nil {
		return nil, nil
	}
	err = bucket.ForEach(func(k, v []byte) error {
		row, err := unseal(k, v)
		if err != nil || len(k) != 4 || len(row) < 8 {
			return fmt.Errorf("generations: %w", errCorrupt)
		}
		all = append(all, rollup.Generation{ID: string(row[8:]), First: binary.BigEndian.Uint32(k), From: binary.BigEndian.Uint64(row)})
		return nil
	})
	return all, err
}

// writeGenerations writes generations that have begun.
func writeGenerations(tx *bbolt.Tx, generations []rollup.Generation) error {
	if len(generations) == 0 {
		return nil
	}
	bucket, err := tx.CreateBucketIfNotExists(bucketGenerations)
	if err != nil {
		return fmt.Errorf("writing a generation: %w", err)
	}
	for _, g := range generations {
		key := binary.BigEndian.AppendUint32(nil, g.First)
		row := append(binary.BigEndian.AppendUint64(nil, g.From), g.ID...)
		if err := bucket.Put(key, seal(key, row)); err != nil {
			return fmt.Errorf("writing a generation: %w", err)
		}
	}
	return nil
}

// deleteGenerations deletes the generations before the oldest that is kept.
func deleteGenerations(tx *bbolt.Tx, oldest uint32) error {
	bucket := tx.Bucket(bucketGenerations)
	if bucket == nil {
		return nil
	}
	for k, _ := bucket.Cursor().First(); k != nil && binary.BigEndian.Uint32(k) < oldest; k, _ = bucket.Cursor().First() {
		if err := bucket.Delete(k); err != nil {
			return fmt.Errorf("deleting a generation: %w", err)
		}
	}
	return nil
}
