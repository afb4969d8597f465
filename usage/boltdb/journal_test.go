package boltdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/journal"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

// image copies a ledger as it is on the disk, as it would be after a kill now.
func image(t testing.TB, path string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(to, filepath.Base(path))
}

// brokenDisk creates the segments of a journal, unless it is set to be full.
type brokenDisk struct{ full atomic.Bool }

func (d *brokenDisk) create(name string) (journal.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return &brokenFile{f, d}, nil
}

type brokenFile struct {
	journal.File
	d *brokenDisk
}

func (f *brokenFile) WriteAt(b []byte, offset int64) (int, error) {
	if f.d.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.WriteAt(b, offset)
}

func TestAKilledLedgerLosesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	b, _ := openTest(t, path, atEpoch)
	total := int64(0)
	for round := range 4 {
		recordMany(t, b, fmt.Sprint("before", round), 20)
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
		recordMany(t, b, fmt.Sprint("after", round), 7)
		total += 27
		again, warnings := openTest(t, image(t, path), atEpoch)
		if n := requests(t, again); n != total || len(*warnings) > 0 {
			t.Fatalf("%d requests after a kill, want %d; warnings %v", n, total, *warnings)
		}
		// And again, now that the journal has been replayed.
		third, _ := openTest(t, image(t, again.path), atEpoch)
		if n := requests(t, third); n != total {
			t.Fatalf("%d requests after two kills, want %d", n, total)
		}
	}
}

// The ids that the previous process recorded are read from the journal.
func TestIDsAreKnownAfterARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	b, _ := openTest(t, path, atEpoch)
	recordMany(t, b, "", 10)
	if err := b.Flush(); err != nil { // these are in the file already
		t.Fatal(err)
	}
	recordMany(t, b, "more", 10)
	again, _ := openTest(t, image(t, path), atEpoch)
	recordMany(t, again, "", 10)
	recordMany(t, again, "more", 10)
	if n := requests(t, again); n != 20 {
		t.Errorf("%d requests, want 20", n)
	}
}

func under(id string, output int64) usage.Record {
	r := usagetest.SeriesRecord(0)
	r.ID, r.Output, r.Outcome, r.Estimated = id, output, usage.Interrupted, true
	return r
}

func TestOpenRequestsAreSettledAtTheirLastCheckpoint(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "usage.db")
	b, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Hour, journal: journal.Options{SegmentSize: 400}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	checkpoint := func(records ...usage.Record) {
		t.Helper()
		if err := b.Checkpoint(ctx, records); err != nil {
			t.Fatal(err)
		}
	}
	checkpoint(under("open", 10), under("ends", 10), under("nothing", 10))
	checkpoint(under("open", 20), under("ends", 20))
	final := under("ends", 77)
	final.Outcome, final.Estimated = usage.OK, false
	if err := errors.Join(b.Record(ctx, &final), b.Forget(ctx, "nothing")); err != nil {
		t.Fatal(err)
	}
	checkpoint(under("ends", 30), under("nothing", 30)) // too late
	// Segments are created and removed, and their checkpoints survive.
	for i := range 5 {
		recordMany(t, b, fmt.Sprint("other", i, "-"), 10)
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if names, _ := filepath.Glob(filepath.Join(journalDir(path), "*")); len(names) > 3 {
		t.Errorf("segments are not removed: %v", names)
	}

	var reported []usage.Record
	path = image(t, path)
	for restart := range 3 {
		again, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Hour, Interrupted: func(r *usage.Record) { reported = append(reported, *r) }})
		if err != nil {
			t.Fatal(err)
		}
		defer again.Close()
		totals, err := again.Totals(ctx, "key-0", usagetest.Epoch.AddDate(0, 0, -10))
		if err != nil {
			t.Fatal(err)
		}
		others := int64(5 * 10)
		if want := others*300 + 20 + 77; totals.Requests != others+2 || totals.OutputTokens != want || totals.EstimatedRequests != 1 {
			t.Errorf("restart %d: %+v, want %d requests, %d output tokens, one estimated", restart, totals, others+2, want)
		}
		path = image(t, path)
	}
	if len(reported) != 1 || reported[0].ID != "open" || reported[0].Output != 20 || reported[0].Outcome != usage.Interrupted || !reported[0].Estimated || !reported[0].Start.Equal(usagetest.Epoch) {
		t.Errorf("reported %+v, want one, once", reported)
	}
}

func TestACorruptJournalIsReportedAndQuarantined(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	b, _ := openTest(t, path, atEpoch)
	recordMany(t, b, "lost", 1)
	recordMany(t, b, "kept", 9)
	path = image(t, path)
	names, _ := filepath.Glob(filepath.Join(journalDir(path), "*.journal"))
	content, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	content[strings.Index(string(content), "lost0")] ^= 1
	if err := os.WriteFile(names[0], content, 0o600); err != nil {
		t.Fatal(err)
	}
	again, warnings := openTest(t, path, atEpoch)
	if n := requests(t, again); n != 9 {
		t.Errorf("%d requests, want 9", n)
	}
	if w := *warnings; len(w) != 2 || !strings.Contains(w[0], names[0]+" is corrupt") || !strings.Contains(w[0], "at offset 64") || !strings.Contains(w[1], "was renamed to") {
		t.Errorf("warnings %q", w)
	}
	aside, _ := filepath.Glob(names[0] + ".damaged-*")
	if len(aside) != 1 {
		t.Errorf("quarantined as %v", aside)
	}
}

