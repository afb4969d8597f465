package usage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// openTest opens a ledger that writes only when it is told to, and returns
// what it warned of.
func openTest(t testing.TB, path string, now func() time.Time) (*Bolt, *[]string) {
	t.Helper()
	var warnings []string
	b, err := OpenBolt(path, BoltOptions{Now: now, FlushInterval: time.Hour, LockTimeout: 10 * time.Millisecond, Warn: func(m string) { warnings = append(warnings, m) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, &warnings
}

func atTestNow() time.Time { return testNow }

// recordMany records n requests, in as many hours.
func recordMany(t testing.TB, l Ledger, prefix string, n int) {
	t.Helper()
	for i := range n {
		r := benchRecord(i % 50)
		r.ID, r.Start = fmt.Sprint(prefix, i), testNow.Add(-time.Duration(i)*time.Hour)
		if err := l.Record(context.Background(), &r); err != nil {
			t.Fatal(err)
		}
	}
}

func requests(t testing.TB, l Ledger) (n int64) {
	t.Helper()
	page, err := l.Query(context.Background(), Query{Start: testNow.AddDate(-1, 0, 0), End: testNow.Add(time.Second), Width: Month})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range page.Data {
		for _, r := range b.Results {
			n += r.Requests
		}
	}
	return n
}

func TestBoltFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "usage.db")
	openTest(t, path, atTestNow)
	for name, want := range map[string]os.FileMode{path: 0o600, filepath.Dir(path): 0o700, filepath.Dir(filepath.Dir(path)): 0o700} {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
}

func TestBoltIsOpenOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	first, _ := openTest(t, path, atTestNow)
	_, err := OpenBolt(path, BoltOptions{LockTimeout: 10 * time.Millisecond})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Fatalf("opening it twice: %v, want ErrLocked with the path", err)
	}
	recordMany(t, first, "", 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, warnings := openTest(t, path, atTestNow)
	if n := requests(t, second); n != 1 || len(*warnings) > 0 {
		t.Errorf("%d requests afterwards, want 1; warnings %v", n, *warnings)
	}
}

func TestBoltLeavesFilesOfOthersAlone(t *testing.T) {
	make := func(change func(*bbolt.Tx) error) string {
		path := filepath.Join(t.TempDir(), "usage.db")
		db, err := bbolt.Open(path, 0o600, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(db.Update(change), db.Close()); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := make(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("certificates"))
		return err
	})
	newer := make(func(tx *bbolt.Tx) error {
		meta, err := tx.CreateBucket(bucketMeta)
		return errors.Join(err, writeNumber(meta, keyFormat, fileFormat+1))
	})
	for name, test := range map[string]struct {
		path string
		want error
	}{
		"another database": {foreign, errForeign}, "a newer version": {newer, errNewer}, "a directory": {t.TempDir(), nil},
	} {
		_, err := OpenBolt(test.path, BoltOptions{})
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: error %v, want %v with the path", name, err, test.want)
		}
		if names, _ := filepath.Glob(test.path + ".*"); len(names) > 0 {
			t.Errorf("%s was set aside as %v", name, names)
		}
	}
}

