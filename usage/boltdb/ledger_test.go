package boltdb

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

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

// openTest opens a ledger that writes only in Flush, and returns its warnings.
func openTest(t testing.TB, path string, now func() time.Time) (*Ledger, *[]string) {
	t.Helper()
	var warnings []string
	b, err := Open(path, Options{Now: now, FlushInterval: time.Hour, LockTimeout: 10 * time.Millisecond, Warn: func(m string) { warnings = append(warnings, m) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, &warnings
}

func atEpoch() time.Time { return usagetest.Epoch }

// recordMany records n requests, in as many hours.
func recordMany(t testing.TB, l usage.Ledger, prefix string, n int) {
	t.Helper()
	for i := range n {
		r := usagetest.SeriesRecord(i % 50)
		r.ID, r.Start = fmt.Sprint(prefix, i), usagetest.Epoch.Add(-time.Duration(i)*time.Hour)
		if err := l.Record(context.Background(), &r); err != nil {
			t.Fatal(err)
		}
	}
}

func requests(t testing.TB, l usage.Ledger) (n int64) {
	t.Helper()
	page, err := l.Query(context.Background(), usage.Query{Start: usagetest.Epoch.AddDate(-1, 0, 0), End: usagetest.Epoch.Add(time.Second), Width: usage.Month})
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

func TestLedgerFileIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "usage.db")
	openTest(t, path, atEpoch)
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

func TestLedgerIsOpenOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	first, _ := openTest(t, path, atEpoch)
	_, err := Open(path, Options{LockTimeout: 10 * time.Millisecond})
	if !errors.Is(err, ErrLocked) || !strings.Contains(err.Error(), path) {
		t.Fatalf("opening it twice: %v, want ErrLocked with the path", err)
	}
	recordMany(t, first, "", 1)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, warnings := openTest(t, path, atEpoch)
	if n := requests(t, second); n != 1 || len(*warnings) > 0 {
		t.Errorf("%d requests afterwards, want 1; warnings %v", n, *warnings)
	}
}

func TestLedgerLeavesFilesOfOthersAlone(t *testing.T) {
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
		_, err := Open(test.path, Options{})
		if err == nil || test.want != nil && !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.path) {
			t.Errorf("%s: error %v, want %v with the path", name, err, test.want)
		}
		if names, _ := filepath.Glob(test.path + ".*"); len(names) > 0 {
			t.Errorf("%s was set aside as %v", name, names)
		}
	}
}

// wholeFile returns a ledger's file with data in all its buckets.
func wholeFile(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "usage.db")
	b, _ := openTest(t, path, atEpoch)
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

