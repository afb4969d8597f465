package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a store with a directory for its files, which only poll checks.
type fixture struct {
	*Store
	t        *testing.T
	dir      string
	now      time.Time
	env      map[string]string
	resolved []string // placeholders, in the order of their resolution
	errors   []string
	warnings []string
	changes  int
}

// newFixture prepares a store; open makes it. Its clock is a minute ahead of
// the files' times, so that they count as older than settleTime.
func newFixture(t *testing.T) *fixture {
	return &fixture{t: t, dir: t.TempDir(), now: time.Now().Add(time.Minute), env: make(map[string]string)}
}

func (b *fixture) config(keys []Config, files ...string) StoreConfig {
	for i, name := range files {
		files[i] = b.path(name)
	}
	return StoreConfig{
		Keys: keys, Files: files, Resolve: b.resolvePlaceholder,
		OnError:   func(err error) { b.errors = append(b.errors, err.Error()) },
		OnWarning: func(err error) { b.warnings = append(b.warnings, err.Error()) },
		OnChange:  func(*Set) { b.changes++ },
		Now:       func() time.Time { return b.now },
	}
}

func (b *fixture) open(c StoreConfig) {
	b.t.Helper()
	var err error
	if b.Store, err = NewStore(c); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) path(name string) string { return filepath.Join(b.dir, name) }