// wholeFile is a ledger's file with something in all its buckets.
func wholeFile(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usage.db")
	b, _ := openTest(t, path, atTestNow)
	recordMany(t, b, "", 300)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestBoltSetsDamagedFilesAside(t *testing.T) {
	whole := wholeFile(t)
	flipped := func(at int) []byte {
		content := slices.Clone(whole)
		content[at] ^= 0x10
		return content
	}
	damaged := map[string][]byte{
		"text":             []byte(strings.Repeat("not a database\n", 1000)),
		"a few bytes":      []byte("x"),
		"zeros":            make([]byte, 1<<16),
		"both metas gone":  append(make([]byte, 2*os.Getpagesize()), whole[2*os.Getpagesize():]...),
		"overwritten data": append(slices.Clone(whole[:2*os.Getpagesize()]), bytes.Repeat([]byte{0xa5}, len(whole)-2*os.Getpagesize())...),
		"a bit in a tuple": flipped(bytes.Index(whole, []byte("vendor/model-7"))),
	}
	for _, part := range []int{2, 3, 4, 8} {
		damaged[fmt.Sprintf("cut to 1/%d", part)] = whole[:len(whole)/part]
	}
	for name, content := range damaged {
		path := filepath.Join(t.TempDir(), "usage.db")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= 2; i++ { // the second one needs yet another name
			b, warnings := openTest(t, path, atTestNow)
			aside, _ := filepath.Glob(path + ".damaged-20260415T103020Z*")
			if len(aside) != i || len(*warnings) != 1 || !strings.Contains((*warnings)[0], path+" is damaged") || !strings.Contains((*warnings)[0], ".damaged-") {
				t.Fatalf("%s: set aside as %v, warnings %q", name, aside, *warnings)
			}
			for _, file := range aside {
				if kept, err := os.ReadFile(file); err != nil || !bytes.Equal(kept, content) {
					t.Errorf("%s: what was set aside has changed: %v", name, err)
				}
			}
			recordMany(t, b, "", 3)
			if err := b.Flush(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if n := requests(t, b); n != 3 {
				t.Errorf("%s: %d requests in the new ledger, want 3", name, n)
			}
			if err := b.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestBoltSurvivesAnyDamage: wherever a byte is wrong, the ledger opens.
func TestBoltSurvivesAnyDamage(t *testing.T) {
	whole := wholeFile(t)
	path := filepath.Join(t.TempDir(), "usage.db")
	setAside := 0
	for at := 0; at < len(whole); at += len(whole)/200 | 1 {
		content := slices.Clone(whole)
		content[at] ^= 0xff
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		b, warnings := openTest(t, path, atTestNow)
		setAside += len(*warnings)
		recordMany(t, b, "more", 3)
		if err := b.Flush(); err != nil {
			t.Errorf("byte %d: %v", at, err)
		}
		requests(t, b)
		if err := b.Close(); err != nil {
			t.Errorf("byte %d: %v", at, err)
		}
	}
	if setAside < 20 {
		t.Errorf("%d of 200 damaged files were set aside, want more", setAside)
	}
}

func TestBoltKeepsWhatItCannotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	b, warnings := openTest(t, path, atTestNow)
	b.db.MaxSize = 1 // may not grow: a full disk
	recordMany(t, b, "first", 500)
	for range 2 {
		if err := b.Flush(); err == nil || b.Err() == nil {
			t.Fatal("writing to a full disk worked")
		}
		recordMany(t, b, "second", 500) // the same ids the second time
	}
	if n := requests(t, b); n != 1000 {
		t.Errorf("%d requests while nothing can be written, want 1000", n)
	}
	b.db.MaxSize = 0
	if err := b.Flush(); err != nil || b.Err() != nil {
		t.Fatalf("writing again: %v, %v", err, b.Err())
	}
	if len(*warnings) != 2 || !strings.Contains((*warnings)[0], "fails") || !strings.Contains((*warnings)[1], "works again") {
		t.Errorf("warnings are %q, want one that it fails and one that it works again", *warnings)
	}
	if n := requests(t, b); n != 1000 {
		t.Errorf("%d requests afterwards, want 1000", n)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, _ := openTest(t, path, atTestNow)
	if n := requests(t, again); n != 1000 {
		t.Errorf("%d requests after a restart, want 1000", n)
	}
}

func TestBoltTellsOnCloseWhatIsLost(t *testing.T) {
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atTestNow)
	b.db.MaxSize = 1
	recordMany(t, b, "", 500)
	if err := b.Close(); err == nil {
		t.Error("closing told nothing")
	}
	if err := b.Flush(); !errors.Is(err, ErrClosed) {
		t.Errorf("flushing afterwards: %v, want ErrClosed", err)
	}
}

func TestBoltBoundsWhatItCannotWrite(t *testing.T) {
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atTestNow)
	b.sums.maxCells = 7
	recordMany(t, b, "", 2) // six cells
	r := benchRecord(3)
	r.ID = "refused"
	if err := b.Record(context.Background(), &r); !errors.Is(err, ErrFull) {
		t.Fatalf("recording: %v, want ErrFull", err)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Record(context.Background(), &r); err != nil { // the id is not used up
		t.Fatal(err)
	}
	if n := requests(t, b); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// TestBoltWritesABatchOnce: a commit may reach the disk and fail nevertheless.
func TestBoltWritesABatchOnce(t *testing.T) {
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atTestNow)
	recordMany(t, b, "", 5)
	b.sums.mu.Lock()
	batch := b.sums.take()
	b.sums.mu.Unlock()
	if err := b.db.Update(func(tx *bbolt.Tx) error { return writeBatch(tx, batch) }); err != nil {
		t.Fatal(err)
	}
	recordMany(t, b, "more", 5)
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := requests(t, b); n != 10 {
		t.Errorf("%d requests, want 10", n)
	}
}

// TestBoltChangesFileAndMemoryAtOnce: no query may begin between the commit of
// a batch and its removal from memory, or it would count the batch twice.
func TestBoltChangesFileAndMemoryAtOnce(t *testing.T) {
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atTestNow)
	recordMany(t, b, "", 5)
	b.sums.mu.Lock()
	batch := b.sums.take()
	b.sums.mu.Unlock()
	err := b.update(func(tx *bbolt.Tx) error {
		if !b.instant.TryRLock() {
			t.Error("queries wait for all of a write, and not just for its end")
		} else {
			b.instant.RUnlock()
		}
		return writeBatch(tx, batch)
	}, func() {
		if b.instant.TryRLock() {
			t.Error("a query may begin after the commit")
			b.instant.RUnlock()
		}
		b.sums.merged()
	})
	if n := requests(t, b); err != nil || n != 5 {
		t.Errorf("%d requests, %v; want 5", n, err)
	}
}

func TestBoltWritesByItself(t *testing.T) {
	b, err := OpenBolt(filepath.Join(t.TempDir(), "usage.db"), BoltOptions{Now: atTestNow, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	recordMany(t, b, "", 1)
	for written := uint64(0); written == 0 && t.Context().Err() == nil; runtime.Gosched() {
		if err := b.db.View(func(tx *bbolt.Tx) (err error) {
			written, err = readNumber(tx.Bucket(bucketMeta), keyBatch)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestBoltDeletesWhatExpired(t *testing.T) {
	now := testNow
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), func() time.Time { return now })
	recordMany(t, b, "", 10)
	counts := func() (n [4]int) {
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := b.db.View(func(tx *bbolt.Tx) error {
			for i, name := range [...]string{levelNames[minutes], levelNames[hours], levelNames[days], string(bucketNames)} {
				n[i] = tx.Bucket([]byte(name)).Stats().KeyN
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, test := range []struct {
		days int
		want [4]int
	}{
		{0, [4]int{10, 10, 1, 10}}, {7, [4]int{10, 10, 1, 10}}, {8, [4]int{0, 10, 1, 10}}, {93, [4]int{0, 0, 1, 10}},
		{401, [4]int{0, 0, 0, 10}}, {402, [4]int{0, 0, 0, 0}},
	} {
		now = testNow.AddDate(0, 0, test.days)
		if got := counts(); got != test.want {
			t.Errorf("after %d days: %v minutes, hours, days and tuples, want %v", test.days, got, test.want)
		}
	}
	// Ids are never given out again, not even after a restart.
	path := b.path
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, _ := openTest(t, path, func() time.Time { return now })
	if next := len(again.sums.tuples.byID); next != 10 {
		t.Errorf("the next tuple's id is %d, want 10", next)
	}
}

func TestRecentKnowsTheLastIDs(t *testing.T) {
	r := newRecent()
	for i := range 5 * recentWindow {
		if hash := r.hash(fmt.Sprint(i)); !r.has(hash) {
			r.add(hash)
		}
		if oldest := i - recentWindow + 1; oldest >= 0 && !r.has(r.hash(fmt.Sprint(oldest))) {
			t.Fatalf("id %d is forgotten after %d more", oldest, i-oldest)
		}
	}
	if r.has(r.hash("0")) || len(r.now)+len(r.old) > 2*recentWindow {
		t.Error("ids are never forgotten")
	}
}
