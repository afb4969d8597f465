package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/usage"
)

// queryFunc returns a page of usage from the admin endpoint at address.
type queryFunc func(address string, query url.Values) (*usage.Page, error)

// usageFlags holds the flags of `caddy pinegate usage`.
type usageFlags struct {
	address, config, adapter string
	since, until             string
	days                     int
	groupBy                  []string
	keys, teams, models      []string
	bucket                   string
	asJSON, asCSV            bool
}

const defaultUsageDays = 30

func usageCommand(ask queryFunc, now func() time.Time) *cobra.Command {
	var f usageFlags
	cmd := &cobra.Command{
		Use:   "usage [--days <n> | --since <time> [--until <time>]] [--group-by <what>,...] [--bucket <width>] [--json | --csv]",
		Short: "Prints what was used, as the gate of a running Caddy has recorded it",
		Long: `
Asks the Caddy that runs on this machine, by its admin endpoint, what was used, and
prints it as a table: by key, over the last 30 days, until flags say otherwise.

A time is a date (2026-03-01) or an RFC 3339 time (2026-03-01T09:00:00Z), both in
UTC where they don't say, or a duration before now (36h, 7d). Buckets of time are
shown whole, so that --since 36h with days begins at midnight.

INPUT is the whole input, of which CACHED was read from a cache. ESTIMATED counts
the requests whose tokens the gate had to estimate, UNPRICED those of models that
have no price: they are missing from the cost. With --json it prints a page of
/v1/usage, and with --csv the same as CSV, each with all that is recorded.

The admin endpoint is that of --address, else that of the file of --config, else
localhost:2019. The exit status is 0, or 1 after any error.`,
		Example: `  caddy pinegate usage --days 7 --group-by team,model
  caddy pinegate usage --since 2026-03-01 --until 2026-04-01 --bucket 1d --csv`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true // the usage text would hide the error
			query, err := f.query(now())
			if err != nil {
				return err
			}
			address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
			if err != nil {
				return fmt.Errorf("finding the admin endpoint: %w", err)
			}
			page, err := queryAll(ask, address, query)
			if err != nil {
				return err
			}
			if f.bucket == "total" {
				page = page.Total()
			}
			switch {
			case f.asJSON:
				if err := page.WriteJSON(cmd.OutOrStdout()); err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout())
				return err
			case f.asCSV:
				return page.WriteCSV(cmd.OutOrStdout())
			}
			return writeUsageTable(cmd.OutOrStdout(), page, f.groupBy, usage.Width(f.bucket))
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.address, "address", "", "", "the address of Caddy's admin endpoint, if not the default")
	flags.StringVarP(&f.config, "config", "c", "", "a configuration file that says where the admin endpoint is")
	flags.StringVarP(&f.adapter, "adapter", "a", "", "the name of the config adapter for --config")
	flags.StringVar(&f.since, "since", "", "where the time begins")
	flags.StringVar(&f.until, "until", "", "where the time ends (default now)")
	flags.IntVar(&f.days, "days", 0, fmt.Sprintf("the last so many days (default %d)", defaultUsageDays))
	flags.StringSliceVar(&f.groupBy, "group-by", []string{"key"}, "any of key, team, model, backend and endpoint; empty for one sum")
	flags.StringSliceVar(&f.keys, "key", nil, "only these keys, by their ids")
	flags.StringSliceVar(&f.teams, "team", nil, "only these teams")
	flags.StringSliceVar(&f.models, "model", nil, "only these models")
	flags.StringVar(&f.bucket, "bucket", "total", "a line for each 1m, 1h, 1d or 1mo, or total")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	flags.BoolVar(&f.asCSV, "csv", false, "print CSV")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	cmd.MarkFlagsMutuallyExclusive("days", "since")
	return cmd
}

