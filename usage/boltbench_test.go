//go:build unix

package usage

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// BenchmarkBoltRecord is what a request's record costs, its write to the
// journal included. CPU is that of the whole process, which also syncs and
// writes sums.
func BenchmarkBoltRecord(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			d, err := OpenBolt(filepath.Join(b.TempDir(), "usage.db"), BoltOptions{Now: atTestNow})
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			var number atomic.Int64
			b.ReportAllocs()
			b.SetParallelism(callers)
			cpu := processTime(b)
			b.ResetTimer()
			record := func(id []byte, r *Record) []byte {
				id = strconv.AppendInt(append(id[:0], "req_00000000000000000000"...), number.Add(1), 10)
				r.ID = string(id) // an allocation that a request has anyway
				if err := d.Record(context.Background(), r); err != nil {
					b.Error(err)
				}
				return id
			}
			if callers == 1 {
				r, id := benchRecord(0), make([]byte, 0, 64)
				for b.Loop() {
					id = record(id, &r)
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					r, id := benchRecord(0), make([]byte, 0, 64)
					for pb.Next() {
						id = record(id, &r)
					}
				})
			}
			b.ReportMetric(float64(processTime(b)-cpu)/float64(b.N), "cpu-ns/op")
		})
	}
}

// processTime is the CPU time that the process has used.
func processTime(tb testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestBoltRecordAllocatesNothing is for a tuple that is known in its minute.
func TestBoltRecordAllocatesNothing(t *testing.T) {
	d, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atTestNow)
	r := benchRecord(0)
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
	if allocs > 0.1 { // the journal's memory grows at first
		t.Errorf("%v allocations a record, want none", allocs)
	}
}

// BenchmarkOpenAfterKill is a start that finds as much of a journal as one
// segment and ten seconds at 10,000 requests a second are. How long a file of
// sums takes is in BenchmarkMonthOfHours, which holds 57 million records.
func BenchmarkOpenAfterKill(b *testing.B) {
	path := filepath.Join(b.TempDir(), "usage.db")
	d, _ := openTest(b, path, atTestNow)
	for i := range 200_000 {
		r := benchRecord(i % 1000)
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
		again, err := OpenBolt(path, BoltOptions{Now: atTestNow, FlushInterval: time.Hour})
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
