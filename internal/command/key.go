package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// keyCommand returns `caddy pinegate key …`.
func keyCommand() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "key <command>",
		Short: "Makes, shows and revokes keys while the gate runs",
		Long: `
Makes keys for callers, shows, changes, rotates and revokes them, at the gate that
runs on this machine, by Caddy's admin endpoint; with --store, in a store that no
gate has open. A gate takes them whose pinegate block says "keys store"; what holds
for one gate of a Redis holds for all within a second.

A secret is printed once, when it is made: the gate keeps its hash. Fields that are
not given have the gate's defaults.`,
		Example: `  caddy pinegate key create alice --team search --limit "60 requests/minute" --limit "25 usd/month"
  caddy pinegate key rotate alice --grace 24h
  caddy pinegate key revoke alice`,
	}
	flags.add(cmd)
	keys := resource{&flags, "key", "keys"}
	asGroup(cmd,
		keyCreateCommand(&flags), keyListCommand(&flags), showCommand(keys, "Shows a key", printKey), keyUpdateCommand(keys), keyRotateCommand(keys),
		keys.act("disable", "Refuses a key without forgetting it", http.MethodPatch, "", map[string]any{"disabled": true}, "disabled"),
		keys.act("enable", "Lets a disabled key in again", http.MethodPatch, "", map[string]any{"disabled": false}, "enabled"),
		keys.act("revoke", "Takes all secrets of a key away, for good; its usage keeps its name", http.MethodPost, "/revoke", map[string]any{}, "revoked"),
		keys.deletion("Forgets a key, whose id can then be used again; its usage stays"),
	)
	return cmd
}

// withClient returns a RunE function that opens a client and passes it to run.
func withClient(flags *clientFlags, run func(cmd *cobra.Command, args []string, c client) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceUsage = true // the usage text would hide the error
		c, err := flags.open()
		if err != nil {
			return err
		}
		return errors.Join(run(cmd, args, c), c.Close())
	}
}

// keyFlags holds the flags for the fields of a key.
type keyFlags struct {
	team, expires                      string
	models, endpoints, limits, allowIP []string
	metadata                           map[string]string
}

func (f *keyFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.team, "team", "", "the team whose limits it shares")
	flags.StringSliceVar(&f.models, "models", nil, "patterns of the models that it may use, or none")
	flags.StringSliceVar(&f.endpoints, "endpoints", nil, strings.Join(wire.Groups(), ", "))
	flags.StringArrayVar(&f.limits, "limit", nil, `a limit, as in "60 requests/minute burst 10"; may be repeated`)
	flags.StringVar(&f.expires, "expires", "", "a date, the last day in UTC on which it works, or an RFC 3339 time")
	flags.StringSliceVar(&f.allowIP, "allow-ip", nil, "networks or addresses that it works from")
	flags.StringToStringVar(&f.metadata, "metadata", nil, "what else to remember of it, as name=value")
}

// fields returns the flags that are set as fields of the API. In an update, an
// empty value resets a field to its default.
func (f *keyFlags) fields(cmd *cobra.Command) map[string]any {
	given := make(map[string]any)
	set := func(flag, field string, value any, empty bool) {
		switch {
		case !cmd.Flags().Changed(flag):
		case empty:
			given[field] = nil
		default:
			given[field] = value
		}
	}
	noLimits := len(f.limits) == 0 || len(f.limits) == 1 && f.limits[0] == ""
	set("team", "team", f.team, f.team == "")
	set("models", "models", f.models, len(f.models) == 0)
	set("endpoints", "endpoints", f.endpoints, len(f.endpoints) == 0)
	set("limit", "limits", f.limits, noLimits)
	set("expires", "expires", f.expires, f.expires == "")
	set("allow-ip", "allow_ip", f.allowIP, len(f.allowIP) == 0)
	set("metadata", "metadata", f.metadata, len(f.metadata) == 0)
	return given
}

func keyCreateCommand(flags *clientFlags) *cobra.Command {
	var f keyFlags
	var env string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create <id> [--team <team>] [--limit <limit>]... [--models <pattern>,...] [--expires <date>] [--json]",
		Short: "Makes a key and prints its secret, this once",
		Args:  oneArgument("the id of the key"),
		RunE: withClient(flags, func(cmd *cobra.Command, args []string, c client) error {
			body := f.fields(cmd)
			maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
			body["id"], body["env"] = args[0], env
			var created control.CreatedKey
			if err := c.call(http.MethodPost, "keys", body, &created); err != nil {
				return err
			}
			return printSecret(cmd, &created, asJSON)
		}),
	}
	f.add(cmd)
	cmd.Flags().StringVar(&env, "env", "live", "the environment of the key, which is part of its prefix: live or test")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the key as JSON")
	return cmd
}

// printSecret prints a new secret: standard output contains nothing else.
func printSecret(cmd *cobra.Command, created *control.CreatedKey, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), created)
	}
	if _, err := fmt.Fprintln(cmd.OutOrStdout(), created.Key); err != nil {
		return err
	}
	_, err := fmt.Fprintf(cmd.ErrOrStderr(), "This is the secret of key %q. It can't be shown again.\n", created.ID)
	return err
}