// query returns the parameters of /v1/usage for the flags.
func (f *usageFlags) query(now time.Time) (url.Values, error) {
	end, begin := now.Add(time.Second), time.Time{} // so that the range includes this second
	var err error
	if f.until != "" {
		if end, err = parseWhen(f.until, now); err != nil {
			return nil, fmt.Errorf("--until: %w", err)
		}
	}
	switch {
	case f.days < 0:
		return nil, fmt.Errorf("--days: %d is not a positive number", f.days)
	case f.since != "":
		if begin, err = parseWhen(f.since, now); err != nil {
			return nil, fmt.Errorf("--since: %w", err)
		}
	default:
		days := f.days
		if days == 0 {
			days = defaultUsageDays
		}
		// Today is one of the days.
		begin = end.UTC().Truncate(24*time.Hour).AddDate(0, 0, 1-days)
	}
	if !begin.Before(end) {
		return nil, fmt.Errorf("the time ends at %s, before it begins at %s", end.UTC().Format(time.RFC3339), begin.UTC().Format(time.RFC3339))
	}
	width := f.bucket
	if width == "total" {
		width = string(usage.Day)
	}
	query := url.Values{
		"start_time":   {strconv.FormatInt(begin.Unix(), 10)},
		"end_time":     {strconv.FormatInt(end.Unix(), 10)},
		"bucket_width": {width},
	}
	f.groupBy = slices.DeleteFunc(f.groupBy, func(word string) bool { return word == "" })
	for name, values := range map[string][]string{"group_by": f.groupBy, "keys": f.keys, "teams": f.teams, "models": f.models} {
		if len(values) > 0 {
			query[name] = values
		}
	}
	// The gate parses them in the same way, so that a query it would refuse fails
	// here.
	if _, err := usage.ParseQuery(query, now); err != nil {
		var param *usage.ParamError
		if errors.As(err, &param) {
			flag := map[string]string{"group_by": "--group-by", "bucket_width": "--bucket", "start_time": "--since", "end_time": "--until"}[param.Param]
			return nil, fmt.Errorf("%s: %s", flag, param.Message)
		}
		return nil, err
	}
	return query, nil
}

// parseWhen parses a time, or a duration before now.
func parseWhen(text string, now time.Time) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if d, err := caddy.ParseDuration(text); err == nil && d > 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no date (2026-03-01), RFC 3339 time (2026-03-01T09:00:00Z) or duration (36h, 7d)", text)
}

// queryAll queries all pages and returns them as one.
func queryAll(ask queryFunc, address string, query url.Values) (*usage.Page, error) {
	whole := &usage.Page{Object: "page"}
	for {
		page, err := ask(address, query)
		if err != nil {
			return nil, err
		}
		whole.Data = append(whole.Data, page.Data...)
		if page.NextPage == nil {
			return whole, nil
		}
		query.Set("page", *page.NextPage)
	}
}

// queryAdmin queries Caddy's admin endpoint. Its errors suggest what to do
// next.
func queryAdmin(address string, query url.Values) (*usage.Page, error) {
	res, err := caddycmd.AdminAPIRequest(address, http.MethodGet, control.Base+"usage"+"?"+query.Encode(), nil, nil)
	if err != nil {
		return nil, explain(address, err)
	}
	defer res.Body.Close()
	page := new(usage.Page)
	if err := json.NewDecoder(res.Body).Decode(page); err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w: is it Caddy's admin endpoint?", address, err)
	}
	return page, nil
}

// errNoAnswer is returned if no Caddy is running at the address.
var errNoAnswer = errors.New("can't connect to Caddy")

// explain adds a suggestion to an error of Caddy's client. Its errors differ
// by their text only.
func explain(address string, err error) error {
	text := err.Error()
	if _, body, found := strings.Cut(text, "caddy responded with error: HTTP "); found {
		var problem control.Problem
		_, body, _ = strings.Cut(body, ": ")
		if json.Unmarshal([]byte(body), &problem) == nil && problem.Detail != "" {
			return fmt.Errorf("the gate at %s says: %s", address, problem.Detail)
		}
	}
	switch {
	case strings.HasPrefix(text, "performing request: "):
		return fmt.Errorf("%w at %s (%s): start Caddy, or say where its admin endpoint is with --address or --config; "+
			"one that is configured as `admin off` can't be asked", errNoAnswer, address, strings.TrimPrefix(text, "performing request: "))
	case strings.Contains(text, "HTTP 404"):
		return fmt.Errorf("the Caddy at %s does not know pinegate: it runs another binary, maybe an older one; restart it with this one", address)
	case strings.Contains(text, "HTTP 403"):
		return fmt.Errorf("the admin endpoint at %s does not let this address or host in: see `origins` of the global option admin (%w)", address, err)
	case strings.Contains(text, "HTTP 503"):
		return fmt.Errorf("the gate at %s can't report its usage: its configuration has no pinegate, or its store is unavailable; its log says more (%w)", address, err)
	}
	return fmt.Errorf("asking %s: %w", address, err)
}
