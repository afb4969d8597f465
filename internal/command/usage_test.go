package command

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/usage"
)

// someDay is the current time in these tests.
var someDay = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// twoPages returns a day's usage on each of two pages.
func twoPages(asked *[]url.Values) queryFunc {
	result := func(key, model string, n int64, cost *usage.USD) usage.Result {
		return usage.Result{Object: "usage.result", Key: &key, Model: &model, Requests: n, InputTokens: 1000 * n, CachedTokens: n, OutputTokens: 10 * n, CostUSD: cost, UnpricedRequests: n}
	}
	usd := func(n usage.USD) *usage.USD { return &n }
	return func(_ string, query url.Values) (*usage.Page, error) {
		copied := url.Values{}
		for name, values := range query {
			copied[name] = values
		}
		*asked = append(*asked, copied)
		day := func(start int64, results ...usage.Result) []usage.Bucket {
			return []usage.Bucket{{Object: "bucket", StartTime: start, EndTime: start + 86400, Results: results}}
		}
		if query.Get("page") == "" {
			next := "second"
			return &usage.Page{Object: "page", HasMore: true, NextPage: &next,
				Data: day(1773360000, result("bob", "m", 1, nil), result("zoë", "evil\x1b[2J", 1, usd(5_000_000)))}, nil
		}
		return &usage.Page{Object: "page", Data: day(1773446400, result("alice", "m", 1234, usd(2_500_000_000)), result("zoë", "evil\x1b[2J", 2, usd(250)))}, nil
	}
}