func keyListCommand(flags *clientFlags) *cobra.Command {
	var team string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--team <team>] [--json]",
		Short: "Lists all keys, those of the configuration too",
		Args:  cobra.NoArgs,
		RunE: withClient(flags, func(cmd *cobra.Command, _ []string, c client) error {
			query := url.Values{"limit": {"1000"}}
			if cmd.Flags().Changed("team") {
				query.Set("team", team)
			}
			all := []control.Key{}
			for {
				var page control.KeyPage
				if err := c.call(http.MethodGet, "keys?"+query.Encode(), nil, &page); err != nil {
					return err
				}
				all = append(all, page.Data...)
				if page.Next == nil {
					break
				}
				query.Set("after", *page.Next)
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), all)
			}
			return writeKeyTable(cmd.OutOrStdout(), all)
		}),
	}
	cmd.Flags().StringVar(&team, "team", "", "only keys of this team")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func keyUpdateCommand(keys resource) *cobra.Command {
	var f keyFlags
	cmd := updateCommand(keys, "[--limit <limit>]... [--team <team>] ...",
		"Changes a key; an empty value goes back to the default", "--limit or --team", f.fields, printKey)
	f.add(cmd)
	return cmd
}

func keyRotateCommand(keys resource) *cobra.Command {
	var env, grace string
	var asJSON bool
	cmd := keys.command("rotate <id> [--grace <duration>] [--json]",
		"Gives a key a new secret and prints it; the old one works on for the grace",
		func(cmd *cobra.Command, id string, c client) error {
			var created control.CreatedKey
			if err := c.call(http.MethodPost, keys.of(id)+"/rotate", map[string]any{"env": env, "grace": grace}, &created); err != nil {
				return err
			}
			return printSecret(cmd, &created, asJSON)
		})
	cmd.Flags().StringVar(&env, "env", "live", "the environment of the key, which is part of its prefix: live or test")
	cmd.Flags().StringVar(&grace, "grace", "0s", "how long the old secrets work on, as in 24h or 7d")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the key as JSON")
	return cmd
}

// printf prints to the standard output of cmd.
func printf(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format, args...)
	return err
}

// oneArgument requires one argument, which what describes. Its error does not
// contain the arguments, since a user may have pasted a secret.
func oneArgument(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("expected one argument, %s; found %d", what, len(args))
		}
		return nil
	}
}

func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func printKey(w io.Writer, key *control.Key, asJSON bool) error {
	if asJSON {
		return printJSON(w, key)
	}
	t := &table{left: 2}
	t.add([]string{"FIELD", "VALUE"})
	for _, line := range keyLines(key) {
		if line[1] != "" {
			t.add(line)
		}
	}
	return t.write(w)
}

// keyLines returns the names and values of a key's fields.
func keyLines(key *control.Key) [][]string {
	lines := [][]string{
		{"id", key.ID}, {"source", key.Source}, {"state", stateOf(key)}, {"team", key.Team},
		{"models", strings.Join(key.Models, ", ")}, {"endpoints", strings.Join(key.Endpoints, ", ")},
		{"limits", limitTexts(key)}, {"expires", key.Expires}, {"allow_ip", strings.Join(key.AllowIP, ", ")},
		{"secrets", secretTexts(key.Secrets)},
	}
	for _, name := range slices.Sorted(maps.Keys(key.Metadata)) {
		lines = append(lines, []string{"metadata " + name, key.Metadata[name]})
	}
	if key.Source == "store" {
		lines = append(lines, []string{"created", key.Created.Format("2006-01-02 15:04:05Z")},
			[]string{"updated", key.Updated.Format("2006-01-02 15:04:05Z")}, []string{"version", strconv.FormatInt(key.Version, 10)})
	}
	return lines
}

func stateOf(key *control.Key) string {
	switch {
	case key.Revoked != nil:
		return "revoked"
	case key.Disabled:
		return "disabled"
	}
	return "active"
}

func limitTexts(key *control.Key) string {
	texts := make([]string, 0, len(key.Limits))
	for _, limit := range key.Limits {
		texts = append(texts, limit.String())
	}
	return strings.Join(texts, ", ")
}

func secretTexts(secrets []registry.Secret) string {
	texts := make([]string, 0, len(secrets))
	for _, s := range secrets {
		text := "…" + s.Last4
		if s.Expires != nil {
			text += " until " + s.Expires.Format("2006-01-02 15:04:05Z")
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

func writeKeyTable(w io.Writer, all []control.Key) error {
	if len(all) == 0 {
		_, err := io.WriteString(w, "There are no keys. `caddy pinegate key create <id>` makes one.\n")
		return err
	}
	t := &table{left: 7}
	t.add([]string{"ID", "STATE", "TEAM", "LIMITS", "EXPIRES", "SECRETS", "SOURCE"})
	for _, key := range all {
		t.add([]string{key.ID, stateOf(&key), key.Team, limitTexts(&key), key.Expires, secretTexts(key.Secrets), key.Source})
	}
	return t.write(w)
}