// write replaces a file as an editor does: by renaming a new one over it.
func (b *fixture) write(name, content string) {
	b.t.Helper()
	if err := os.WriteFile(b.path(".new"), []byte(content), 0o600); err != nil {
		b.t.Fatal(err)
	}
	if err := os.Rename(b.path(".new"), b.path(name)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *fixture) remove(name string) {
	b.t.Helper()
	if err := os.Remove(b.path(name)); err != nil {
		b.t.Fatal(err)
	}
}

// resolvePlaceholder resolves placeholders as Caddy does, but without logging.
func (b *fixture) resolvePlaceholder(placeholder string) (string, error) {
	b.resolved = append(b.resolved, placeholder)
	kind, name, _ := strings.Cut(strings.Trim(placeholder, "{}"), ".")
	if kind == "file" {
		content, err := os.ReadFile(name)
		return string(content), err
	}
	value, found := b.env[name]
	if !found {
		return "", errors.New("unset")
	}
	return value, nil
}

// want checks which keys the secrets open: "secret=id", or "secret=" where they
// must open none.
func (b *fixture) want(pairs ...string) {
	b.t.Helper()
	for _, pair := range pairs {
		secret, id, _ := strings.Cut(pair, "=")
		got := ""
		if k := b.Current().Lookup(HashSecret(long(secret))); k != nil {
			got = k.ID
		}
		if got != id {
			b.t.Errorf("%s opens %q, want %q", secret, got, id)
		}
	}
}

// wantErrors checks the errors reported since the last call; each word is a
// part of one of them.
func (b *fixture) wantErrors(parts ...string) {
	b.t.Helper()
	if len(b.errors) != len(parts) {
		b.t.Fatalf("reported: %q, want %d", b.errors, len(parts))
	}
	for i, part := range parts {
		if !strings.Contains(b.errors[i], part) {
			b.t.Errorf("reported: %q, want one with %q", b.errors[i], part)
		}
		if strings.Contains(b.errors[i], "0123456789") {
			b.t.Errorf("the report tells a secret: %q", b.errors[i])
		}
	}
	b.errors = nil
}

// long extends a short name to a secret of valid length.
func long(name string) string { return name + "-0123456789-0123456789" }

// keysFile writes a keys file of "id=secret,secret" pairs.
func keysFile(pairs ...string) string {
	var objects []string
	for _, pair := range pairs {
		id, secrets, _ := strings.Cut(pair, "=")
		var list []string
		for secret := range strings.SplitSeq(secrets, ",") {
			if !strings.HasPrefix(secret, "{") {
				secret = HashSecret(long(secret)).String()
			}
			list = append(list, fmt.Sprintf("%q", secret))
		}
		objects = append(objects, fmt.Sprintf(`{"id":%q,"secrets":[%s]}`, id, strings.Join(list, ",")))
	}
	return "[" + strings.Join(objects, ",\n") + "]"
}

func hashed(name string) string { return HashSecret(long(name)).String() }

func TestStoreJoinsItsSources(t *testing.T) {
	b := newFixture(t)
	b.env["CI"], b.env["ADMIN"] = long("ci"), hashed("admin")
	b.write("secret", long("mounted")+"\n")
	b.write("one", keysFile("x=1,2"))
	b.write("two", `{"keys":`+keysFile("y=3")+`}`)
	c := b.config([]Config{
		{ID: "static", Secrets: []string{hashed("4"), "{env.CI}"}},
		{ID: "mounted", Secrets: []string{"{file." + b.path("secret") + "}"}},
	}, "one", "two")
	c.Admin = []string{"{env.ADMIN}", hashed("admin2")}
	b.open(c)
	b.want("1=x", "2=x", "3=y", "4=static", "ci=static", "mounted=mounted", "admin=", "5=")
	r := b.Current()
	for name, want := range map[string]bool{"admin": true, "admin2": true, "1": false} {
		if r.Admin(HashSecret(long(name))) != want {
			t.Errorf("admin %s: %t", name, !want)
		}
	}
	if r.Len() != 4 || r.ByID("static") != r.Lookup(HashSecret(long("4"))) {
		t.Errorf("%d keys", r.Len())
	}
}

func TestStoreIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		keys  []Config
		files map[string]string
		admin []string
		want  []string
	}{
		"nothing":            {want: []string{"no source of keys"}},
		"admin alone":        {admin: []string{hashed("a")}, want: []string{"no source of keys"}},
		"clear":              {keys: []Config{{ID: "k", Secrets: []string{long("clear")}}}, want: []string{`key "k"`, "secret 1 of 1", "in clear", "{env.NAME}"}},
		"no secret":          {keys: []Config{{ID: "k"}}, want: []string{`key "k"`, "none"}},
		"bad key":            {keys: []Config{{ID: "k", Secrets: []string{hashed("1")}, Spec: Spec{Expires: "x"}}}, want: []string{`key "k"`, "expires"}},
		"unset":              {keys: []Config{{ID: "k", Secrets: []string{"{env.UNSET}"}}}, want: []string{`key "k"`, "{env.UNSET}", "unset"}},
		"short":              {keys: []Config{{ID: "k", Secrets: []string{"{env.SHORT}"}}}, want: []string{`key "k"`, "{env.SHORT}", "shorter than 20"}},
		"empty":              {keys: []Config{{ID: "k", Secrets: []string{"{env.EMPTY}"}}}, want: []string{`key "k"`, "{env.EMPTY}", "empty"}},
		"blank":              {keys: []Config{{ID: "k", Secrets: []string{"{env.BLANK}"}}}, want: []string{`key "k"`, "white space"}},
		"no such file":       {keys: []Config{{ID: "k", Secrets: []string{"{file./nowhere/at/all}"}}}, want: []string{`key "k"`, "/nowhere/at/all"}},
		"id twice":           {keys: []Config{{ID: "k", Secrets: []string{hashed("1")}}, {ID: "k", Secrets: []string{hashed("2")}}}, want: []string{`key "k" is defined twice`}},
		"id in two files":    {files: map[string]string{"a": keysFile("k=1"), "b": keysFile("k=2")}, want: []string{`key "k" is defined twice`, "keys file", "and"}},
		"secret of two":      {keys: []Config{{ID: "k", Secrets: []string{hashed("1")}}}, files: map[string]string{"a": keysFile("l=1")}, want: []string{`"k"`, `"l"`, "in common"}},
		"one variable":       {keys: []Config{{ID: "k", Secrets: []string{"{env.GOOD}"}}, {ID: "l", Secrets: []string{"{env.GOOD}"}}}, want: []string{`"k"`, `"l"`, "in common"}},
		"admin is a caller":  {keys: []Config{{ID: "k", Secrets: []string{"{env.GOOD}"}}}, admin: []string{hashed("good")}, want: []string{`"k"`, "admin"}},
		"admin clear":        {keys: []Config{{ID: "k", Secrets: []string{hashed("1")}}}, admin: []string{hashed("2"), long("clear")}, want: []string{"admin key: secret 2 of 2", "in clear"}},
		"admin twice":        {keys: []Config{{ID: "k", Secrets: []string{hashed("1")}}}, admin: []string{hashed("2"), hashed("2")}, want: []string{"admin key: secret 2 of 2", "twice"}},
		"admin unset":        {keys: []Config{{ID: "k", Secrets: []string{hashed("1")}}}, admin: []string{"{env.UNSET}"}, want: []string{"admin key", "{env.UNSET}"}},
		"file missing":       {files: map[string]string{"a": ""}, want: []string{"keys file", "ends too early"}},
		"file broken":        {files: map[string]string{"a": `[{"id":"k","secrets":["` + long("x") + `"],"x":1}]`}, want: []string{"keys file", "line 1", `unknown field "x"`}},
		"file refers unset":  {files: map[string]string{"a": keysFile("k={env.UNSET}")}, want: []string{"keys file", `key "k"`, "{env.UNSET}"}},
		"bad key's checksum": {keys: []Config{{ID: "k", Secrets: []string{"{env.TYPO}"}}}, want: []string{`key "k"`, "checksum"}},
	} {
		b := newFixture(t)
		b.env = map[string]string{"SHORT": "0123456789", "EMPTY": "", "BLANK": long("a") + " " + long("b"), "GOOD": long("good"), "TYPO": validKey[:64] + "x"}
		var files []string
		for name, content := range c.files {
			b.write(name, content)
			files = append(files, name)
		}
		config := b.config(c.keys, files...)
		config.Admin = c.admin
		s, err := NewStore(config)
		if err == nil || s != nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want a message with %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: the message tells a secret: %v", name, err)
		}
	}
}

