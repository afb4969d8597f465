package usage

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func BenchmarkRecord(b *testing.B) {
	ids := make([]string, 1<<17) // twice what is remembered
	for i := range ids {
		ids[i] = "req_" + strconv.Itoa(i)
	}
	for _, tuples := range []int{1, 20_000} {
		b.Run(fmt.Sprint("tuples=", tuples), func(b *testing.B) {
			records := make([]Record, tuples)
			for i := range records {
				records[i] = benchRecord(i)
			}
			m := NewMemoryWithClock(0, func() time.Time { return testNow })
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r := &records[i%tuples]
				r.ID = ids[i%len(ids)]
				if err := m.Record(context.Background(), r); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}

// TestRecordAllocatesNothing is for a tuple that is known in its minute.
func TestRecordAllocatesNothing(t *testing.T) {
	m := NewMemoryWithClock(0, func() time.Time { return testNow })
	r := benchRecord(0)
	ids := make([]string, 2001)
	for i := range ids {
		ids[i] = strconv.Itoa(i)
	}
	i := 0
	allocs := testing.AllocsPerRun(2000, func() {
		r.ID = ids[i]
		i++
		if err := m.Record(context.Background(), &r); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations a record, want none", allocs)
	}
}

// benchRecord is one of 20,000 tuples: 1,000 keys of 20 models each.
func benchRecord(i int) Record {
	return Record{
		ID: "1", Start: testNow, Key: fmt.Sprint("key-", i/20), Team: fmt.Sprint("team-", i/400), Model: fmt.Sprint("vendor/model-", i%20),
		Backend: fmt.Sprint("backend-", i%20%3), Endpoint: "chat", Tokens: wire.Tokens{Input: 1500 + int64(i), CacheRead: 800, Output: 300},
		CostNano: 5_000_000 + int64(i), Priced: true, Outcome: OK,
	}
}

// BenchmarkMonthOfHours asks for all pages of 30 days of hours in which each
// of 1,000 keys used each of 20 models: 14.4 million cells.
func BenchmarkMonthOfHours(b *testing.B) {
	const month = 30 * 24
	now := func() time.Time { return testNow }
	end := floor(testNow.Unix(), 86400)
	start := end - month*3600
	fill := func(sums *rollup, to blocks) (names []nameRow, err error) {
		var all []Record
		for i := range 20_000 {
			r := benchRecord(i)
			e := sums.tuples.find(&r)
			e.lastDay = end
			names = append(names, nameRow{e.tuple, e.id, e.lastDay})
			all = append(all, r)
		}
		for hour := range int64(month) {
			var c chunk
			for i := range all {
				v := all[i].counters()
				v[countRequests] += hour % 7
				c.add(uint8(i), &v)
				if i%chunkSize == chunkSize-1 || i == len(all)-1 {
					if err := to.put(span{hours, start + hour*3600}, uint32(i/chunkSize), c.block()); err != nil {
						return nil, err
					}
					c = chunk{}
				}
			}
		}
		return names, nil
	}

	m := NewMemoryWithClock(0, now)
	if _, err := fill(m.sums, m); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "usage.db")
	d, err := OpenBolt(path, BoltOptions{Now: now, FlushInterval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	err = d.update(func(tx *bbolt.Tx) error {
		names, err := fill(d.sums, txBlocks{tx})
		if err != nil {
			return err
		}
		return writeBatch(tx, &batch{number: 1, names: names})
	}, func() {})
	if err != nil {
		b.Fatal(err)
	}
	if err := d.Close(); err != nil {
		b.Fatal(err)
	}
	b.Run("ledger=bolt/open", func(b *testing.B) {
		for b.Loop() {
			d, err = OpenBolt(path, BoltOptions{Now: now, FlushInterval: time.Hour})
			if err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			d.Close()
			b.StartTimer()
		}
	})
	if d, err = OpenBolt(path, BoltOptions{Now: now, FlushInterval: time.Hour}); err != nil {
		b.Fatal(err)
	}
	defer d.Close()

	for name, ledger := range map[string]Ledger{"memory": m, "bolt": d} {
		for _, by := range [][]Dimension{nil, {ByModel}, {ByKey}, {ByKey, ByModel}} {
			for _, whole := range []bool{true, false} {
				if whole && len(by) == 2 {
					continue
				}
				what := "page"
				if whole {
					what = "month"
				}
				b.Run(fmt.Sprintf("ledger=%s/by=%v/%s", name, by, what), func(b *testing.B) {
					for b.Loop() {
						q := Query{Start: time.Unix(start, 0), End: time.Unix(end, 0), Width: Hour, GroupBy: by}
						results := 0
						for {
							page, err := ledger.Query(context.Background(), q)
							if err != nil {
								b.Fatal(err)
							}
							for _, bucket := range page.Data {
								results += len(bucket.Results)
							}
							if err := page.WriteJSON(io.Discard); err != nil {
								b.Fatal(err)
							}
							if !page.HasMore || !whole {
								break
							}
							c, _ := parseCursor(*page.NextPage)
							q.Start = time.Unix(c.start, 0)
						}
						b.ReportMetric(float64(results), "results")
					}
				})
			}
		}
	}
	b.Run("ledger=bolt/totals", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Totals(context.Background(), "key-7", time.Unix(start, 0)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
