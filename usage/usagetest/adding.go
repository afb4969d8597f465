package usagetest

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
)

// agrees compares answers with those of plain addition, for random records and
// queries.
func (s Subject) agrees(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tb := rapidTB{t, rt}
		l := s.openAt(tb, func() time.Time { return Epoch })
		defer l.Close()
		records := drawRecords(rt)
		for i, r := range records {
			record(tb, l, r)
			if i%16 == 7 {
				s.settle(tb, l)
			}
		}
		compare(rt, l, records)
	})
}

// restarts does the same with a ledger that is closed and opened again between
// records.
func (s Subject) restarts(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		l := s.Open(t, dir, func() time.Time { return Epoch })
		defer func() { l.Close() }()
		records := drawRecords(rt)
		for _, r := range records {
			record(rapidTB{t, rt}, l, r)
			if rapid.IntRange(0, 9).Draw(rt, "restart") > 0 {
				continue
			}
			if err := l.Close(); err != nil {
				rt.Fatalf("closing: %v", err)
			}
			l = s.Open(t, dir, func() time.Time { return Epoch })
		}
		compare(rt, l, records)
	})
}

// alike records with three gates. Each is closed and opened again now and then,
// and one is opened only after everything is recorded. All must answer as plain
// addition does.
func (s Subject) alike(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tb := rapidTB{t, rt}
		now := func() time.Time { return Epoch }
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		open := func(i int) usage.Ledger {
			if i == 0 {
				return s.Open(t, dir, now)
			}
			return s.Peer(t, dir, fmt.Sprint(dir, "-", i), now)
		}
		gates := []usage.Ledger{open(0), open(1), open(2)}
		defer func() {
			for _, l := range gates {
				l.Close()
			}
		}()
		records := drawRecords(rt)
		for _, r := range records {
			i := rapid.IntRange(0, 2).Draw(rt, "gate")
			record(tb, gates[i], r)
			switch rapid.IntRange(0, 9).Draw(rt, "then") {
			case 0:
				s.settle(tb, gates[i])
			case 1:
				if err := gates[i].Close(); err != nil {
					rt.Fatalf("closing: %v", err)
				}
				gates[i] = open(i)
			}
		}
		for _, l := range gates {
			s.settle(tb, l)
		}
		gates = append(gates, open(3))
		for _, l := range gates {
			compare(rt, l, records)
		}
	})
}

// rapidTB fails through rapid, and cleans up with the test.
type rapidTB struct {
	*testing.T
	rt *rapid.T
}

func (t rapidTB) Fatalf(format string, args ...any) { t.rt.Fatalf(format, args...) }
func (t rapidTB) Errorf(format string, args ...any) { t.rt.Errorf(format, args...) }

func drawRecords(rt *rapid.T) []*usage.Record {
	pick := func(name string, from ...string) string { return rapid.SampledFrom(from).Draw(rt, name) }
	count := func(name string, most int64) int64 {
		return rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 300), rapid.Int64Range(0, most)).Draw(rt, name)
	}
	records := make([]*usage.Record, rapid.IntRange(0, 60).Draw(rt, "records"))
	for i := range records {
		ago := rapid.OneOf(rapid.Int64Range(0, 3600), rapid.Int64Range(0, 40*86400)).Draw(rt, "ago")
		records[i] = &usage.Record{
			ID:       fmt.Sprint(i),
			Start:    Epoch.Add(-time.Duration(ago) * time.Second),
			Key:      pick("key", "alice", "bob", "carol"),
			Team:     pick("team", "", "red"),
			Model:    pick("model", "gpt", "claude", "=1+1"),
			Backend:  pick("backend", "east", "west"),
			Endpoint: pick("endpoint", "chat", "messages"),
			Tokens: wire.Tokens{
				Input: count("input", 1<<40), CacheRead: count("cached", 1<<20), CacheWrite: count("written", 1<<16),
				Output: count("output", 1<<32), Reasoning: count("reasoning", 1<<24),
			},
			CostNano:  count("cost", 1e15),
			Priced:    rapid.Bool().Draw(rt, "priced"),
			Estimated: rapid.Bool().Draw(rt, "estimated"),
			Outcome:   rapid.SampledFrom([]usage.Outcome{usage.OK, usage.ClientClosed, usage.UpstreamError, usage.Timeout}).Draw(rt, "outcome"),
		}
	}
	return records
}

