package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/keys"
)

func TestKeysAreMadeOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	first, made, err := loadEnv(file)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	for _, name := range secretNames {
		if !strings.HasPrefix(first[name], "pg_test_") || keys.CheckFormat(first[name]) != nil {
			t.Errorf("%s is no key: %q", name, first[name])
		}
	}
	if first["PINEGATE_KEY"] == first["PINEGATE_ADMIN_KEY"] {
		t.Error("one key for both")
	}
	second, made, err := loadEnv(file)
	if err != nil || made || second["PINEGATE_KEY"] != first["PINEGATE_KEY"] {
		t.Errorf("the second start: made %v, %v", made, err)
	}
}

func TestEnvFileIsFilledInAndKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), ".env")
	text := "# a copy of .env.example\nPINEGATE_KEY=\nOPENAI_API_KEY=sk-of-the-user\nPINEGATE_ADMIN_KEY=an-admin-key-of-the-user\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PINEGATE_ADMIN_KEY", "another-one-in-the-shell")

	env, made, err := loadEnv(file)
	if err != nil || !made {
		t.Fatalf("made %v, %v", made, err)
	}
	// The printed lines read the file, so the file takes precedence.
	if env["PINEGATE_ADMIN_KEY"] != "an-admin-key-of-the-user" || env["OPENAI_API_KEY"] != "sk-of-the-user" {
		t.Error("what the file says does not hold")
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(text, "PINEGATE_KEY=\n", "PINEGATE_KEY="+env["PINEGATE_KEY"]+"\n", 1); string(got) != want {
		t.Errorf("the file is now\n%s\nexpected\n%s", got, want)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}
