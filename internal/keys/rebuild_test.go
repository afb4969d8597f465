package keys

import (
	"os"
	"strings"
	"testing"
	"time"
)

func TestChangedFileIsTakenOver(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1", "b=2"))
	b.open(b.config([]Config{{ID: "static", Secrets: []string{hashed("0")}}}, "keys"))
	before := b.Current()
	b.poll()
	if b.Current() != before {
		t.Error("a new set without a change")
	}
	b.write("keys", keysFile("b=2,3", "c=4"))
	b.poll()
	b.want("0=static", "1=", "2=b", "3=b", "4=c")
	if b.changes != 1 {
		t.Errorf("%d changes told", b.changes)
	}
	if before.Lookup(HashSecret(long("1"))) == nil {
		t.Error("the old set has changed")
	}
	b.wantErrors()
}

func TestBrokenFileKeepsItsKeys(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	b.write("other", keysFile("b=2"))
	b.open(b.config(nil, "keys", "other"))
	b.write("keys", "[\n{]")
	b.poll()
	b.poll()
	b.wantErrors(b.path("keys") + ": line 2")
	b.want("1=a", "2=b")

	b.write("other", keysFile("b=3")) // the other files can still change
	b.poll()
	b.wantErrors()
	b.want("1=a", "2=", "3=b")

	b.write("keys", "[\n{]\n") // still invalid, but changed
	b.poll()
	b.wantErrors("line 2")

	b.write("keys", keysFile("a=4"))
	b.poll()
	b.wantErrors()
	b.want("1=", "4=a")
}

func TestRemovedFileKeepsItsKeys(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	b.open(b.config(nil, "keys"))
	b.remove("keys")
	for range 3 {
		b.poll()
	}
	b.wantErrors(b.path("keys"))
	b.want("1=a")

	b.write("keys", keysFile("a=1")) // the original content again
	b.poll()
	b.want("1=a")
	b.remove("keys")
	b.poll()
	b.wantErrors(b.path("keys"))
}

func TestTouchedFileChangesNothing(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	b.open(b.config(nil, "keys"))
	b.write("keys", keysFile("a=1"))
	b.poll()
	if b.changes != 0 {
		t.Error("a new set of the same content")
	}
}

