// Package command implements the commands `caddy pinegate …`. They connect to a
// running gate through Caddy's admin endpoint, or open an embedded store that no
// gate has open.
package command

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// Command returns the command `caddy pinegate` for Caddy to register.
func Command() caddycmd.Command {
	return caddycmd.Command{
		Name:  "pinegate",
		Short: "Operates the inference gateway: its keys, what was used, how it does",
		Long: `
Makes keys for callers of the pinegate handler, hashes the ones you have, so that
the configuration holds no secret, prints what the gate of a running Caddy has
recorded, what its limits have left and how its backends do, whether it is ready, and
what is wrong with it.`,
		CobraFunc: func(cmd *cobra.Command) {
			asGroup(cmd,
				demoCommand(), keygenCommand(rand.Reader), hashCommand(terminalPrompt), usageCommand(queryAdmin, time.Now), checkCommand(), keyCommand(), teamCommand(),
				limitsCommand(time.Now), backendsCommand(time.Now), doctorCommand(time.Now))
		},
	}
}

// asGroup makes cmd a group of subcommands. Without a subcommand it prints its help;
// an unknown one is an error, which cobra checks at the root only.
func asGroup(cmd *cobra.Command, subcommands ...*cobra.Command) {
	cmd.AddCommand(subcommands...)
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		cmd.SilenceUsage = true // a page of flags would hide the error
		similar := cmd.SuggestionsFor(args[0])
		if len(similar) == 0 {
			return fmt.Errorf("%q has no such command: see --help", cmd.CommandPath())
		}
		return fmt.Errorf("%q has no such command: did you mean %s?", cmd.CommandPath(), strings.Join(similar, " or "))
	}
}

func keygenCommand(random io.Reader) *cobra.Command {
	var env string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "keygen [--env live|test] [--json]",
		Short: "Makes a key and prints it, with the hash that goes into the Caddyfile",
		Long: `
Makes a key of 256 random bits and prints it on standard output, and on standard
error its hash, for a line "key <id> sha256:..." of the Caddyfile. The gate keeps
the hash only: the key can't be shown again.

With --json both are printed on standard output, as {"key": ..., "sha256": ...}.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := keys.Generate(env, random)
			if err != nil {
				return err
			}
			hash := keys.HashSecret(key).String()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(struct {
					Key    string `json:"key"`
					SHA256 string `json:"sha256"`
				}{key, hash})
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), key); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), hash)
			return err
		},
	}
	cmd.Flags().StringVar(&env, "env", "live", "the environment of the key, which is part of its prefix: live or test")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the key and its hash as JSON")
	return cmd
}

// errSecretArgument does not contain the argument, which is a secret.
var errSecretArgument = errors.New("hash takes no argument, which would stand in the shell's history and in the list of processes: write the secret to standard input, or run it in a terminal and type it")

// hashCommand returns the command `hash`. prompt asks for the secret if standard
// input is a terminal.
func hashCommand(prompt func(in io.Reader, out io.Writer) (secret string, asked bool, err error)) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hash",
		Short: "Prints the hash of a secret for the Caddyfile",
		Long: `
Reads a secret from standard input, or asks for it where that is a terminal, and
prints "sha256:..." for the Caddyfile, a JSON config or a file of keys.

The secret is never an argument: arguments stand in the shell's history and in
the list of processes.`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return errSecretArgument
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			secret, asked, err := prompt(cmd.InOrStdin(), cmd.ErrOrStderr())
			if err == nil && !asked {
				secret, err = readSecret(cmd.InOrStdin())
			}
			if err != nil {
				return fmt.Errorf("reading the secret: %w", err)
			}
			if strings.ContainsAny(secret, "{}") {
				return errors.New("the secret holds '{' or '}', which the Caddyfile keeps for placeholders: choose another one")
			}
			sealed, err := keys.SealSecret(secret)
			if err != nil {
				return fmt.Errorf("the secret can't be used: %w", err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), sealed)
			return err
		},
	}
	// cobra would parse a secret that begins with a dash as a flag, and its message
	// would contain it.
	cmd.SetFlagErrorFunc(func(*cobra.Command, error) error { return errSecretArgument })
	return cmd
}

// readSecret returns the input without the newline that echo and editors append.
func readSecret(in io.Reader) (string, error) {
	// One byte more than the longest secret with its line break, so that a longer one
	// is detected.
	text, err := io.ReadAll(io.LimitReader(in, keys.MaxSecretLength+int64(len("\r\n"))+1))
	return strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"), err
}

// terminalPrompt asks for a secret, without echo, if in is a terminal.
func terminalPrompt(in io.Reader, out io.Writer) (secret string, asked bool, err error) {
	file, ok := in.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return "", false, nil
	}
	if _, err := fmt.Fprint(out, "Secret: "); err != nil {
		return "", true, err
	}
	text, err := term.ReadPassword(int(file.Fd()))
	_, _ = fmt.Fprintln(out) // the line break that was not echoed; cosmetic
	return string(text), true, err
}
