package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// entry is a record as it was read.
type entry struct {
	number uint64
	text   string
}

// notes collects the warnings of a journal.
type notes struct {
	mu   sync.Mutex
	text []string
}

func (n *notes) add(message string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.text = append(n.text, message)
}

func (n *notes) all() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.text)
}

// openTest opens a journal and returns the records in it.
func openTest(t testing.TB, dir string, opts Options) (*Journal, []entry, *notes) {
	t.Helper()
	warned := new(notes)
	opts.Warn = warned.add
	var found []entry
	j, err := Open(dir, opts, func(number uint64, record []byte) error {
		found = append(found, entry{number, string(record)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j, found, warned
}

// add commits records whose texts are their numbers and returns them.
func add(t testing.TB, j *Journal, n int) (added []entry) {
	t.Helper()
	for range n {
		j.mu.Lock()
		text := fmt.Sprint("record ", j.next)
		j.mu.Unlock()
		number, err := j.Append([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		j.Commit(number)
		added = append(added, entry{number, text})
	}
	return added
}

func files(t testing.TB, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// written makes a journal of some records in one segment, and returns the
// segment's content.
func written(t testing.TB, n int) (content []byte, added []entry) {
	t.Helper()
	dir := t.TempDir()
	j, _, _ := openTest(t, dir, Options{})
	added = add(t, j, n)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(files(t, dir, "*"+suffix)[0])
	if err != nil {
		t.Fatal(err)
	}
	return content, added
}

func put(t testing.TB, dir string, first uint64, content []byte) string {
	t.Helper()
	name := segmentName(dir, first, 0)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestWhatIsCommittedIsThereAgainInOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "journal")
	var all []entry
	for range 4 {
		j, found, warned := openTest(t, dir, Options{SegmentSize: 200})
		if !slices.Equal(found, all) || len(warned.all()) > 0 {
			t.Fatalf("found %v, want %v; warnings %v", found, all, warned.all())
		}
		all = append(all, add(t, j, 10)...)
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range all {
		if e.number != uint64(i+1) {
			t.Fatalf("record %d has number %d", i+1, e.number)
		}
	}
}

// A process that is killed closes nothing.
func TestCommittedRecordsNeedNoClose(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := openTest(t, dir, Options{})
	added := add(t, j, 3)
	if _, err := j.Append([]byte("not committed")); err != nil {
		t.Fatal(err)
	}
	_, found, _ := openTest(t, dir, Options{})
	if !slices.Equal(found, added) {
		t.Errorf("found %v, want %v", found, added)
	}
}

func TestAJournalCutAnywhereKeepsAllWholeRecords(t *testing.T) {
	content, added := written(t, 5)
	ends := []int{headerSize}
	for _, e := range added {
		ends = append(ends, ends[len(ends)-1]+frameSize+len(e.text))
	}
	for cut := range content {
		dir := t.TempDir()
		put(t, dir, 1, content[:cut])
		whole := 0
		for whole < len(added) && ends[whole+1] <= cut {
			whole++
		}
		all := slices.Clone(added[:whole])
		// Records written after it are replayed with it, each once.
		for range 3 {
			j, found, warned := openTest(t, dir, Options{})
			if !slices.Equal(found, all) {
				t.Fatalf("cut at %d: found %v, want %v", cut, found, all)
			}
			for _, w := range warned.all() {
				if !strings.Contains(w, "torn record, which was dropped") {
					t.Fatalf("cut at %d: %s", cut, w)
				}
			}
			all = append(all, add(t, j, 2)...)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if damaged := files(t, dir, "*damaged*"); len(damaged) > 0 {
			t.Fatalf("cut at %d: a torn file was renamed to damaged: %v", cut, damaged)
		}
	}
}

func TestAFlippedBitLosesOneRecordAtMost(t *testing.T) {
	content, added := written(t, 5)
	for at := range content {
		for bit := range 8 {
			dir := t.TempDir()
			damaged := slices.Clone(content)
			damaged[at] ^= 1 << bit
			name := put(t, dir, 1, damaged)
			j, found, warned := openTest(t, dir, Options{})
			missing := len(added) - len(found)
			for _, e := range found {
				if !slices.Contains(added, e) {
					t.Fatalf("bit %d of byte %d: found %v, which nobody wrote", bit, at, e)
				}
			}
			if missing > 1 || missing == 1 != (len(warned.all()) == 1) {
				t.Fatalf("bit %d of byte %d: %d records are missing; warnings %v", bit, at, missing, warned.all())
			}
			if missing == 1 && !strings.Contains(warned.all()[0], name) {
				t.Fatalf("bit %d of byte %d: %v does not name the file", bit, at, warned.all())
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDamageInTheMiddleIsReportedAndQuarantined(t *testing.T) {
	content, added := written(t, 6)
	third := bytes.Index(content, []byte("record 3"))
	content[third] ^= 1
	for _, test := range []struct {
		name  string
		after uint64
		lost  string
	}{
		{"of a record that is nowhere else", 0, "1 records that are stored nowhere else are lost"},
		{"of a record that is held elsewhere", 4, "0 records that are stored nowhere else are lost"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			name := put(t, dir, 1, content)
			j, found, warned := openTest(t, dir, Options{After: test.after, Now: func() time.Time { return time.Unix(0, 0) }})
			if want := append(slices.Clone(added[:2]), added[3:]...); !slices.Equal(found, want) {
				t.Fatalf("found %v, want %v", found, want)
			}
			at := fmt.Sprintf("%s is corrupt: 24 bytes at offset %d cannot be read, %s", name, third-frameSize, test.lost)
			if w := warned.all(); len(w) != 1 || !strings.Contains(w[0], at) {
				t.Fatalf("warnings %q, want %q", w, at)
			}
			add(t, j, 1)
			if err := j.Truncate(3); err != nil || len(files(t, dir, "*damaged*")) > 0 {
				t.Fatalf("%v; set aside before its last record was held elsewhere", err)
			}
			if last, some := j.Truncatable(6); last != 6 || !some {
				t.Fatalf("retirable: %d %v", last, some)
			}
			if err := j.Truncate(6); err != nil {
				t.Fatal(err)
			}
			aside := files(t, dir, "*.damaged-19700101T000000Z")
			if len(aside) != 1 {
				t.Fatalf("set aside as %v", aside)
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, content) {
				t.Errorf("what was set aside has changed: %v", err)
			}
		})
	}
}

// Records contain text from callers, which must not pass as a record.
func TestARecordWithinADamagedRecordIsNotTaken(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := openTest(t, dir, Options{})
	forged := appendFrame(nil, 0, 7, []byte("forged"))
	number, err := j.Append(append([]byte("a model called "), forged...))
	if err != nil {
		t.Fatal(err)
	}
	j.Commit(number)
	last := add(t, j, 1)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	name := files(t, dir, "*"+suffix)[0]
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[headerSize+4] ^= 1
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := openTest(t, dir, Options{}); !slices.Equal(found, last) {
		t.Errorf("found %v, want %v", found, last)
	}
}

func TestStrangeFilesAreSetAsideOrLeftAlone(t *testing.T) {
	dir := t.TempDir()
	first, _, _ := openTest(t, dir, Options{})
	added := add(t, first, 2)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	noise := put(t, dir, 3, bytes.Repeat([]byte{0xa5}, 300))
	folder := segmentName(dir, 4, 0)
	other := filepath.Join(dir, "README")
	if err := errors.Join(os.Mkdir(folder, 0o700), os.WriteFile(other, []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	j, found, warned := openTest(t, dir, Options{})
	if !slices.Equal(found, added) || len(warned.all()) != 2 {
		t.Fatalf("found %v, want %v; warnings %q", found, added, warned.all())
	}
	for _, name := range []string{noise, folder} {
		if !strings.Contains(strings.Join(warned.all(), "\n"), name) {
			t.Errorf("no warning names %s: %q", name, warned.all())
		}
	}
	if err := j.Truncate(2); err != nil {
		t.Fatal(err)
	}
	if aside := files(t, dir, "*damaged*"); len(aside) != 2 {
		t.Errorf("set aside: %v", aside)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("a file that is no segment is gone: %v", err)
	}
}

func TestANewerVersionIsNotTouched(t *testing.T) {
	content, _ := written(t, 2)
	dir := t.TempDir()
	salt, err := readHeader(content)
	if err != nil {
		t.Fatal(err)
	}
	newer := appendHeader(nil, salt, 1)
	for at := 0; at < headerSize; at += copySize {
		newer[at+len(magic)-1]++
		refreshHeader(newer[at : at+copySize])
	}
	put(t, dir, 1, append(newer, content[headerSize:]...))
	_, err = Open(dir, Options{}, func(uint64, []byte) error { return nil })
	if !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), dir) {
		t.Errorf("opening: %v, want ErrNewer with the place", err)
	}
}

func TestEitherCopyOfTheHeaderWillDo(t *testing.T) {
	content, added := written(t, 3)
	for _, at := range []int{0, copySize} {
		dir := t.TempDir()
		damaged := slices.Clone(content)
		copy(damaged[at:at+copySize], make([]byte, copySize))
		put(t, dir, 1, damaged)
		if _, found, _ := openTest(t, dir, Options{}); !slices.Equal(found, added) {
			t.Errorf("found %v, want %v", found, added)
		}
	}
}

func TestSegmentsAreRemovedWhenTheyAreHeldElsewhere(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := openTest(t, dir, Options{SegmentSize: headerSize + 3*int64(frameSize+len("record 1"))})
	added := add(t, j, 9) // three in each segment
	if n := len(files(t, dir, "*")); n != 3 {
		t.Fatalf("%d segments, want 3", n)
	}
	for _, test := range []struct {
		through uint64
		last    uint64
		some    bool
		left    int
	}{{0, 0, false, 3}, {2, 0, false, 3}, {3, 3, true, 2}, {5, 0, false, 2}, {9, 6, true, 1}} {
		if last, some := j.Truncatable(test.through); last != test.last || some != test.some {
			t.Errorf("retirable through %d: %d %v, want %d %v", test.through, last, some, test.last, test.some)
		}
		if err := j.Truncate(test.through); err != nil {
			t.Fatal(err)
		}
		if n := len(files(t, dir, "*")); n != test.left {
			t.Errorf("%d segments after retiring through %d, want %d", n, test.through, test.left)
		}
	}
	if _, found, warned := openTest(t, dir, Options{After: 6}); !slices.Equal(found, added[6:]) || len(warned.all()) > 0 {
		t.Errorf("found %v, want %v; warnings %v", found, added[6:], warned.all())
	}
}

// The place that stores the records elsewhere may have more of them than the
// journal, if a process was killed while the disk was full.
func TestNumbersGoOnBehindWhatIsHeldElsewhere(t *testing.T) {
	dir := t.TempDir()
	j, _, _ := openTest(t, dir, Options{})
	all := add(t, j, 2)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	j, _, _ = openTest(t, dir, Options{After: 10})
	more := add(t, j, 1)
	if more[0].number != 11 {
		t.Fatalf("the next number is %d, want 11", more[0].number)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, found, warned := openTest(t, dir, Options{After: 10}); !slices.Equal(found, append(all, more...)) || len(warned.all()) > 0 {
		t.Errorf("found %v; warnings %v", found, warned.all())
	}
}

func TestCallersShareWrites(t *testing.T) {
	dir := t.TempDir()
	disk := newDisk()
	j, _, _ := openTest(t, dir, Options{Create: disk.create})
	disk.hold()
	const callers = 100
	var all sync.WaitGroup
	for i := range callers {
		number, err := j.Append([]byte(fmt.Sprint("caller ", i)))
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() { j.Commit(number) })
	}
	disk.release()
	all.Wait()
	// One write for the segment's header, one for the first caller, and one for
	// all others; one more if some of these came after the write began.
	if n := disk.writes.Load(); n > 4 {
		t.Errorf("%d writes for %d callers", n, callers)
	}
	if _, found, _ := openTest(t, dir, Options{}); len(found) != callers {
		t.Errorf("found %d records, want %d", len(found), callers)
	}
}

func TestAppendRefusesWhatNoRecordIs(t *testing.T) {
	j, _, _ := openTest(t, t.TempDir(), Options{})
	for _, size := range []int{0, MaxRecord + 1} {
		if _, err := j.Append(make([]byte, size)); err == nil {
			t.Errorf("a record of %d bytes was taken", size)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Append([]byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("appending after Close: %v, want ErrClosed", err)
	}
	if err := j.Close(); err != nil {
		t.Errorf("closing again: %v", err)
	}
}

// Random bytes, and any mix of valid and damaged parts, are read without a
// panic, and yield only records that were written.
func TestScanTakesAnything(t *testing.T) {
	content, added := written(t, 8)
	rapid.Check(t, func(rt *rapid.T) {
		data := slices.Clone(content)
		for range rapid.IntRange(0, 5).Draw(rt, "changes") {
			at := rapid.IntRange(0, len(data)-1).Draw(rt, "at")
			n := rapid.IntRange(0, min(60, len(data)-at)).Draw(rt, "bytes")
			noise := rapid.SliceOfN(rapid.Byte(), 0, 60).Draw(rt, "noise")
			data = slices.Replace(data, at, at+n, noise...)
			if len(data) == 0 {
				return
			}
		}
		at := 0
		err := scan(data, func(number uint64, record []byte) error {
			if !slices.Contains(added, entry{number, string(record)}) {
				rt.Fatalf("record %d %q was never written", number, record)
			}
			return nil
		}, func(from, to int) {
			if from < at || to <= from || to > len(data) {
				rt.Fatalf("bad from %d to %d of %d, after %d", from, to, len(data), at)
			}
			at = to
		})
		if err != nil && !errors.Is(err, ErrNewer) {
			rt.Fatal(err)
		}
	})
}

// refreshHeader recomputes the checksum of a copy of a header.
func refreshHeader(head []byte) {
	fresh := sumHeader(head)
	copy(head[24:], fresh[:])
}
