package command

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

// resource builds the commands that `key` and `team` have in common.
type resource struct {
	flags *clientFlags
	name  string // in texts: key
	path  string // in the API: keys
}

// of returns the API's path of the resource with this id.
func (r resource) of(id string) string { return r.path + "/" + url.PathEscape(id) }

// command returns a command whose argument is an id.
func (r resource) command(use, short string, run func(cmd *cobra.Command, id string, c client) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  oneArgument("the id of the " + r.name),
		RunE: withClient(r.flags, func(cmd *cobra.Command, args []string, c client) error {
			return run(cmd, args[0], c)
		}),
	}
}

// act returns a command that sends one request and prints that it succeeded.
func (r resource) act(use, short, method, what string, body any, done string) *cobra.Command {
	return r.command(use+" <id>", short, func(cmd *cobra.Command, id string, c client) error {
		if err := c.call(method, r.of(id)+what, body, nil); err != nil {
			return err
		}
		return printf(cmd, "%s %q is %s.\n", capital(r.name), id, done)
	})
}

func (r resource) deletion(short string) *cobra.Command {
	return r.act("delete", short, http.MethodDelete, "", nil, "deleted")
}

func capital(word string) string { return string(word[0]-'a'+'A') + word[1:] }

// showCommand returns the command that shows a resource.
func showCommand[T any](r resource, short string, print func(w io.Writer, it *T, asJSON bool) error) *cobra.Command {
	var asJSON *bool
	cmd := r.command("show <id> [--json]", short, func(cmd *cobra.Command, id string, c client) error {
		it := new(T)
		if err := c.call(http.MethodGet, r.of(id), nil, it); err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), it, *asJSON)
	})
	asJSON = jsonFlag(cmd)
	return cmd
}

// updateCommand returns the command that changes the fields returned by
// fields.
func updateCommand[T any](r resource, use, short, hint string, fields func(*cobra.Command) map[string]any, print func(w io.Writer, it *T, asJSON bool) error) *cobra.Command {
	var asJSON *bool
	cmd := r.command("update <id> "+use, short, func(cmd *cobra.Command, id string, c client) error {
		body := fields(cmd)
		if len(body) == 0 {
			return errors.New("nothing to change: say what by a flag, as " + hint + "; see --help")
		}
		it := new(T)
		if err := c.call(http.MethodPatch, r.of(id), body, it); err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), it, *asJSON)
	})
	asJSON = jsonFlag(cmd)
	return cmd
}

func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "print JSON")
}
