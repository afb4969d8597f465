package usagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/usage"
)

func unix(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }

func at(month time.Month, day, hour, minute, second int) time.Time {
	return time.Date(2026, month, day, hour, minute, second, 0, time.UTC)
}

func (s Subject) buckets(t *testing.T) {
	l := s.open(t)
	for i, start := range []time.Time{
		at(4, 15, 10, 29, 59), at(4, 15, 10, 30, 0), at(4, 15, 9, 59, 59), at(4, 14, 23, 59, 59), at(4, 1, 0, 0, 0), at(3, 31, 23, 59, 59),
	} {
		// The zone of a record's time does not matter.
		record(t, l, sample(fmt.Sprint(i), start.In(time.FixedZone("east", 5*3600))))
		s.settle(t, l)
	}
	for _, test := range []struct {
		params string
		first  time.Time
		want   []int64
	}{
		{"bucket_width=1m&start_time=" + unix(at(4, 15, 10, 28, 30)), at(4, 15, 10, 28, 0), []int64{0, 1, 1}},
		{"bucket_width=1h&start_time=" + unix(at(4, 15, 9, 0, 0)), at(4, 15, 9, 0, 0), []int64{1, 2}},
		{"bucket_width=1d&start_time=" + unix(at(4, 13, 23, 59, 59)), at(4, 13, 0, 0, 0), []int64{0, 1, 3}},
		{"start_time=" + unix(at(4, 14, 0, 0, 0)) + "&end_time=" + unix(at(4, 15, 0, 0, 0)), at(4, 14, 0, 0, 0), []int64{1}},
		{"bucket_width=1mo&start_time=" + unix(at(2, 28, 0, 0, 0)), at(2, 1, 0, 0, 0), []int64{0, 1, 5}},
	} {
		page := query(t, l, test.params)
		var got []int64
		next := test.first.Unix()
		for _, b := range page.Data {
			if b.Object != "bucket" || b.StartTime != next || b.Results == nil {
				t.Errorf("%s: bucket %+v, want one that starts at %d", test.params, b, next)
			}
			next = b.EndTime
			var n int64
			for _, r := range b.Results {
				n += r.Requests
			}
			got = append(got, n)
		}
		if !slices.Equal(got, test.want) || page.HasMore || page.NextPage != nil || page.Object != "page" {
			t.Errorf("%s: requests %v, want %v; page %+v", test.params, got, test.want, page)
		}
	}
	if n := len(query(t, l, "").Data); n != 31 {
		t.Errorf("%d buckets by default, want the 31 days that the last 30 days touch", n)
	}
}

func (s Subject) groups(t *testing.T) {
	l := s.open(t)
	for i, r := range []struct{ key, team, model, backend, endpoint string }{
		{"alice", "red", "gpt", "east", "chat"},
		{"alice", "red", "gpt", "west", "chat"},
		{"alice", "red", "claude", "west", "messages"},
		{"bob", "", "gpt", "east", "chat"},
		{"carol", "red", "embed", "east", "embeddings"},
	} {
		one := sample(fmt.Sprint(i), Epoch)
		one.Key, one.Team, one.Model, one.Backend, one.Endpoint = r.key, r.team, r.model, r.backend, r.endpoint
		record(t, l, one)
		s.settle(t, l)
	}
	for _, test := range []struct {
		params string
		want   []string
	}{
		{"", []string{"- - - - - 5"}},
		{"group_by=key", []string{"alice - - - - 3", "bob - - - - 1", "carol - - - - 1"}},
		{"group_by[]=team", []string{"- [] - - - 1", "- red - - - 4"}},
		{"group_by=model", []string{"- - claude - - 1", "- - embed - - 1", "- - gpt - - 3"}},
		{"group_by=backend", []string{"- - - east - 3", "- - - west - 2"}},
		{"group_by=endpoint", []string{"- - - - chat 3", "- - - - embeddings 1", "- - - - messages 1"}},
		{"group_by[]=backend&group_by[]=key", []string{"alice - - east - 1", "alice - - west - 2", "bob - - east - 1", "carol - - east - 1"}},
		{"group_by=model,key&keys[]=alice&keys[]=bob", []string{"alice - claude - - 1", "alice - gpt - - 2", "bob - gpt - - 1"}},
		{"keys=nobody", nil},
		{"keys=alice&models=gpt", []string{"- - - - - 2"}},
		{"teams[]=red&group_by=key&models=gpt&models=embed", []string{"alice - - - - 2", "carol - - - - 1"}},
		{"teams=&group_by=key", []string{"bob - - - - 1"}},
	} {
		var got []string
		for _, b := range query(t, l, test.params).Data {
			for _, r := range b.Results {
				got = append(got, fmt.Sprintf("%s %s %s %s %s %d", label(r.Key), label(r.Team), label(r.Model), label(r.Backend), label(r.Endpoint), r.Requests))
			}
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s:\ngot  %q\nwant %q", test.params, got, test.want)
		}
	}
}

// label returns a name such that a missing one differs from an empty one.
func label(name *string) string {
	switch {
	case name == nil:
		return "-"
	case *name == "":
		return "[]"
	}
	return *name
}

