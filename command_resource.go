package pinegate

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
)

// resource is what `key` and `team` have in common: things with an id that the
// control plane keeps.
type resource struct {
	door *doorFlags
	name string // as people say it: key
	path string // as the API does: keys
}

// of is the API's path of one of them.
func (r resource) of(id string) string { return r.path + "/" + url.PathEscape(id) }

// command makes a command about one of them, whose id is its argument.
func (r resource) command(use, short string, run func(cmd *cobra.Command, id string, door door) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  oneArgument("the id of the " + r.name),
		RunE: asking(r.door, func(cmd *cobra.Command, args []string, door door) error {
			return run(cmd, args[0], door)
		}),
	}
}

// act makes a command that does something to one of them and says that it is
// done.
func (r resource) act(use, short, method, what string, body any, done string) *cobra.Command {
	return r.command(use+" <id>", short, func(cmd *cobra.Command, id string, door door) error {
		if err := door.ask(method, r.of(id)+what, body, nil); err != nil {
			return err
		}
		return said(cmd, "%s %q is %s.\n", capital(r.name), id, done)
	})
}

func (r resource) deletion(short string) *cobra.Command {
	return r.act("delete", short, http.MethodDelete, "", nil, "deleted")
}

func capital(word string) string { return string(word[0]-'a'+'A') + word[1:] }

// showCommand makes the command that shows one of them.
func showCommand[T any](r resource, short string, print func(w io.Writer, it *T, asJSON bool) error) *cobra.Command {
	var asJSON *bool
	cmd := r.command("show <id> [--json]", short, func(cmd *cobra.Command, id string, door door) error {
		it := new(T)
		if err := door.ask(http.MethodGet, r.of(id), nil, it); err != nil {
			return err
		}
		return print(cmd.OutOrStdout(), it, *asJSON)
	})
	asJSON = jsonFlag(cmd)
	return cmd
}

// updateCommand makes the command that changes what fields returns of one of them.
func updateCommand[T any](r resource, use, short, hint string, fields func(*cobra.Command) map[string]any, print func(w io.Writer, it *T, asJSON bool) error) *cobra.Command {
	var asJSON *bool
	cmd := r.command("update <id> "+use, short, func(cmd *cobra.Command, id string, door door) error {
		body := fields(cmd)
		if len(body) == 0 {
			return errors.New("nothing to change: say what by a flag, as " + hint + "; see --help")
		}
		it := new(T)
		if err := door.ask(http.MethodPatch, r.of(id), body, it); err != nil {
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
