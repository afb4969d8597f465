//go:build unix

package boltdb

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

// BenchmarkRecord measures the record of a request, including its write to the
// journal. CPU is that of the whole process, which also syncs and writes sums.
func BenchmarkRecord(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			d, err := Open(filepath.Join(b.TempDir(), "usage.db"), Options{Now: atEpoch})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			var number atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(callers)
			cpu := processTime(b)
			b.ResetTimer()
			record := func(id []byte, r *usage.Record) []byte {
				id = strconv.AppendInt(append(id[:0], "req_00000000000000000000"...), number.Add(1), 10)
				r.ID = string(id) // an allocation that a request has anyway
				if err := d.Record(context.Background(), r); err != nil {
					b.Error(err)
				}
				return id
			}
			if callers == 1 {
				r, id := usagetest.SeriesRecord(0), make([]byte, 0, 64)
				for b.Loop() {
					id = record(id, &r)
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					r, id := usagetest.SeriesRecord(0), make([]byte, 0, 64)
					for pb.Next() {
						id = record(id, &r)
					}
				})
			}
			b.ReportMetric(float64(processTime(b)-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processTime returns the CPU time that the process has used.
func processTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestRecordAllocatesNothing covers a series that has a sample in its minute.
func TestRecordAllocatesNothing(t *testing.T) {
	d, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atEpoch)
	r := usagetest.SeriesRecord(0)
	ids := make([]string, 2001)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	i := 0
	allocs := testing.AllocsPerRun(2000, func() {
		r.ID = ids[i]
		i++
		if err := d.Record(context.Background(), &r); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0.1 { // the journal's buffer grows at first
		t.Errorf("%v allocations a record, want none", allocs)
	}
}

// BenchmarkOpenAfterKill measures a start that has to replay one segment of a
// journal plus ten seconds at 10,000 requests a second. BenchmarkMonthOfHours
// measures the loading of a file of sums, with 57 million records.
func BenchmarkOpenAfterKill(b *testing.B) {
	path := filepath.Join(b.TempDir(), "usage.db")
	d, _ := openTest(b, path, atEpoch)
	for i := range 200_000 {
		r := usagetest.SeriesRecord(i % 1000)
		r.ID = fmt.Sprint("req_000000000000000000000000", i)
		if err := d.Record(context.Background(), &r); err != nil {
			b.Fatal(err)
		}
		if i == 100_000 {
			if err := d.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
	for b.Loop() {
		b.StopTimer()
		path := image(b, path)
		b.StartTimer()
		again, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Hour})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if n := requests(b, again); n != 200_000 {
			b.Fatalf("%d requests", n)
		}
		again.Close()
		b.StartTimer()
	}
}

// BenchmarkMonthOfHours queries 30 days of hours in which each of 1,000 keys used
// each of 20 models: 14.4 million samples.
func BenchmarkMonthOfHours(b *testing.B) {
	const hours = 30 * 24
	path := filepath.Join(b.TempDir(), "usage.db")
	l, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	for i := range usagetest.Series {
		r := usagetest.SeriesRecord(i)
		r.ID = fmt.Sprint(i)
		if err := l.Record(context.Background(), &r); err != nil {
			b.Fatal(err)
		}
	}
	batch := l.sums.Take()
	err = l.update(func(tx *bbolt.Tx) error {
		for hour := 1; hour < hours; hour++ {
			if err := batch.Merge(earlierHour{txBlocks{tx}, int64(hour) * 3600}); err != nil {
				return err
			}
		}
		return nil
	}, func() {})
	if err := errors.Join(err, l.Flush(), l.Close()); err != nil {
		b.Fatal(err)
	}
	open := func() *Ledger {
		if l, err = Open(path, Options{Now: atEpoch, FlushInterval: time.Hour}); err != nil {
			b.Fatal(err)
		}
		return l
	}
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			l := open()
			b.StopTimer()
			l.Close()
			b.StartTimer()
		}
	})
	l = open()
	defer l.Close()
	usagetest.BenchmarkHours(b, l, usagetest.Epoch.Add(-(hours-1)*time.Hour), usagetest.Epoch.Add(time.Second))
	b.Run("totals", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.Totals(context.Background(), "key-7", usagetest.Epoch.AddDate(0, 0, -30)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// earlierHour stores the hours of a batch at an earlier time, and drops the
// rest.
type earlierHour struct {
	txBlocks
	seconds int64
}

func (e earlierHour) Get(b rollup.Bucket, chunk uint32) ([]byte, error) { return nil, nil }

func (e earlierHour) Put(b rollup.Bucket, chunk uint32, block []byte) error {
	if b.Level != rollup.Hours {
		return nil
	}
	b.Start -= e.seconds
	return e.txBlocks.Put(b, chunk, block)
}