func TestLedgerQuarantinesCorruptFiles(t *testing.T) {
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
			b, warnings := openTest(t, path, atEpoch)
			aside, _ := filepath.Glob(path + ".damaged-20260415T103020Z*")
			if len(aside) != i || len(*warnings) != 1 || !strings.Contains((*warnings)[0], path+" is corrupt") || !strings.Contains((*warnings)[0], ".damaged-") {
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

// TestLedgerSurvivesAnyDamage: wherever a byte is wrong, the ledger opens.
func TestLedgerSurvivesAnyDamage(t *testing.T) {
	whole := wholeFile(t)
	path := filepath.Join(t.TempDir(), "usage.db")
	setAside := 0
	for at := 0; at < len(whole); at += len(whole)/200 | 1 {
		content := slices.Clone(whole)
		content[at] ^= 0xff
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		b, warnings := openTest(t, path, atEpoch)
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

func TestLedgerKeepsWhatItCannotWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	b, warnings := openTest(t, path, atEpoch)
	b.db.MaxSize = 1 // may not grow: a full disk
	recordMany(t, b, "first", 500)
	for range 2 {
		if err := b.Flush(); err == nil || b.Err() == nil {
			t.Fatal("writing to a full disk worked")
		}
		recordMany(t, b, "second", 500) // the same ids again
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
	again, _ := openTest(t, path, atEpoch)
	if n := requests(t, again); n != 1000 {
		t.Errorf("%d requests after a restart, want 1000", n)
	}
}

func TestLedgerReturnsOnCloseThatSumsAreLost(t *testing.T) {
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atEpoch)
	b.db.MaxSize = 1
	recordMany(t, b, "", 500)
	if err := b.Close(); err == nil {
		t.Error("closing returned no error")
	}
	if err := b.Flush(); !errors.Is(err, usage.ErrClosed) {
		t.Errorf("flushing afterwards: %v, want usage.ErrClosed", err)
	}
}

func TestLedgerBoundsWhatItCannotWrite(t *testing.T) {
	b, err := Open(filepath.Join(t.TempDir(), "usage.db"), Options{Now: atEpoch, FlushInterval: time.Hour, maxPending: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	recordMany(t, b, "", 2) // six samples
	r := usagetest.SeriesRecord(3)
	r.ID = "refused"
	if err := b.Record(context.Background(), &r); !errors.Is(err, usage.ErrFull) {
		t.Fatalf("recording: %v, want usage.ErrFull", err)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := b.Record(context.Background(), &r); err != nil { // the id was not used up
		t.Fatal(err)
	}
	if n := requests(t, b); n != 3 {
		t.Errorf("%d requests, want 3", n)
	}
}

// TestLedgerWritesABatchOnce: a commit may reach the disk and fail nevertheless.
func TestLedgerWritesABatchOnce(t *testing.T) {
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atEpoch)
	recordMany(t, b, "", 5)
	b.mu.Lock()
	batch := b.sums.Take()
	b.mu.Unlock()
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

// TestLedgerChangesFileAndMemoryAtOnce: no query may begin between the commit of
// a batch and its removal from memory, or it would count the batch twice.
func TestLedgerChangesFileAndMemoryAtOnce(t *testing.T) {
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), atEpoch)
	recordMany(t, b, "", 5)
	b.mu.Lock()
	batch := b.sums.Take()
	b.mu.Unlock()
	err := b.update(func(tx *bbolt.Tx) error {
		if !b.atomic.TryRLock() {
			t.Error("queries wait for all of a write, and not just for its end")
		} else {
			b.atomic.RUnlock()
		}
		return writeBatch(tx, batch)
	}, func() {
		if b.atomic.TryRLock() {
			t.Error("a query may begin after the commit")
			b.atomic.RUnlock()
		}
		b.sums.Merged()
	})
	if n := requests(t, b); err != nil || n != 5 {
		t.Errorf("%d requests, %v; want 5", n, err)
	}
}

func TestLedgerWritesByItself(t *testing.T) {
	b, err := Open(filepath.Join(t.TempDir(), "usage.db"), Options{Now: atEpoch, FlushInterval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	recordMany(t, b, "", 1)
	for storedNumber(t, b, keyBatch) == 0 && t.Context().Err() == nil {
		runtime.Gosched()
	}
}

// storedNumber returns a number in the file's metadata.
func storedNumber(t testing.TB, b *Ledger, key []byte) (n uint64) {
	t.Helper()
	err := b.db.View(func(tx *bbolt.Tx) (err error) {
		n, err = readNumber(tx.Bucket(bucketMeta), key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestLedgerDeletesWhatExpired(t *testing.T) {
	now := usagetest.Epoch
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), func() time.Time { return now })
	recordMany(t, b, "", 10)
	counts := func() (n [4]int) {
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := b.db.View(func(tx *bbolt.Tx) error {
			for i, name := range [...]string{rollup.Minutes.String(), rollup.Hours.String(), rollup.Days.String(), string(bucketNames)} {
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
		now = usagetest.Epoch.AddDate(0, 0, test.days)
		if got := counts(); got != test.want {
			t.Errorf("after %d days: %v minutes, hours, days and tuples, want %v", test.days, got, test.want)
		}
	}
	// Ids are never reused, not even after a restart.
	path := b.path
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, _ := openTest(t, path, func() time.Time { return now })
	r := usagetest.SeriesRecord(0)
	r.ID, r.Start = "again", now
	if err := again.Record(context.Background(), &r); err != nil {
		t.Fatal(err)
	}
	if err := again.Flush(); err != nil {
		t.Fatal(err)
	}
	if next := storedNumber(t, again, keyNextID); next != 11 {
		t.Errorf("the id after the new series is %d, want 11", next)
	}
}
