package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// run executes a command as the shell would, without Caddy.
func run(cmd *cobra.Command, stdin string, args ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	cmd.SetArgs(args)
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errOut)
	err = cmd.Execute()
	return out.String(), errOut.String(), err
}

// counting is a predictable source of randomness.
func counting() io.Reader {
	var bytes [40]byte
	for i := range bytes {
		bytes[i] = byte(i)
	}
	return strings.NewReader(string(bytes[:]))
}

func TestKeygenPrintsTheKeyAndItsHashApart(t *testing.T) {
	for _, env := range []string{"live", "test"} {
		key, hash, err := run(keygenCommand(counting()), "", "--env", env)
		if err != nil {
			t.Fatal(err)
		}
		key = strings.TrimSuffix(key, "\n")
		if !strings.HasPrefix(key, "pg_"+env+"_") || keys.PublicID(key) == "" {
			t.Errorf("%s: %q is no key of ours", env, key)
		}
		if want := keys.HashSecret(key).String() + "\n"; hash != want {
			t.Errorf("%s: hash %q, want %q", env, hash, want)
		}
	}
}

func TestKeygenPrintsJSON(t *testing.T) {
	out, errOut, err := run(keygenCommand(counting()), "", "--json")
	if err != nil || errOut != "" {
		t.Fatal(errOut, err)
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got["key"], "pg_live_") || got["sha256"] != keys.HashSecret(got["key"]).String() || len(got) != 2 {
		t.Errorf("%v", got)
	}
}

func TestKeygenRefusesOtherEnvironmentsAndArguments(t *testing.T) {
	for _, args := range [][]string{{"--env", "staging"}, {"live"}} {
		if out, _, err := run(keygenCommand(counting()), "", args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
	if _, _, err := run(keygenCommand(strings.NewReader("too little")), ""); err == nil {
		t.Error("a key was made without randomness")
	}
}

func noTerminal(io.Reader, io.Writer) (string, bool, error) { return "", false, nil }

func TestHashReadsStandardInput(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	want := keys.HashSecret(secret).String() + "\n"
	for _, stdin := range []string{secret, secret + "\n", secret + "\r\n"} {
		if out, _, err := run(hashCommand(noTerminal), stdin); err != nil || out != want {
			t.Errorf("%q: %q, %v; want %q", stdin, out, err, want)
		}
	}
}

func TestHashAsksAtATerminal(t *testing.T) {
	const secret = "correct-horse-battery-staple"
	terminal := func(io.Reader, io.Writer) (string, bool, error) { return secret, true, nil }
	if out, _, err := run(hashCommand(terminal), ""); err != nil || out != keys.HashSecret(secret).String()+"\n" {
		t.Errorf("%q, %v", out, err)
	}
	broken := func(io.Reader, io.Writer) (string, bool, error) { return "", true, errors.New("broken") }
	if out, _, err := run(hashCommand(broken), secret); err == nil {
		t.Errorf("%q of a broken terminal", out)
	}
}

// A pipe and a file are no terminals.
func TestPromptLeavesFilesAlone(t *testing.T) {
	file, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var out strings.Builder
	for _, in := range []io.Reader{file, strings.NewReader("")} {
		if _, asked, err := terminalPrompt(in, &out); asked || err != nil || out.Len() > 0 {
			t.Errorf("%T: asked %v, %v, %q", in, asked, err, out.String())
		}
	}
}

// The output contains neither an argument nor a secret that is rejected.
func TestHashRefusals(t *testing.T) {
	for _, c := range []struct {
		name, stdin string
		args        []string
		want        string
	}{
		{"argument", "", []string{"hush-hush-hush-hush-hush"}, "takes no argument"},
		{"argument like a flag", "", []string{"-hush-hush-hush-hush-hush"}, "takes no argument"},
		{"argument like a long flag", "", []string{"--hush-hush-hush-hush"}, "takes no argument"},
		{"nothing", "", nil, "empty"},
		{"short", "hush\n", nil, "shorter than 20"},
		{"two lines", "hush-hush-hush-hush-hush\nhush\n", nil, "white space"},
		{"too long", strings.Repeat("hush", 2000), nil, "longer than"},
		{"brace", "{hush-hush-hush-hush-hush}", nil, "'{' or '}'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			out, errOut, err := run(hashCommand(noTerminal), c.stdin, c.args...)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%q, %v; want %q", out, err, c.want)
			}
			if strings.Contains(out+errOut+err.Error(), "hush") {
				t.Errorf("shown: %s%s%v", out, errOut, err)
			}
		})
	}
}

// A misspelled command is an error that names similar ones, at each level.
func TestUnknownCommandsAreErrors(t *testing.T) {
	root := &cobra.Command{Use: "caddy"}
	cmd := &cobra.Command{Use: "pinegate"}
	root.AddCommand(cmd)
	Command().CobraFunc(cmd)
	for line, want := range map[string]string{
		"pinegate chekc":     `"caddy pinegate" has no such command: did you mean check?`,
		"pinegate zebra":     `"caddy pinegate" has no such command: see --help`,
		"pinegate key creat": `"caddy pinegate key" has no such command: did you mean create?`,
		"pinegate team sow":  `"caddy pinegate team" has no such command: did you mean show?`,
	} {
		if _, _, err := run(root, "", strings.Fields(line)...); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
	if out, _, err := run(root, "", "pinegate"); err != nil || !strings.Contains(out, "keygen") {
		t.Errorf("no help: %q, %v", out, err)
	}
}
