package command

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/doctor"
)

// diagnosis is the command's output in JSON.
type diagnosis struct {
	Running  bool             `json:"running"` // false: only a file was checked
	Findings []doctor.Finding `json:"findings"`
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
			cmd.SilenceUsage = true // the usage text would hide the error
			gate, err := admin.instance(now())
			if err != nil {
				return err
			}
			d := diagnosis{Running: gate.Running(), Findings: gate.Check()}
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

// verdictOn returns an error if a finding is serious.
func verdictOn(findings []doctor.Finding) error {
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
		if _, err := fmt.Fprintf(w, "%s  %s\n         do: %s\n", level, printable(f.What), f.Do); err != nil {
			return err
		}
	}
	return nil
}

// instance returns the running gate, or else the configuration in the file of
// --config.
func (f *adminFlags) instance(now time.Time) (*doctor.Instance, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	config, err := runningConfig(address)
	switch {
	case err == nil:
		gate, err := doctor.New(config, now)
		if err != nil || !gate.Configured() {
			return gate, err
		}
		return gate, gate.Fetch(adminClient{address}.call)
	case f.config == "" || !errors.Is(err, errNoAnswer):
		return nil, err
	}
	config, _, _, err = caddycmd.LoadConfig(f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("no gate runs at %s, and the configuration can't be read: %w", address, err)
	}
	return doctor.New(config, now)
}

// maxConfig is the size of the largest configuration that is read, in bytes.
const maxConfig = 256 << 20

// runningConfig returns the running configuration from Caddy's admin endpoint.
func runningConfig(address string) ([]byte, error) {
	res, err := caddycmd.AdminAPIRequest(address, http.MethodGet, "/config/", nil, nil)
	if err != nil {
		return nil, explain(address, err)
	}
	defer res.Body.Close()
	config, err := io.ReadAll(io.LimitReader(res.Body, maxConfig))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration that runs at %s: %w", address, err)
	}
	return config, nil
}
