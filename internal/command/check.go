package command

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/control"
)

// checkTimeout is the timeout of a check: health checks run every few seconds.
const checkTimeout = 5 * time.Second

func checkCommand() *cobra.Command {
	var address, config, adapter string
	cmd := &cobra.Command{
		Use:   "check [--address <address or URL>]",
		Short: "Reports whether the gate of a running Caddy is ready for requests",
		Long: `
Asks the Caddy that runs on this machine, by its admin endpoint, whether its gate
may be sent requests, as /readyz does: not while its store of usage is away or
full, nor where its limits deny since their store is away.

With a URL that has a path (http://127.0.0.1:8080/readyz) it asks that instead, and
takes 200 for a yes: that goes through the gate's own listener. Redirects are not
followed.

It prints the answer. The exit status is 0 where the gate is ready, else 1:
it is made for health checks of images without a shell.`,
		Example: `  caddy pinegate check
  caddy pinegate check --address http://127.0.0.1:8080/readyz`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true // a page of flags would hide the error
			if probe, ok := probeURL(address); ok {
				return checkURL(cmd.Context(), cmd.OutOrStdout(), probe)
			}
			address, err := caddycmd.DetermineAdminAPIAddress(strings.TrimSuffix(strings.TrimPrefix(address, "http://"), "/"), nil, config, adapter)
			if err != nil {
				return fmt.Errorf("finding the admin endpoint: %w", err)
			}
			return checkAdmin(cmd.OutOrStdout(), address)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&address, "address", "", "", "the address of Caddy's admin endpoint, if not the default, or the URL of a probe")
	flags.StringVarP(&config, "config", "c", "", "a configuration file that says where the admin endpoint is")
	flags.StringVarP(&adapter, "adapter", "a", "", "the name of the config adapter for --config")
	return cmd
}

// probeURL returns address and true if it is the URL of a probe, which has a
// path.
func probeURL(address string) (string, bool) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return "", false
	}
	return address, u.Scheme == "https" || strings.Trim(u.Path, "/") != ""
}

func checkURL(ctx context.Context, out io.Writer, probe string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, probe, nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", probe, err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("can't connect: %w: start Caddy, or name the address of the gate with --address", err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		return printLine(out, res.Body)
	case http.StatusServiceUnavailable:
		return fmt.Errorf("the gate at %s is not ready: it stops, or its store is away; its log says which", probe)
	case http.StatusNotFound:
		return fmt.Errorf("%s is not there: a gate has /readyz and /healthz; is it another site?", probe)
	default:
		return fmt.Errorf("%s answers with status %d: expected the /readyz of a gate", probe, res.StatusCode)
	}
}

func checkAdmin(out io.Writer, address string) error {
	// Caddy's client has no timeout, and the process ends with this command.
	type answer struct {
		res *http.Response
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		res, err := caddycmd.AdminAPIRequest(address, http.MethodGet, control.ReadyPath, nil, nil) //nolint:bodyclose // closed below
		answers <- answer{res, err}
	}()
	select {
	case a := <-answers:
		if a.err != nil {
			return explainReady(address, a.err)
		}
		defer a.res.Body.Close()
		return printLine(out, a.res.Body)
	case <-time.After(checkTimeout):
		return fmt.Errorf("the admin endpoint at %s did not answer within %s: the process hangs, or is short of CPU", address, checkTimeout)
	}
}

// explainReady adds a suggestion to an error of Caddy's client.
func explainReady(address string, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "HTTP 503") && strings.Contains(text, "no pinegate"):
		return fmt.Errorf("the Caddy at %s runs a configuration without pinegate: load one that has it", address)
	case strings.Contains(text, "HTTP 503") && strings.Contains(text, control.ErrStarting.Error()):
		return fmt.Errorf("the Caddy at %s is starting: no configuration runs yet", address)
	case strings.Contains(text, "HTTP 503"):
		return fmt.Errorf("the gate of the Caddy at %s is not ready: a store is away, or full; its log says which", address)
	case strings.Contains(text, "HTTP 404"):
		return fmt.Errorf("the Caddy at %s does not know pinegate's check: it runs another binary, maybe an older one; restart it with this one", address)
	}
	return explain(address, err)
}

// printLine prints the answer of a probe, one short line.
func printLine(out io.Writer, body io.Reader) error {
	text, err := io.ReadAll(io.LimitReader(body, 200))
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	_, err = fmt.Fprintln(out, strings.TrimSpace(string(text)))
	return err
}
