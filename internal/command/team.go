package command

import (
	"io"
	"maps"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/keys/registry"
)

// teamCommand returns `caddy pinegate team …`.
func teamCommand() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "team <command>",
		Short: "Makes, shows and changes teams while the gate runs",
		Long: `
Makes teams, whose keys share limits and a choice of models, and shows, changes and
deletes them, in the same ways as "caddy pinegate key". Teams of the
configuration are changed there.`,
		Example: `  caddy pinegate team create search --limit "500 usd/month" --models "gpt-*"`,
	}
	flags.add(cmd)
	teams := resource{&flags, "team", "teams"}
	asGroup(cmd,
		teamCreateCommand(&flags), teamListCommand(&flags), showCommand(teams, "Shows a team", printTeam), teamUpdateCommand(teams),
		teams.deletion("Forgets a team that no key is of"),
	)
	return cmd
}

// teamFlags holds the flags for the fields of a team.
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

func teamCreateCommand(flags *clientFlags) *cobra.Command {
	var f teamFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create <id> [--limit <limit>]... [--models <pattern>,...] [--json]",
		Short: "Makes a team",
		Args:  oneArgument("the id of the team"),
		RunE: withClient(flags, func(cmd *cobra.Command, args []string, c client) error {
			body := f.fields(cmd)
			maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
			body["id"] = args[0]
			var team registry.Team
			if err := c.call(http.MethodPost, "teams", body, &team); err != nil {
				return err
			}
			return printTeams(cmd.OutOrStdout(), asJSON, &team)
		}),
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func teamListCommand(flags *clientFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [--json]",
		Short: "Lists the teams that were made at runtime",
		Args:  cobra.NoArgs,
		RunE: withClient(flags, func(cmd *cobra.Command, _ []string, c client) error {
			var list control.TeamList
			if err := c.call(http.MethodGet, "teams", nil, &list); err != nil {
				return err
			}
			switch {
			case asJSON:
				return printJSON(cmd.OutOrStdout(), list.Data)
			case len(list.Data) == 0:
				return printf(cmd, "No team was made at runtime. `caddy pinegate team create <id>` makes one.\n")
			}
			return printTeams(cmd.OutOrStdout(), false, list.Data...)
		}),
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func teamUpdateCommand(teams resource) *cobra.Command {
	var f teamFlags
	cmd := updateCommand(teams, "[--limit <limit>]... [--models <pattern>,...]",
		"Changes a team; an empty value goes back to the default", "--limit or --models", f.fields, printTeam)
	f.add(cmd)
	return cmd
}

func printTeam(w io.Writer, team *registry.Team, asJSON bool) error {
	return printTeams(w, asJSON, team)
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