// If the file was deleted, the records left in the journal are counted, and the
// loss of the others is reported.
func TestAMissingFileIsReported(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	const n, later = 40, 5
	b, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Hour, journal: journal.Options{SegmentSize: 400}})
	if err != nil {
		t.Fatal(err)
	}
	recordMany(t, b, "early", n)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b, warnings := openTest(t, path, atEpoch)
	recordMany(t, b, "late", later)
	if err := b.Close(); err != nil || len(*warnings) > 0 {
		t.Fatal(err, *warnings)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b, warnings = openTest(t, path, atEpoch)
	defer b.Close()
	if got := requests(t, b); got < later || got >= n {
		t.Errorf("%d requests are counted", got)
	}
	if len(*warnings) != 1 || !strings.Contains((*warnings)[0], path+" is new, but its journal is not") {
		t.Errorf("warnings %q", *warnings)
	}
}

func TestAFullDiskIsBorneAndThenRefused(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "usage.db")
	disk := new(brokenDisk)
	changes := make(chan error, 10)
	b, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Hour, Status: func(err error) { changes <- err },
		journal: journal.Options{Create: disk.create, MaxPending: 4000, Retry: time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	disk.full.Store(true)
	recorded, ready := int64(0), true
	for ; ; recorded++ {
		r := usagetest.SeriesRecord(0)
		r.ID = fmt.Sprint(recorded)
		err := b.Record(ctx, &r)
		if errors.Is(err, usage.ErrFull) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		now := b.Ready() == nil
		if now && !ready {
			t.Error("ready again while nothing can be written")
		}
		ready = now
	}
	if ready || recorded < 10 {
		t.Errorf("ready %v with %d records in memory", ready, recorded)
	}
	if err := <-changes; !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("the status is %v", err)
	}
	if err := b.Checkpoint(ctx, []usage.Record{under("x", 1)}); err == nil {
		t.Error("a checkpoint took memory of records")
	}
	if err := b.Ready(); !errors.Is(err, usage.ErrFull) || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("ready: %v, want usage.ErrFull and its reason", err)
	}
	if n := requests(t, b); n != recorded {
		t.Errorf("%d requests while nothing can be written, want %d", n, recorded)
	}
	disk.full.Store(false)
	if err := <-changes; err != nil {
		t.Errorf("there is room, and the status is %v", err)
	}
	if err := errors.Join(b.Ready(), b.Err()); err != nil {
		t.Error(err)
	}
	again, _ := openTest(t, image(t, path), atEpoch)
	if n := requests(t, again); n != recorded {
		t.Errorf("%d requests after a kill, want %d", n, recorded)
	}
}

// If only the sums can't be written, the journal has all records.
func TestSumsThatCannotBeWrittenAreInTheJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	b, _ := openTest(t, path, atEpoch)
	b.db.MaxSize = 1
	recordMany(t, b, "", 500)
	if err := b.Close(); err == nil {
		t.Fatal("the sums were written")
	}
	again, _ := openTest(t, path, atEpoch)
	if n := requests(t, again); n != 500 {
		t.Errorf("%d requests after a restart, want 500", n)
	}
}

// However large the journal is, a start holds at most maxPending samples of it in
// memory.
func TestALargeJournalIsAddedUpInParts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "usage.db")
	b, _ := openTest(t, path, atEpoch)
	recordMany(t, b, "", 1000) // some 3,000 samples
	path = image(t, path)
	flushed := 0
	again, err := openSmall(t, path, 100, &flushed)
	if err != nil {
		t.Fatal(err)
	}
	if n := requests(t, again); n != 1000 || flushed < 10 {
		t.Errorf("%d requests in %d parts, want 1000 in more than ten", n, flushed)
	}
}

// openSmall opens a ledger with the maxPending given, and sets *batches to the
// number of the last batch that was written.
func openSmall(t *testing.T, path string, pending int, batches *int) (*Ledger, error) {
	t.Helper()
	b, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Hour, maxPending: pending})
	if err == nil {
		t.Cleanup(func() { b.Close() })
		*batches = int(storedNumber(t, b, keyBatch))
	}
	return b, err
}