func TestFilesThatAreNoneAreRefused(t *testing.T) {
	for path, want := range map[string]string{"/nowhere/keys.json": "no such file", t.TempDir(): "regular", os.DevNull: "regular"} {
		_, err := NewStore(StoreConfig{Files: []string{path}})
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", path, err)
		}
	}
	b := newFixture(t)
	b.write("keys", "[]")
	if _, err := NewStore(b.config(nil, "keys", "keys")); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("one file twice: %v", err)
	}
}

func TestStoreMayBeEmptyWhereThatIsAllowed(t *testing.T) {
	s, err := NewStore(StoreConfig{AllowEmpty: true, Admin: []string{hashed("a")}})
	if err != nil || !s.Current().Admin(HashSecret(long("a"))) {
		t.Errorf("admin keys alone: %v", err)
	}
	b := newFixture(t)
	b.write("keys", "[]") // an empty source is still a source
	b.open(b.config(nil, "keys"))
}

// TestStartFollowsFiles is the only one that waits for the poller's own ticks.
// goleak, in TestMain, finds a poller that Close leaves behind.
func TestStartFollowsFiles(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	c := b.config(nil, "keys")
	c.Poll = time.Millisecond
	changed := make(chan *Set)
	c.OnChange = func(r *Set) { changed <- r }
	b.open(c)
	b.Start()
	b.Start()
	b.write("keys", keysFile("a=2"))
	select {
	case r := <-changed:
		if r.Lookup(HashSecret(long("2"))) == nil {
			t.Error("told of a set without the change")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the change was not seen")
	}
	b.Close()
	b.Close()
	b.want("1=", "2=a")
	b.Start() // after Close: must not start anything
}

func TestCloseWaitsForALookUnderWay(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	c := b.config(nil, "keys")
	c.Poll = time.Millisecond
	looking := make(chan struct{})
	var ended atomic.Bool
	c.OnChange = func(*Set) {
		close(looking)
		<-b.done
		ended.Store(true)
	}
	b.open(c)
	b.write("keys", keysFile("a=2"))
	b.Start()
	<-looking
	b.Close()
	if !ended.Load() {
		t.Error("closed before")
	}
}

func TestNewStoreStartsNothing(t *testing.T) {
	none := goleak.IgnoreCurrent()
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	b.open(b.config(nil, "keys"))
	goleak.VerifyNone(t, none)
	b.Close()
	b.Start()
	goleak.VerifyNone(t, none)
}

func TestSetsAreWholeWhileTheyChange(t *testing.T) {
	b := newFixture(t)
	// Both keys always change together.
	states := []string{keysFile("a=1", "b=2"), keysFile("a=2", "b=1")}
	b.write("keys", states[0])
	b.open(b.config(nil, "keys"))
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				r := b.Current()
				one, two := r.Lookup(HashSecret(long("1"))), r.Lookup(HashSecret(long("2")))
				if one == nil || two == nil || one == two {
					t.Error("a set of two states")
					return
				}
			}
		})
	}
	for i := range 50 {
		b.write("keys", states[(i+1)%2])
		b.poll()
	}
	close(done)
	readers.Wait()
	if b.changes != 50 {
		t.Errorf("%d changes, want 50", b.changes)
	}
}
