package command

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/control"
)

func backendsCommand(now func() time.Time) *cobra.Command {
	var admin adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "backends [--json]",
		Short: "Prints how the backends of a running gate do",
		Long: `
Asks the Caddy that runs on this machine, by its admin endpoint, how its backends do,
as this gate knows it, and prints them as a table.

STATE is up or down by the last attempt, untried before the first one, and cooling
while the gate sends the backend, or models of it, no requests: since it failed
several times in a row or asked for it. FIRST TOKEN is a moving mean. TRIES and FAILURES count
since the process began. KEYS are the
credentials that are not cooling down, of all. PROXY is direct or, with what needs it,
reverse_proxy.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true // a page of flags would hide the error
			c, err := admin.open()
			if err != nil {
				return err
			}
			var list control.BackendList
			if err := c.call(http.MethodGet, "backends", nil, &list); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), list)
			}
			return writeBackendTable(cmd.OutOrStdout(), list.Data, now())
		},
	}
	admin.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeBackendTable(w io.Writer, all []control.Backend, now time.Time) error {
	if len(all) == 0 {
		_, err := io.WriteString(w, "There are no backends: the configuration has no gate.\n")
		return err
	}
	t := &table{left: 3}
	t.add([]string{"NAME", "API", "STATE", "IN FLIGHT", "WAITING", "FIRST TOKEN", "TRIES", "FAILURES", "KEYS", "PROXY"})
	for _, b := range all {
		inflight, first, keys := strconv.FormatInt(b.Inflight, 10), "-", "-"
		if b.MaxInflight != nil {
			inflight += fmt.Sprintf("/%d", *b.MaxInflight)
		}
		waiting := strconv.Itoa(b.Waiting)
		if b.Queue != nil {
			waiting += fmt.Sprintf("/%d", *b.Queue)
		}
		if b.FirstTokenSeconds != nil {
			first = fmt.Sprintf("%.3f s", *b.FirstTokenSeconds)
		}
		if n := b.Credentials.Total; n > 0 {
			keys = fmt.Sprintf("%d/%d", n-b.Credentials.Cooling, n)
		}
		t.add([]string{b.Name, b.API, backendState(&b, now), inflight, waiting, first, humanize.Comma(b.Attempts), humanize.Comma(b.Failures), keys, proxyOf(&b)})
	}
	return t.write(w)
}

// proxyOf returns how a backend's requests are forwarded, and why.
func proxyOf(b *control.Backend) string {
	if b.ProxyReason == nil {
		return b.Proxy
	}
	return fmt.Sprintf("%s (%s)", b.Proxy, printable(*b.ProxyReason))
}

// backendState describes the state of a backend in a few words. If many models are
// cooling down, it names the first.
func backendState(b *control.Backend, now time.Time) string {
	var words []string
	switch {
	case b.Up == nil:
		words = append(words, "untried")
	case *b.Up:
		words = append(words, "up")
	default:
		words = append(words, "down")
	}
	const named = 3
	for i, c := range b.Cooldowns {
		if i == named {
			words = append(words, fmt.Sprintf("%d more cooling", len(b.Cooldowns)-named))
			break
		}
		what := "cooling"
		if c.Model != nil {
			what = printable(*c.Model) + " cooling"
		}
		if c.Key != nil {
			what += " for " + printable(*c.Key)
		}
		left := max(0, time.Unix(c.Until, 0).Sub(now)).Round(time.Second)
		words = append(words, fmt.Sprintf("%s %s (%s)", what, left, strings.ReplaceAll(c.Reason, "_", " ")))
	}
	return strings.Join(words, ", ")
}
