package pinegate

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/control"
	"github.com/amanycodes/pine-gate/keys/registry"
)

// teamCommand is `caddy pinegate team …`.
func teamCommand() *cobra.Command {
	var d doorFlags
	cmd := &cobra.Command{
		Use:   "team <command>",
		Short: "Makes, shows and changes teams while the gate runs",
		Long: `
Makes teams, whose keys share limits and a choice of models, and shows, changes and
deletes them, through the same doors as "caddy pinegate key". Teams of the
configuration are changed there.`,
		Example: `  caddy pinegate team create search --limit "500 usd/month" --models "gpt-*"`,
	}
	d.add(cmd)
	cmd.AddCommand(teamCreateCommand(&d), teamListCommand(&d), teamShowCommand(&d), teamUpdateCommand(&d), teamDeleteCommand(&d))
	return cmd
}

// teamFlags say what holds for a team.
type teamFlags struct {
	models, limits []string
	metadata       map[string]string
}

func (f *teamFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&f.models, "models", nil, "patterns of the models that its keys may use, or none")
	flags.StringArrayVar(&f.limits, "limit", nil, `a limit that its keys share, as in "25 usd/month"; may be repeated`)
	flags.StringToStringVar(&f.metadata, "metadata", nil, "what else to remember of it, as name=value")
}

func (f *teamFlags) fields(cmd *cobra.Command) map[string]any {
	return (&keyFlags{models: f.models, limits: f.limits, metadata: f.metadata}).fields(cmd)
}

func teamCreateCommand(d *doorFlags) *cobra.Command {
	var f teamFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create <id> [--limit <limit>]... [--models <pattern>,...] [--json]",
		Short: "Makes a team",
		Args:  oneArgument("the id of the team"),
		RunE: asking(d, func(cmd *cobra.Command, args []string, door door) error {
			body := f.fields(cmd)
			maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
			body["id"] = args[0]
			var team registry.Team
			if err := door.ask(http.MethodPost, "teams", body, &team); err != nil {
				return err
			}
			return printTeams(cmd.OutOrStdout(), asJSON, &team)
		}),
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func teamListCommand(d *doorFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "Lists the teams that were made at runtime",
		Args:  cobra.NoArgs,
		RunE: asking(d, func(cmd *cobra.Command, _ []string, door door) error {
			var list control.TeamList
			if err := door.ask(http.MethodGet, "teams", nil, &list); err != nil {
				return err
			}
			switch {
			case asJSON:
				return printJSON(cmd.OutOrStdout(), list.Data)
			case len(list.Data) == 0:
				return said(cmd, "No team was made at runtime. `caddy pinegate team create <id>` makes one.\n")
			}
			return printTeams(cmd.OutOrStdout(), false, list.Data...)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func teamShowCommand(d *doorFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show <id> [--json]",
		Short: "Shows a team",
		Args:  oneArgument("the id of the team"),
		RunE: asking(d, func(cmd *cobra.Command, args []string, door door) error {
			var team registry.Team
			if err := door.ask(http.MethodGet, "teams/"+url.PathEscape(args[0]), nil, &team); err != nil {
				return err
			}
			return printTeams(cmd.OutOrStdout(), asJSON, &team)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func teamUpdateCommand(d *doorFlags) *cobra.Command {
	var f teamFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "update <id> [--limit <limit>]... [--models <pattern>,...]",
		Short: "Changes a team; an empty value goes back to the default",
		Args:  oneArgument("the id of the team"),
		RunE: asking(d, func(cmd *cobra.Command, args []string, door door) error {
			body := f.fields(cmd)
			if len(body) == 0 {
				return errors.New("nothing to change: say what by a flag, as --limit or --models; see --help")
			}
			var team registry.Team
			if err := door.ask(http.MethodPatch, "teams/"+url.PathEscape(args[0]), body, &team); err != nil {
				return err
			}
			return printTeams(cmd.OutOrStdout(), asJSON, &team)
		}),
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func teamDeleteCommand(d *doorFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "delete <id>",
		Short: "Forgets a team that no key is of",
		Args:  oneArgument("the id of the team"),
		RunE: asking(d, func(cmd *cobra.Command, args []string, door door) error {
			if err := door.ask(http.MethodDelete, "teams/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			return said(cmd, "Team %q is deleted.\n", args[0])
		}),
	}
}

func printTeams(w io.Writer, asJSON bool, teams ...*registry.Team) error {
	if asJSON {
		return printJSON(w, teams[0])
	}
	t := &table{left: 3}
	t.add([]string{"ID", "LIMITS", "MODELS"})
	for _, team := range teams {
		limits := make([]string, 0, len(team.Limits))
		for _, limit := range team.Limits {
			limits = append(limits, limit.String())
		}
		t.add([]string{team.ID, strings.Join(limits, ", "), strings.Join(team.Models, ", ")})
	}
	return t.write(w)
}
