package pinegate

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/control"
)

// diagnosis is what the doctor prints as JSON.
type diagnosis struct {
	Running  bool      `json:"running"` // whether a gate was asked, not only a file read
	Findings []finding `json:"findings"`
}

func doctorCommand(now func() time.Time) *cobra.Command {
	var admin adminFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor [--config <Caddyfile>] [--json]",
		Short: "Finds what is wrong with a gate, and says what to do",
		Long: `
Looks at the gate of the Caddy that runs on this machine, by its admin endpoint: at
its configuration, and at how its store, its backends and its keys are. Where none
runs and --config names a configuration, it looks at that alone.

It prints what it would change and what to do about it. The exit status is 1 where
any of it is serious, or where it could look at nothing, else 0.`,
		Example: `  caddy pinegate doctor
  caddy pinegate doctor --config /etc/caddy/Caddyfile`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true // a page of flags would hide the error
			p, err := admin.patient(now())
			if err != nil {
				return err
			}
			d := diagnosis{Running: p.status != nil, Findings: p.examine()}
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), d)
			} else {
				err = writeFindings(cmd.OutOrStdout(), &d)
			}
			if err != nil {
				return err
			}
			return verdictOn(d.Findings)
		},
	}
	admin.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// verdictOn is an error where something is serious.
func verdictOn(findings []finding) error {
	n := 0
	for _, f := range findings {
		if f.Serious {
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return errors.New("one finding is serious")
	}
	return fmt.Errorf("%d findings are serious", n)
}

func writeFindings(w io.Writer, d *diagnosis) error {
	what := "The gate that runs"
	if !d.Running {
		what = "The configuration (no gate runs)"
	}
	if len(d.Findings) == 0 {
		_, err := fmt.Fprintf(w, "%s is as it should be.\n", what)
		return err
	}
	if _, err := fmt.Fprintf(w, "%s:\n\n", what); err != nil {
		return err
	}
	for _, f := range d.Findings {
		level := "warning"
		if f.Serious {
			level = "SERIOUS"
		}
		if _, err := fmt.Fprintf(w, "%s  %s\n         do: %s\n", level, f.What, f.Do); err != nil {
			return err
		}
	}
	return nil
}

// patient finds what to look at: the gate that runs, else the file of --config.
func (f *adminFlags) patient(now time.Time) (*patient, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	config, err := runningConfig(address)
	switch {
	case err == nil:
		p, err := newPatient(config, now)
		if err != nil || len(p.gates) == 0 && len(p.admins) == 0 {
			return p, err
		}
		return p, p.ask(adminDoor{address})
	case f.config == "" || !errors.Is(err, errNobody):
		return nil, err
	}
	config, _, _, err = caddycmd.LoadConfig(f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("no gate runs at %s, and the configuration can't be read: %w", address, err)
	}
	return newPatient(config, now)
}

// maxConfig bounds the configuration that is read, in bytes.
const maxConfig = 256 << 20

// runningConfig asks Caddy's admin endpoint for the configuration that runs.
func runningConfig(address string) ([]byte, error) {
	res, err := caddycmd.AdminAPIRequest(address, http.MethodGet, "/config/", nil, nil)
	if err != nil {
		return nil, explained(address, err)
	}
	defer res.Body.Close()
	config, err := io.ReadAll(io.LimitReader(res.Body, maxConfig))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration that runs at %s: %w", address, err)
	}
	return config, nil
}

// maxExamined bounds how many keys the doctor looks at.
const maxExamined = 10_000

// ask asks a gate how it is.
func (p *patient) ask(gate door) error {
	p.status = new(control.Status)
	if err := gate.ask(http.MethodGet, "status", nil, p.status); err != nil {
		return err
	}
	var backends control.BackendList
	if err := gate.ask(http.MethodGet, "backends", nil, &backends); err != nil {
		return err
	}
	p.backends = backends.Data
	if err := gate.ask(http.MethodGet, "teams", nil, &p.teams); err != nil {
		return err
	}
	query := url.Values{"limit": {"1000"}}
	for {
		var page control.KeyPage
		if err := gate.ask(http.MethodGet, "keys?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		p.keys = append(p.keys, page.Data...)
		if page.Next == nil {
			return nil
		}
		if len(p.keys) >= maxExamined {
			p.moreKeys = true
			return nil
		}
		query.Set("after", *page.Next)
	}
}
