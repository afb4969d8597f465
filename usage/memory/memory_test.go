package memory_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/memory"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLedger(t *testing.T) {
	usagetest.Subject{
		Open: func(_ testing.TB, _ string, now func() time.Time) usage.Ledger {
			return memory.NewWithClock(0, now)
		},
		Settle: func(t testing.TB, l usage.Ledger) {
			if err := l.(*memory.Ledger).Merge(); err != nil {
				t.Errorf("%v", err)
			}
		},
	}.Run(t)
}

func open() *memory.Ledger {
	return memory.NewWithClock(0, func() time.Time { return usagetest.Epoch })
}

// TestRecordAllocatesNothing covers a series that has a sample in its minute.
func TestRecordAllocatesNothing(t *testing.T) {
	l, r := open(), usagetest.SeriesRecord(0)
	ids := make([]string, 2001)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	i := 0
	allocs := testing.AllocsPerRun(2000, func() {
		r.ID = ids[i]
		i++
		if err := l.Record(context.Background(), &r); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a record, want none", allocs)
	}
}

func BenchmarkRecord(b *testing.B) {
	ids := make([]string, 1<<17) // twice the most that recent holds
	for i := range ids {
		ids[i] = "req_" + strconv.Itoa(i)
	}
	for _, series := range []int{1, usagetest.Series} {
		b.Run(fmt.Sprint("series=", series), func(b *testing.B) {
			records := make([]usage.Record, series)
			for i := range records {
				records[i] = usagetest.SeriesRecord(i)
			}
			l := open()
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r := &records[i%series]
				r.ID = ids[i%len(ids)]
				if err := l.Record(context.Background(), r); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// BenchmarkDayOfHours queries 24 hours in which each of 1,000 keys used each of 20
// models. A month of them is in package boltdb.
func BenchmarkDayOfHours(b *testing.B) {
	l := open()
	for hour := range 24 {
		for i := range usagetest.Series {
			r := usagetest.SeriesRecord(i)
			r.ID, r.Start = fmt.Sprint(hour, "-", i), r.Start.Add(-time.Duration(hour)*time.Hour)
			if err := l.Record(context.Background(), &r); err != nil {
				b.Fatal(err)
			}
		}
	}
	usagetest.BenchmarkHours(b, l, usagetest.Epoch.Add(-23*time.Hour), usagetest.Epoch.Add(time.Second))
}