func TestUsageIsPrintedAsATable(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--group-by", "key,model"}, `
KEY    MODEL     REQUESTS  ERRORS      INPUT  CACHED  OUTPUT  ESTIMATED  UNPRICED    COST USD
alice  m            1,234       0  1,234,000   1,234  12,340          0     1,234         2.5
bob    m                1       0      1,000       1      10          0         1           -
zoë    evil�[2J         3       0      3,000       3      30          0         3  0.00500025
total               1,238       0  1,238,000   1,238  12,380          0     1,238  2.50500025
`},
		{[]string{"--bucket", "1d"}, `
TIME (UTC)  KEY    REQUESTS  ERRORS      INPUT  CACHED  OUTPUT  ESTIMATED  UNPRICED    COST USD
2026-03-13  bob           1       0      1,000       1      10          0         1           -
2026-03-13  zoë           1       0      1,000       1      10          0         1       0.005
2026-03-14  alice     1,234       0  1,234,000   1,234  12,340          0     1,234         2.5
2026-03-14  zoë           2       0      2,000       2      20          0         2  0.00000025
total                 1,238       0  1,238,000   1,238  12,380          0     1,238  2.50500025
`},
	} {
		var asked []url.Values
		out, errOut, err := run(usageCommand(twoPages(&asked), at(someDay)), "", c.args...)
		if err != nil || errOut != "" {
			t.Fatal(errOut, err)
		}
		if got := "\n" + out; got != c.want {
			t.Errorf("%v:\n%s\nwant\n%s", c.args, got, c.want)
		}
		if len(asked) != 2 || asked[1].Get("page") != "second" {
			t.Errorf("asked %v", asked)
		}
	}
}

func TestUsageIsPrintedForPrograms(t *testing.T) {
	var asked []url.Values
	out, _, err := run(usageCommand(twoPages(&asked), at(someDay)), "", "--json")
	if err != nil {
		t.Fatal(err)
	}
	var page usage.Page
	if err := json.Unmarshal([]byte(out), &page); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(page.Data) != 1 || len(page.Data[0].Results) != 3 || page.HasMore || page.Data[0].StartTime != 1773360000 || page.Data[0].EndTime != 1773532800 {
		t.Errorf("%s", out)
	}
	out, _, err = run(usageCommand(twoPages(&asked), at(someDay)), "", "--csv", "--bucket", "1d")
	if lines := strings.Split(out, "\n"); err != nil || len(lines) != 6 || !strings.HasPrefix(lines[0], "start_time,end_time,key,") || !strings.HasPrefix(lines[1], "1773360000,1773446400,bob,") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestUsageAsksForWhatTheFlagsSay(t *testing.T) {
	unix := func(text string) string {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return jsonNumber(at.Unix())
	}
	for _, c := range []struct {
		args string
		want url.Values
	}{
		{"", url.Values{"start_time": {unix("2026-02-13T00:00:00Z")}, "end_time": {unix("2026-03-14T15:09:27Z")}, "bucket_width": {"1d"}, "group_by": {"key"}}},
		{"--days 1 --group-by=", url.Values{"start_time": {unix("2026-03-14T00:00:00Z")}, "end_time": {unix("2026-03-14T15:09:27Z")}, "bucket_width": {"1d"}}},
		{"--since 2026-03-01 --until 2026-03-02T12:00:00+02:00 --bucket 1h --group-by team --group-by model,backend",
			url.Values{"start_time": {unix("2026-03-01T00:00:00Z")}, "end_time": {unix("2026-03-02T10:00:00Z")}, "bucket_width": {"1h"}, "group_by": {"team", "model", "backend"}}},
		{"--since 2d --until 1d --key a,b --team t --model m/x",
			url.Values{"start_time": {unix("2026-03-12T15:09:26Z")}, "end_time": {unix("2026-03-13T15:09:26Z")}, "bucket_width": {"1d"}, "group_by": {"key"}, "keys": {"a", "b"}, "teams": {"t"}, "models": {"m/x"}}},
	} {
		var got url.Values
		ask := func(address string, query url.Values) (*usage.Page, error) {
			if address != "localhost:2019" {
				t.Errorf("asked at %s", address)
			}
			got = query
			return &usage.Page{}, nil
		}
		out, _, err := run(usageCommand(ask, at(someDay)), "", strings.Fields(c.args)...)
		if err != nil || out != "Nothing was used.\n" {
			t.Errorf("%s: %q, %v", c.args, out, err)
		}
		if got.Encode() != c.want.Encode() {
			t.Errorf("%s:\n%s\nwant\n%s", c.args, got.Encode(), c.want.Encode())
		}
	}
}

func jsonNumber(n int64) string {
	text, _ := json.Marshal(n)
	return string(text)
}

func TestUsageFlagsThatMakeNoSense(t *testing.T) {
	for args, want := range map[string]string{
		"--days -1":                             `--days: -1 is not a positive number`,
		"--days 3 --since 2026-01-01":           `none of the others can be`,
		"--json --csv":                          `none of the others can be`,
		"--since yesterday":                     `--since: "yesterday" is no date (2026-03-01), RFC 3339 time (2026-03-01T09:00:00Z) or duration (36h, 7d)`,
		"--until -3h":                           `--until: "-3h" is no date`,
		"--since 2026-03-02 --until 2026-03-01": `the time ends at 2026-03-01T00:00:00Z, before it begins at 2026-03-02T00:00:00Z`,
		"--group-by color":                      `--group-by: "color" is none of key, team, model, backend and endpoint`,
		"--bucket 1w":                           `--bucket: "1w" is none of 1m, 1h, 1d and 1mo`,
		"--days many":                           `invalid argument "many"`,
		"a-secret":                              `unknown command`,
	} {
		ask := func(string, url.Values) (*usage.Page, error) {
			t.Errorf("%s: asked", args)
			return nil, errors.New("asked")
		}
		if _, _, err := run(usageCommand(ask, at(someDay)), "", strings.Fields(args)...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}

func TestUsageErrorsSayWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"performing request: Get \"http://x\": connection refused":                         "start Caddy, or say where its admin endpoint is with --address",
		"caddy responded with error: HTTP 404: {\"error\":\"resource not found\"}":         "restart it with this one",
		"caddy responded with error: HTTP 403: {\"error\":\"host not allowed\"}":           "see `origins` of the global option admin",
		"caddy responded with error: HTTP 503: {\"error\":\"no pinegate\"}":                "its configuration has no pinegate, or its store is unavailable",
		"caddy responded with error: HTTP 400: {\"detail\":\"start_time is too early\"}\n": "the gate at h:1 says: start_time is too early",
		"HTTP 500: reading error message: x":                                               "asking h:1: HTTP 500",
	} {
		if err := explain("h:1", errors.New(text)); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "h:1") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