func (s Subject) pages(t *testing.T) {
	l := s.open(t)
	for i := range 100 {
		record(t, l, sample(fmt.Sprint(i), Epoch.Add(-time.Duration(i)*time.Hour)))
	}
	for _, width := range []string{"1h", "1d"} {
		base := "bucket_width=" + width + "&start_time=" + unix(Epoch.Add(-100*time.Hour))
		whole := query(t, l, base)
		if whole.HasMore || whole.NextPage != nil {
			t.Fatalf("%s: has more, want all on one page", base)
		}
		for _, limit := range []int{1, 2, len(whole.Data) - 1} {
			params := fmt.Sprintf("bucket_width=%s&limit=%d", width, limit)
			page := query(t, l, fmt.Sprintf("%s&limit=%d", base, limit))
			got := page.Data
			for page.HasMore {
				if len(page.Data) != limit {
					t.Fatalf("%s: a page of %d buckets that has more, want %d", params, len(page.Data), limit)
				}
				page = query(t, l, params+"&page="+*page.NextPage)
				got = append(got, page.Data...)
			}
			if page.NextPage != nil {
				t.Errorf("%s: the last page has a next one", params)
			}
			same := slices.EqualFunc(got, whole.Data, func(a, b usage.Bucket) bool {
				return a.StartTime == b.StartTime && a.EndTime == b.EndTime &&
					slices.EqualFunc(a.Results, b.Results, func(a, b usage.Result) bool { return a.Requests == b.Requests })
			})
			if !same {
				t.Errorf("%s: pages of %d add up to\n%+v\nwant\n%+v", base, limit, got, whole.Data)
			}
		}
	}
	if page := query(t, l, "bucket_width=1h"); len(page.Data) != 168 || !page.HasMore {
		t.Errorf("%d hours of the last 30 days on a page, more: %v; want 168 and more", len(page.Data), page.HasMore)
	}
}

func (s Subject) late(t *testing.T) {
	l := s.open(t)
	record(t, l, sample("now", Epoch))
	s.settle(t, l)
	record(t, l, sample("late", Epoch.Add(-3*time.Hour)))
	s.settle(t, l)
	record(t, l, sample("later", Epoch.Add(-3*time.Hour)))
	hours := query(t, l, "bucket_width=1h&start_time="+unix(Epoch.Add(-3*time.Hour))).Data
	if len(hours) != 4 || len(hours[0].Results) != 1 || hours[0].Results[0].Requests != 2 || len(hours[3].Results) != 1 {
		t.Errorf("hours are %+v, want 2 requests in the first of 4 and 1 in the last", hours)
	}
}

func (s Subject) totals(t *testing.T) {
	l := s.open(t)
	for i, start := range []time.Time{Epoch, at(4, 15, 0, 0, 0), at(4, 14, 23, 59, 59), at(4, 1, 0, 0, 0), at(3, 31, 23, 59, 59)} {
		record(t, l, sample(fmt.Sprint(i), start))
		s.settle(t, l)
	}
	other := sample("other", Epoch)
	other.Key = "bob"
	other.Priced = false
	record(t, l, other)
	for _, test := range []struct {
		key    string
		since  time.Time
		want   int64
		priced bool
	}{
		{"alice", at(4, 15, 10, 0, 0), 2, true},
		{"alice", at(4, 1, 0, 0, 0), 4, true},
		{"alice", time.Time{}, 5, true},
		{"bob", at(4, 1, 0, 0, 0), 1, false},
		{"nobody", at(4, 1, 0, 0, 0), 0, false},
	} {
		got, err := l.Totals(context.Background(), test.key, test.since)
		if err != nil {
			t.Fatal(err)
		}
		want := usage.Totals{
			Requests: test.want, InputTokens: 100 * test.want, CachedTokens: 30 * test.want, CacheWriteTokens: 20 * test.want,
			OutputTokens: 50 * test.want, ReasoningTokens: 10 * test.want, Cost: usage.USD(1_234_567 * test.want),
		}
		if !test.priced {
			want.UnpricedRequests, want.Cost = test.want, 0
		}
		if got != want || got.Priced() != test.priced {
			t.Errorf("%s since %v: %+v, priced %v; want %+v, %v", test.key, test.since, got, got.Priced(), want, test.priced)
		}
	}
}

func (s Subject) forgets(t *testing.T) {
	now := Epoch
	l := s.openAt(t, func() time.Time { return now })
	record(t, l, sample("1", Epoch))
	s.settle(t, l)
	ask := func(width usage.Width) (int64, error) {
		page, err := l.Query(context.Background(), usage.Query{Start: Epoch, End: Epoch.Add(time.Minute), Width: width, Limit: 1})
		if err != nil {
			return 0, err
		}
		var n int64
		for _, r := range page.Data[0].Results {
			n += r.Requests
		}
		return n, nil
	}
	for _, test := range []struct {
		days        int
		width       usage.Width
		want        int64
		wantRefusal bool
	}{
		{7, usage.Minute, 1, false}, {8, usage.Minute, 0, true},
		{92, usage.Hour, 1, false}, {93, usage.Hour, 0, true},
		{400, usage.Day, 1, false}, {401, usage.Day, 0, false}, {800, usage.Month, 0, false},
	} {
		now = Epoch.AddDate(0, 0, test.days)
		s.settle(t, l)
		got, err := ask(test.width)
		if refused := new(usage.ParamError); errors.As(err, &refused) != test.wantRefusal || got != test.want {
			t.Errorf("%s after %d days: %d requests and error %v; want %d, refused %v", test.width, test.days, got, err, test.want, test.wantRefusal)
		}
	}
	if totals, err := l.Totals(context.Background(), "alice", Epoch); err != nil || totals.Requests != 0 {
		t.Errorf("totals of what is gone: %+v, %v", totals, err)
	}
	// The ledger still works, also for a tuple that it has dropped.
	record(t, l, sample("2", now))
	s.settle(t, l)
	if totals, err := l.Totals(context.Background(), "alice", now); err != nil || totals.Requests != 1 {
		t.Errorf("totals afterwards: %+v, %v; want 1 request", totals, err)
	}
}