func TestConfigureWhileOpen(t *testing.T) {
	now := usagetest.Epoch
	b, _ := openTest(t, filepath.Join(t.TempDir(), "usage.db"), func() time.Time { return now })
	for id, days := range map[string]int{"old": 40, "of the month": 20} {
		r := usagetest.SeriesRecord(0)
		r.ID, r.Start = id, usagetest.Epoch.AddDate(0, 0, -days)
		if err := b.Record(context.Background(), &r); err != nil {
			t.Fatal(err)
		}
	}
	recordMany(t, b, "", 2)
	// Monthly quotas are counted from the kept sums, so a month is kept.
	b.Configure(usage.Settings{Retention: 10 * 24 * time.Hour, Sync: usage.SyncAlways})
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := requests(t, b); n != 3 {
		t.Errorf("%d requests within the shorter retention, want 3", n)
	}
	recordMany(t, b, "synced", 1)
	b.Configure(usage.Settings{})
	if n := requests(t, b); n != 4 {
		t.Errorf("%d requests, want 4", n)
	}
}

func TestEntriesSayAllOfARecord(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := func(name string) string { return rapid.StringN(0, 40, 256).Draw(rt, name) }
		number := func(name string, most int64) int64 { return rapid.Int64Range(0, most).Draw(rt, name) }
		r := usage.Record{
			ID: "id", Key: text("key"), Team: text("team"), Endpoint: text("endpoint"), Model: text("model"),
			Backend: text("backend"), UpstreamModel: text("upstream"), Status: int(number("status", 599)),
			Start:    time.Unix(number("start", 253402300799), number("nanoseconds", 999_999_999)),
			Tokens:   wire.Tokens{Input: number("input", 1<<40), CacheRead: number("read", 1<<40), CacheWrite: number("write", 1<<40), Output: number("output", 1<<40), Reasoning: number("reasoning", 1<<40)},
			CostNano: number("cost", usage.MaxCost), Priced: rapid.Bool().Draw(rt, "priced"), Estimated: rapid.Bool().Draw(rt, "estimated"), Flagged: rapid.Bool().Draw(rt, "flagged"),
			FirstToken: time.Duration(number("first", 1<<40)), Duration: time.Duration(number("duration", 1<<40)),
			Outcome:  rapid.SampledFrom([]usage.Outcome{usage.OK, usage.ClientClosed, usage.UpstreamError, usage.Timeout, usage.StreamLimit, usage.Shutdown, usage.Interrupted}).Draw(rt, "outcome"),
			Attempts: int(number("attempts", 9)),
		}
		kind := rapid.SampledFrom([]entryKind{entryFinal, entryCheckpoint}).Draw(rt, "kind")
		b := appendEntry(nil, kind, &r)
		gotKind, got, err := decodeEntry(b)
		if err != nil || gotKind != kind || !got.Start.Equal(r.Start) {
			rt.Fatalf("%v, kind %d, start %v; want %d, %v", err, gotKind, got.Start, kind, r.Start)
		}
		got.Start = r.Start
		if *got != r {
			rt.Fatalf("got  %+v\nwant %+v", *got, r)
		}
		cutAt := rapid.IntRange(0, len(b)-1).Draw(rt, "cut")
		if _, _, err := decodeEntry(b[:cutAt]); !errors.Is(err, errEntry) {
			rt.Fatalf("cut at %d of %d: %v", cutAt, len(b), err)
		}
		if _, _, err := decodeEntry(append(slices.Clone(b), 0)); !errors.Is(err, errEntry) {
			rt.Fatalf("a byte more: %v", err)
		}
		b[0] = entryVersion + 1
		if _, _, err := decodeEntry(b); !errors.Is(err, journal.ErrNewer) {
			rt.Fatalf("another version: %v", err)
		}
	})
}

func FuzzDecodeEntry(f *testing.F) {
	r := usagetest.SeriesRecord(0)
	f.Add(appendEntry(nil, entryFinal, &r))
	f.Add(appendEntry(nil, entryForgotten, &r))
	f.Fuzz(func(t *testing.T, b []byte) {
		kind, r, err := decodeEntry(b)
		if err != nil {
			return
		}
		if again, second, err := decodeEntry(appendEntry(nil, kind, r)); err != nil || again != kind || second.ID != r.ID {
			t.Errorf("%+v is not read again: %v", r, err)
		}
	})
}

// Concurrent callers, checkpoints, flushes and queries; then a kill.
func TestRecordsFromManyGoroutinesSurviveAKill(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "usage.db")
	b, err := Open(path, Options{Now: atEpoch, FlushInterval: time.Millisecond, journal: journal.Options{SegmentSize: 4000}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	const callers, each = 8, 200
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := range each {
				r := usagetest.SeriesRecord(i % 30)
				r.ID = fmt.Sprint(caller, "-", i)
				if i%10 == 0 {
					if err := b.Checkpoint(ctx, []usage.Record{r}); err != nil {
						t.Error(err)
					}
				}
				if err := b.Record(ctx, &r); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if err := b.Checkpoint(ctx, []usage.Record{under("open", 1)}); err != nil {
		t.Fatal(err)
	}
	b.flushing.Lock() // a copy is not instantaneous, unlike a kill
	path = image(t, path)
	b.flushing.Unlock()
	again, warnings := openTest(t, path, atEpoch)
	if n := requests(t, again); n != callers*each+1 || len(*warnings) != 1 {
		t.Errorf("%d requests, want %d; warnings %v", n, callers*each+1, *warnings)
	}
}
