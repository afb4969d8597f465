package command

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/control"
)

// limitFlags holds the flags that select limits.
type limitFlags struct {
	keys, teams, models, backends []string
}

func limitsCommand(now func() time.Time) *cobra.Command {
	var admin adminFlags
	var f limitFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "limits [--key <id>]... [--team <id>]... [--model <pattern>]... [--backend <name>]... [--json]",
		Short: "Prints what is left of the limits of a running gate",
		Long: `
Asks the Caddy that runs on this machine, by its admin endpoint, for its limits and
what is left of them, and prints them as a table: all, or those that flags name. The
limits of a key are its own and the defaults of the gate; those of its team are
shown with --team. A model's pattern is written as in the Caddyfile.

USED is what a quota has used in its window, and how many requests hold a concurrent
limit; HELD is what requests in flight have reserved of a quota beside that. A rate
has neither, it refills: LEFT is what may come at once now. RESETS is when a rate is
whole again or a quota begins anew, in UTC.`,
		Example: `  caddy pinegate limits --key alice --team search
  caddy pinegate limits --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true // the usage text would hide the error
			c, err := admin.open()
			if err != nil {
				return err
			}
			list, err := f.list(c)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			if list.Stale {
				if _, err := fmt.Fprintln(cmd.ErrOrStderr(), "The rate-limit store is unavailable: these are the figures of this gate alone."); err != nil {
					return err
				}
			}
			return writeLimitTable(cmd.OutOrStdout(), list.Data, now())
		},
	}
	admin.add(cmd)
	flags := cmd.Flags()
	flags.StringSliceVar(&f.keys, "key", nil, "the limits of these keys, by their ids")
	flags.StringSliceVar(&f.teams, "team", nil, "those of these teams")
	flags.StringSliceVar(&f.models, "model", nil, "those of these patterns of models")
	flags.StringSliceVar(&f.backends, "backend", nil, "those of these backends")
	flags.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// limitList is the command's output in JSON.
type limitList struct {
	Data  []control.Limit `json:"data"`
	Stale bool            `json:"stale"`
}

// list returns the limits that the flags select, or else all.
func (f *limitFlags) list(c client) (*limitList, error) {
	var queries []url.Values
	for _, scope := range []struct {
		name string
		ids  []string
	}{{"key", f.keys}, {"team", f.teams}, {"model", f.models}, {"backend", f.backends}} {
		for _, id := range scope.ids {
			queries = append(queries, url.Values{"scope": {scope.name}, "id": {id}})
		}
	}
	if len(queries) == 0 {
		queries = []url.Values{{}}
	}
	list := &limitList{Data: []control.Limit{}}
	for _, query := range queries {
		query.Set("limit", "1000")
		for {
			var page control.LimitPage
			if err := c.call(http.MethodGet, "limits?"+query.Encode(), nil, &page); err != nil {
				return nil, err
			}
			list.Data = append(list.Data, page.Data...)
			list.Stale = list.Stale || page.Stale
			if page.Next == nil {
				break
			}
			query.Set("after", *page.Next)
		}
	}
	return list, nil
}

func writeLimitTable(w io.Writer, all []control.Limit, now time.Time) error {
	if len(all) == 0 {
		_, err := io.WriteString(w, "No such limit is set. `limit` in a block of the Caddyfile sets one, or `caddy pinegate key update <id> --limit`.\n")
		return err
	}
	t := &table{left: 3}
	t.add([]string{"SCOPE", "ID", "LIMIT", "USED", "HELD", "LEFT", "RESETS"})
	for _, l := range all {
		t.add([]string{l.Scope, printable(l.ID), limitText(&l), figure(l.Used), figure(l.Reserved), figure(&l.Remaining), resetText(l.ResetAt, now)})
	}
	return t.write(w)
}

// limitText returns a limit in the syntax of the Caddyfile.
func limitText(l *control.Limit) string {
	text := figure(&l.Limit) + " " + l.Unit
	if l.Window != nil {
		text += "/" + *l.Window
	}
	if l.Burst != nil && *l.Burst != l.Limit {
		text += " burst " + figure(l.Burst)
	}
	return text
}

// figure returns a count with thousands separators, or an amount of money.
func figure(n *json.Number) string {
	if n == nil {
		return "-"
	}
	if count, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return humanize.Comma(count)
	}
	return n.String()
}

// resetText formats a time, as a duration from now if that is less than an
// hour.
func resetText(at *int64, now time.Time) string {
	if at == nil {
		return "-"
	}
	reset := time.Unix(*at, 0).UTC()
	switch wait := reset.Sub(now); {
	case wait < time.Second:
		return "now"
	case wait < time.Hour:
		return "in " + wait.Round(time.Second).String()
	}
	return reset.Format("2006-01-02 15:04")
}