// A file system's clock may have the same time for two writes.
func TestFileWrittenTwiceWithinAMomentIsReadAgain(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	info, err := os.Stat(b.path("keys"))
	if err != nil {
		t.Fatal(err)
	}
	b.now = info.ModTime().Add(time.Second)
	b.open(b.config(nil, "keys"))
	overwrite := func(content string) {
		t.Helper()
		if err := os.WriteFile(b.path("keys"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(b.path("keys"), info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
	}
	overwrite(keysFile("a=2"))
	b.poll()
	b.want("1=", "2=a")
	b.now = info.ModTime().Add(time.Minute)
	overwrite(keysFile("a=3"))
	b.poll() // the last check was within settleTime
	b.want("2=", "3=a")
	overwrite(keysFile("a=4"))
	b.poll() // undetectable now: hence settleTime
	b.want("3=a")
}

// Kubernetes mounts …/key → ..data/key and replaces the link ..data.
func TestExchangedLinkIsFollowed(t *testing.T) {
	b := newFixture(t)
	mount := func(version, keys, secret string) {
		t.Helper()
		if err := os.Mkdir(b.path(version), 0o700); err != nil {
			t.Fatal(err)
		}
		b.write(version+"/keys", keys)
		b.write(version+"/secret", secret)
		if err := os.Symlink(version, b.path("..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(b.path("..tmp"), b.path("..data")); err != nil {
			t.Fatal(err)
		}
	}
	mount("..1", keysFile("a=1"), long("s1"))
	for _, name := range []string{"keys", "secret"} {
		if err := os.Symlink("..data/"+name, b.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	b.open(b.config([]Config{{ID: "s", Secrets: []string{"{file." + b.path("secret") + "}"}}}, "keys"))
	mount("..2", keysFile("a=2"), long("s2"))
	if err := os.RemoveAll(b.path("..1")); err != nil {
		t.Fatal(err)
	}
	b.poll()
	b.want("1=", "2=a", "s1=", "s2=s")
	b.wantErrors()
}

func TestSecretFilesAreReadAgain(t *testing.T) {
	b := newFixture(t)
	b.write("caller", long("1"))
	b.write("admin", long("a1"))
	c := b.config([]Config{{ID: "k", Secrets: []string{"{file." + b.path("caller") + "}", hashed("fixed")}}})
	c.Admin = []string{"{file." + b.path("admin") + "}"}
	b.open(c)

	b.write("caller", hashed("2")+"\n")
	b.write("admin", long("a2"))
	b.poll()
	b.want("1=", "2=k", "fixed=k")
	if r := b.Current(); r.Admin(HashSecret(long("a1"))) || !r.Admin(HashSecret(long("a2"))) {
		t.Error("the admin key was not exchanged")
	}

	for _, bad := range []string{"short", "", "with white space in it 0123456789", "sha256:0"} {
		b.write("caller", bad)
		b.poll()
		b.poll()
		b.wantErrors(`key "k": secret {file.` + b.path("caller") + "}")
		b.want("2=k")
	}
	b.remove("caller")
	b.poll()
	asked := len(b.resolved)
	b.poll()
	b.wantErrors(b.path("caller"))
	if len(b.resolved) != asked {
		t.Error("a file that is not there is read at each look")
	}
	b.want("2=k")
	b.write("caller", long("3"))
	b.poll()
	b.want("2=", "3=k")
	b.wantErrors()
}

func TestEnvironmentIsReadOnce(t *testing.T) {
	b := newFixture(t)
	b.env["K"] = long("1")
	b.write("keys", keysFile("f={env.K}"))
	b.open(b.config(nil, "keys"))
	b.env["K"] = long("2")
	for range 3 {
		b.poll()
	}
	b.want("1=f", "2=")
	if len(b.resolved) != 1 {
		t.Errorf("asked for %q", b.resolved)
	}
}

// At the end of a rotation, an operator may write the new secret into both
// files. If that were rejected, the old secret would stay valid.
func TestTwoFilesOfOneKeyMayHoldTheSame(t *testing.T) {
	b := newFixture(t)
	b.write("old", long("1"))
	b.write("new", long("2"))
	b.open(b.config([]Config{{ID: "k", Secrets: []string{"{file." + b.path("old") + "}", "{file." + b.path("new") + "}"}}}))
	b.want("1=k", "2=k")
	b.write("old", long("2"))
	b.poll()
	b.want("1=", "2=k")
	b.wantErrors()
}

func TestKeyMayMoveBetweenFiles(t *testing.T) {
	b := newFixture(t)
	b.write("one", keysFile("a=1", "b=2"))
	b.write("two", keysFile("c=3"))
	b.open(b.config(nil, "one", "two"))
	for range 2 { // in both directions, whichever file is read first
		b.write("one", keysFile("a=1"))
		b.write("two", keysFile("c=3", "b=2"))
		b.poll()
		b.want("1=a", "2=b", "3=c")
		b.write("one", keysFile("a=1", "b=2"))
		b.write("two", keysFile("c=3"))
		b.poll()
		b.want("1=a", "2=b", "3=c")
	}
	b.wantErrors()
}

func TestConflictHoldsUpNothingElse(t *testing.T) {
	b := newFixture(t)
	b.write("one", keysFile("a=1"))
	b.write("two", keysFile("b=2"))
	b.write("three", keysFile("c=3"))
	b.open(b.config(nil, "one", "two", "three"))

	b.write("two", keysFile("a=4")) // the id is in use
	b.write("three", keysFile("c=5"))
	b.poll()
	b.poll()
	b.wantErrors(`key "a" is defined twice: in keys file ` + b.path("one") + " and keys file " + b.path("two"))
	b.want("1=a", "2=b", "3=", "4=", "5=c")

	b.write("one", keysFile("d=1")) // frees the id without a change of the other file
	b.poll()
	b.want("1=d", "2=", "4=a", "5=c")
	b.wantErrors()
}

// A pending change that was replaced meanwhile must not be applied later.
func TestWhatWaitedIsForgottenWhenItsFileChangesAgain(t *testing.T) {
	for name, spoil := range map[string]func(*fixture){
		"broken":     func(b *fixture) { b.write("two", "[") },
		"removed":    func(b *fixture) { b.remove("two") },
		"unresolved": func(b *fixture) { b.write("two", keysFile("x={env.UNSET}")) },
	} {
		b := newFixture(t)
		b.write("one", keysFile("a=1"))
		b.write("two", keysFile("b=2"))
		b.open(b.config(nil, "one", "two"))
		b.write("two", keysFile("a=3"))
		b.poll()
		spoil(b)
		b.poll()
		b.wantErrors("defined twice", b.path("two"))
		b.write("one", keysFile("d=1"))
		b.poll()
		b.want("1=d", "2=b", "3=")
		if t.Failed() {
			t.Fatalf("where it is %s", name)
		}
	}
	b := newFixture(t)
	b.write("secret", long("1"))
	b.write("one", keysFile("a=2"))
	b.open(b.config([]Config{{ID: "s", Secrets: []string{"{file." + b.path("secret") + "}"}}}, "one"))
	b.write("secret", long("2"))
	b.poll()
	b.write("secret", "short")
	b.poll()
	b.wantErrors("in common", "shorter")
	b.write("one", "[]")
	b.poll()
	b.want("1=s", "2=")
}

func TestMoveIsTakenOverBesideAConflict(t *testing.T) {
	b := newFixture(t)
	b.write("one", keysFile("a=1"))
	b.write("two", keysFile("b=2"))
	b.write("three", keysFile("c=3"))
	b.open(b.config(nil, "one", "two", "three"))
	b.write("one", keysFile("a=1", "b=2")) // conflicts with two, which is tried later
	b.write("two", "[]")
	b.write("three", keysFile("a=4"))
	b.poll()
	b.wantErrors("keys file " + b.path("three") + ": key \"a\"")
	b.want("1=a", "2=b", "3=c", "4=")
	if len(b.sources[2].current.keys) != 0 {
		t.Error("two still holds what has moved")
	}
}

func TestConflictingSecretKeepsTheOldOne(t *testing.T) {
	b := newFixture(t)
	b.write("secret", long("1"))
	c := b.config([]Config{{ID: "k", Secrets: []string{"{file." + b.path("secret") + "}"}}, {ID: "l", Secrets: []string{hashed("2")}}})
	c.Admin = []string{hashed("admin")}
	b.open(c)
	b.write("secret", long("2"))
	b.poll()
	b.wantErrors(`keys "k" and "l" have a secret in common`)
	b.write("secret", long("admin"))
	b.poll()
	b.wantErrors("admin")
	b.want("1=k", "2=l", "admin=")
	b.write("secret", long("1")) // the original again: nothing stays pending
	b.poll()
	b.poll()
	b.wantErrors()
	b.want("1=k", "2=l")
}

func TestFileWaitsForTheSecretThatItNames(t *testing.T) {
	b := newFixture(t)
	b.write("keys", keysFile("a=1"))
	b.open(b.config(nil, "keys"))
	b.write("keys", keysFile("a=1", "b={file."+b.path("late")+"}"))
	for range 3 {
		b.poll()
	}
	b.wantErrors(`key "b": secret {file.` + b.path("late"))
	b.want("1=a", "2=")
	b.write("late", long("2"))
	b.poll()
	b.want("1=a", "2=b")
	b.write("late", long("3"))
	b.poll()
	b.want("2=", "3=b")
	b.wantErrors()
}

func TestPlaceholdersWithoutUseAreForgotten(t *testing.T) {
	b := newFixture(t)
	b.write("s", long("1"))
	b.write("keys", keysFile("a={file."+b.path("s")+"}"))
	b.open(b.config(nil, "keys"))
	b.want("1=a")
	b.write("keys", keysFile("a=2"))
	b.poll()
	b.want("1=", "2=a")
	if len(b.secrets) != 0 {
		t.Errorf("%d secrets are still looked at", len(b.secrets))
	}
	b.write("s", "short") // no longer referenced
	b.poll()
	b.wantErrors()
}

func TestClearSecretsThatOthersCanReadAreWarnedOf(t *testing.T) {
	clear := `[{"id":"a","secrets":["` + long("1") + `"]}]`
	for name, c := range map[string]struct {
		content string
		mode    os.FileMode
		want    int
	}{
		"clear, all":    {clear, 0o644, 1},
		"clear, group":  {clear, 0o640, 1},
		"clear, owner":  {clear, 0o600, 0},
		"hashes":        {keysFile("a=1"), 0o644, 0},
		"empty":         {"[]", 0o644, 0},
		"clear, others": {clear, 0o604, 1},
	} {
		b := newFixture(t)
		b.write("keys", c.content)
		if err := os.Chmod(b.path("keys"), c.mode); err != nil {
			t.Fatal(err)
		}
		b.open(b.config(nil, "keys"))
		if err := os.WriteFile(b.path("keys"), []byte(c.content+"\n"), 0); err != nil {
			t.Fatal(err)
		}
		b.poll()
		if len(b.warnings) != c.want {
			t.Errorf("%s: warnings %q, want %d", name, b.warnings, c.want)
		}
		for _, w := range b.warnings {
			if !strings.Contains(w, b.path("keys")) || strings.Contains(w, "0123456789") {
				t.Errorf("%s: warning %q", name, w)
			}
		}
	}
}
