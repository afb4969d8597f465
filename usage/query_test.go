package usage

import (
	"errors"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
)

var testNow = time.Date(2026, 4, 15, 10, 30, 20, 0, time.UTC)

func parse(t *testing.T, params string) (Query, error) {
	t.Helper()
	values, err := url.ParseQuery(params)
	if err != nil {
		t.Fatal(err)
	}
	return ParseQuery(values, testNow)
}

func TestParseQuery(t *testing.T) {
	now := testNow.Unix() + 1
	for params, want := range map[string]Query{
		"":                                  {Start: time.Unix(now-30*86400, 0), End: time.Unix(now, 0), Width: Day, Limit: 31, defaultStart: true},
		"start_time=100&end_time=200":       {Start: time.Unix(100, 0), End: time.Unix(200, 0), Width: Day, Limit: 31},
		"end_time=2592100&bucket_width=1mo": {Start: time.Unix(100, 0), End: time.Unix(2592100, 0), Width: Month, Limit: 24, defaultStart: true},
		"end_time=100":                      {Start: time.Unix(0, 0), End: time.Unix(100, 0), Width: Day, Limit: 31, defaultStart: true},
		"start_time=0&bucket_width=1m":      {Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Minute, Limit: 1440},
		"start_time=0&bucket_width=1h":      {Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Hour, Limit: 168},
		"start_time=0&limit=7&format=csv":   {Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Day, Limit: 7, CSV: true},
		"start_time=0&limit=31&format=json": {Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Day, Limit: 31},
		"start_time=0&group_by=key,model":   {Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Day, Limit: 31, GroupBy: []Dimension{ByKey, ByModel}},
		"start_time=0&group_by[]=team&group_by[]=backend&group_by[]=team": {Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Day, Limit: 31, GroupBy: []Dimension{ByTeam, ByBackend}},
		"start_time=0&group_by=endpoint&group_by=key":                     {Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Day, Limit: 31, GroupBy: []Dimension{ByEndpoint, ByKey}},
		"start_time=0&keys[]=a&keys=b&teams=&models[]=x/y": {
			Start: time.Unix(0, 0), End: time.Unix(now, 0), Width: Day, Limit: 31, Keys: []string{"b", "a"}, Teams: []string{""}, Models: []string{"x/y"},
		},
	} {
		if got, err := parse(t, params); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v, %v\nwant %+v", params, got, err, want)
		}
	}
}

func TestParseQueryRefuses(t *testing.T) {
	hours := cursor{Hour, 3600, 7200}.String()
	for params, want := range map[string]string{
		"start_time=yesterday":                 `start_time: "yesterday" is not a unix time`,
		"start_time=":                          "start_time: ",
		"start_time=-1":                        "start_time: ",
		"start_time=1e9":                       "start_time: ",
		"start_time=1&start_time=2":            "start_time: is given more than once",
		"end_time=253402300800":                "end_time: ",
		"start_time=200&end_time=200":          "start_time: 200 is not before end_time, 200",
		"start_time=9999999999":                "start_time: 9999999999 is not before end_time",
		"bucket_width=2h":                      `bucket_width: "2h" is none of 1m, 1h, 1d and 1mo`,
		"bucket_width=":                        "", // the default
		"group_by=colour":                      `group_by: "colour" is none of key, team, model, backend and endpoint`,
		"group_by=":                            `group_by: ""`,
		"limit=0":                              "limit: ",
		"limit=-3":                             "limit: ",
		"limit=ten":                            "limit: ",
		"limit=32":                             "limit: 32 is more than the 31 buckets",
		"limit=169&bucket_width=1h":            "limit: 169 is more than the 168",
		"limit=1441&bucket_width=1m":           "limit: 1441 is more than the 1440",
		"format=xml":                           `format: "xml" is neither json nor csv`,
		"page=junk":                            "page: is not the next_page",
		"page=" + hours:                        "page: is that of another bucket_width",
		"key=alice":                            "key: is not a parameter",
		"limit[]=3":                            "limit[]: is not a parameter",
		"page=" + (cursor{Day, 1, 2}).String(): "page: is not", // not the start of a bucket
	} {
		_, err := parse(t, params)
		if param := new(ParamError); !errors.As(err, &param) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", params, err, want)
		}
	}
}

func unix(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

func TestBucketsAlignToUTC(t *testing.T) {
	at := func(text string) int64 {
		when, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return when.Unix()
	}
	for _, test := range []struct {
		width             Width
		when, start, next string
	}{
		{Minute, "2026-04-15T10:30:59Z", "2026-04-15T10:30:00Z", "2026-04-15T10:31:00Z"},
		{Hour, "2026-04-15T10:30:59Z", "2026-04-15T10:00:00Z", "2026-04-15T11:00:00Z"},
		{Day, "2026-04-15T00:00:00Z", "2026-04-15T00:00:00Z", "2026-04-16T00:00:00Z"},
		{Month, "2028-02-29T23:59:59Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"},
		{Month, "2026-12-31T12:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		start := test.width.Floor(at(test.when))
		if start != at(test.start) || test.width.Next(start) != at(test.next) {
			t.Errorf("%s at %s: %s to %s, want %s to %s", test.width, test.when, unix(start), unix(test.width.Next(start)), test.start, test.next)
		}
	}
}