// compare queries all widths with one random grouping and filter.
func compare(rt *rapid.T, l usage.Ledger, records []*usage.Record) {
	by := rapid.SliceOfNDistinct(rapid.SampledFrom([]usage.Dimension{usage.ByKey, usage.ByTeam, usage.ByModel, usage.ByBackend, usage.ByEndpoint}),
		0, 5, rapid.ID).Draw(rt, "group by")
	keys := rapid.SampledFrom([][]string{nil, {"alice"}, {"alice", "carol"}}).Draw(rt, "keys")
	teams := rapid.SampledFrom([][]string{nil, {""}, {"red"}}).Draw(rt, "teams")
	models := rapid.SampledFrom([][]string{nil, {"gpt", "=1+1"}}).Draw(rt, "models")
	for width, back := range map[usage.Width]time.Duration{usage.Minute: 23 * time.Hour, usage.Hour: 6 * 24 * time.Hour, usage.Day: 30 * 24 * time.Hour, usage.Month: 45 * 24 * time.Hour} {
		q := usage.Query{Start: Epoch.Add(-back), End: Epoch.Add(time.Second), Width: width, GroupBy: by, Keys: keys, Teams: teams, Models: models}
		page, err := l.Query(context.Background(), q)
		if err != nil {
			rt.Fatalf("querying: %v", err)
		}
		for _, b := range page.Data {
			got, want := encode(rt, b.Results), encode(rt, add(q, b, records))
			if got != want {
				rt.Fatalf("%s bucket at %d, by %v:\ngot  %s\nwant %s", width, b.StartTime, by, got, want)
			}
		}
		if page.Data[0].StartTime > q.Start.Unix() || page.Data[len(page.Data)-1].EndTime < q.End.Unix() || page.HasMore {
			rt.Fatalf("%s buckets do not cover the range", width)
		}
	}
}

func encode(rt *rapid.T, results []usage.Result) string {
	text, err := json.Marshal(results)
	if err != nil {
		rt.Fatal(err)
	}
	return string(text)
}

// add computes the answer for one bucket by iterating over all records.
func add(q usage.Query, b usage.Bucket, records []*usage.Record) []usage.Result {
	groups := map[[5]string]*usage.Result{}
	for _, r := range records {
		start := r.Start.Unix()
		if start < b.StartTime || start >= b.EndTime || !matches(q.Keys, r.Key) || !matches(q.Teams, r.Team) || !matches(q.Models, r.Model) {
			continue
		}
		var name [5]string
		result := &usage.Result{Object: "usage.result"}
		for i, d := range []struct {
			dimension usage.Dimension
			name      string
			to        **string
		}{
			{usage.ByKey, r.Key, &result.Key}, {usage.ByTeam, r.Team, &result.Team}, {usage.ByModel, r.Model, &result.Model},
			{usage.ByBackend, r.Backend, &result.Backend}, {usage.ByEndpoint, r.Endpoint, &result.Endpoint},
		} {
			if slices.Contains(q.GroupBy, d.dimension) {
				name[i] = d.name
				*d.to = &name[i]
			}
		}
		if groups[name] == nil {
			groups[name] = result
		}
		result = groups[name]
		result.Requests++
		if r.Outcome == usage.UpstreamError || r.Outcome == usage.Timeout {
			result.Errors++
		}
		result.InputTokens += r.Input
		result.CachedTokens += r.CacheRead
		result.CacheWriteTokens += r.CacheWrite
		result.OutputTokens += r.Output
		result.ReasoningTokens += r.Reasoning
		if r.Estimated {
			result.EstimatedRequests++
		}
		if !r.Priced {
			result.UnpricedRequests++
			continue
		}
		if result.CostUSD == nil {
			result.CostUSD = new(usage.USD)
		}
		*result.CostUSD += usage.USD(r.CostNano)
	}
	results := make([]usage.Result, 0, len(groups))
	names := make([][5]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b [5]string) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]), cmp.Compare(a[2], b[2]), cmp.Compare(a[3], b[3]), cmp.Compare(a[4], b[4]))
	})
	for _, name := range names {
		results = append(results, *groups[name])
	}
	return results
}

func matches(filter []string, name string) bool {
	return len(filter) == 0 || slices.Contains(filter, name)
}
