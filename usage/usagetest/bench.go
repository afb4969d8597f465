package usagetest

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
)

// Series is the number of series of the records that SeriesRecord returns.
const Series = 20_000

// SeriesRecord returns a record at Epoch of one of Series series: 1,000 keys with
// 20 models each.
func SeriesRecord(i int) usage.Record {
	return usage.Record{
		ID: "1", Start: Epoch, Key: fmt.Sprint("key-", i/20), Team: fmt.Sprint("team-", i/400), Model: fmt.Sprint("vendor/model-", i%20),
		Backend: fmt.Sprint("backend-", i%20%3), Endpoint: "chat", Tokens: wire.Tokens{Input: 1500 + int64(i), CacheRead: 800, Output: 300},
		CostNano: 5_000_000 + int64(i), Priced: true, Outcome: usage.OK,
	}
}

// BenchmarkHours queries a ledger for the hours of [start, end): a page of them,
// and all pages.
func BenchmarkHours(b *testing.B, ledger usage.Ledger, start, end time.Time) {
	for _, by := range [][]usage.Dimension{nil, {usage.ByModel}, {usage.ByKey}, {usage.ByKey, usage.ByModel}} {
		for _, all := range []bool{true, false} {
			if all && len(by) == 2 {
				continue
			}
			what := "page"
			if all {
				what = "all"
			}
			b.Run(fmt.Sprintf("by=%v/%s", by, what), func(b *testing.B) {
				for b.Loop() {
					results := readHours(b, ledger, usage.Query{Start: start, End: end, Width: usage.Hour, GroupBy: by}, all)
					b.ReportMetric(float64(results), "results")
				}
			})
		}
	}
}

// readHours reads one page of a query, or all, and returns the number of results.
func readHours(b *testing.B, ledger usage.Ledger, q usage.Query, all bool) (results int) {
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
		if !page.HasMore || !all {
			return results
		}
		next, err := usage.ParseQuery(url.Values{"page": {*page.NextPage}, "bucket_width": {"1h"}}, Epoch)
		if err != nil {
			b.Fatal(err)
		}
		q.Start = next.Start
	}
}
