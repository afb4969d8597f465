package backends

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestAPIKeysArePlaceholders(t *testing.T) {
	const canary = "sk-canary-0123456789"
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return "{file." + path + "}"
	}
	t.Setenv("PINEGATE_TEST_KEY", canary)
	t.Setenv("PINEGATE_TEST_EMPTY", "")
	t.Setenv("PINEGATE_TEST_BROKEN", canary+"\r\nX-Evil: 1")
	for _, c := range []struct{ placeholder, want string }{
		{"{env.PINEGATE_TEST_KEY}", ""},
		{file("key", canary+"\n"), ""},
		{canary, "write {env.NAME} or {file./path/to/key}"},
		{"", "write {env.NAME}"},
		{"{env.}", "write {env.NAME}"},
		{"{file.}", "write {env.NAME}"},
		{"Bearer {env.PINEGATE_TEST_KEY}", "write {env.NAME}"},
		{"{env.PINEGATE_TEST_KEY}{env.PINEGATE_TEST_KEY}", "write {env.NAME}"},
		{"{http.request.header.Authorization}", "write {env.NAME}"},
		{"{env.PINEGATE_TEST_EMPTY}", "unset, empty or unreadable"},
		{"{env.PINEGATE_TEST_UNSET}", "unset, empty or unreadable"},
		{"{file." + dir + "/none}", "unset, empty or unreadable"},
		{file("blank", " \n"), "is empty"},
		{"{env.PINEGATE_TEST_BROKEN}", "a line break"},
		{file("two", canary+"\n"+canary), "a line break"},
	} {
		key, err := newCredential(c.placeholder, bearer)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s: %v", c.placeholder, err)
			} else if got := key.get(time.Now()).value; !slices.Equal(got, []string{"Bearer " + canary}) {
				t.Errorf("%s: %q", c.placeholder, got)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.placeholder, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("the error holds the key: %v", err)
		}
	}
}

func TestKeyFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "key")
	version := 0
	swap := func(content string) { // as Kubernetes does: the link points to a new file
		t.Helper()
		version++
		target := filepath.Join(dir, strings.Repeat("v", version))
		if err := os.WriteFile(target, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	swap("first-key")
	c, err := newCredential("{file."+link+"}", azureKey)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(when, want string) {
		t.Helper()
		if got := c.get(now).value[0]; got != want {
			t.Errorf("%s: %q, want %q", when, got, want)
		}
	}
	expect("at first", "first-key")
	swap("other-key")
	expect("within the second", "first-key")
	now = now.Add(time.Second)
	expect("a second later", "other-key")

	swap("\n")
	now = now.Add(time.Second)
	expect("while the file is empty", "other-key")
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	expect("while the file is gone", "other-key")
	swap("third-key")
	now = now.Add(time.Second)
	expect("when it is back", "third-key")
}

func TestKeysAreSentAsTheBackendWantsThem(t *testing.T) {
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2lnbmF0dXJl"
	for _, c := range []struct{ header, secret, in, value string }{
		{bearer, "sk-1", "Authorization", "Bearer sk-1"},
		{wire.Anthropic.KeyHeader, "sk-1", "X-Api-Key", "sk-1"},
		{azureKey, "0123abcd", "Api-Key", "0123abcd"},
		{azureKey, "eyJ.is.a.key", "Api-Key", "eyJ.is.a.key"},
		{azureKey, token, "Authorization", "Bearer " + token},
	} {
		key := newAPIKey(c.header, c.secret)
		if key.header != c.in || !slices.Equal(key.value, []string{c.value}) {
			t.Errorf("%s %s is sent as %s: %q", c.header, c.secret, key.header, key.value)
		}
	}
}
