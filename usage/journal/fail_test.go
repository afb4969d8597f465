package journal

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// disk creates real files whose operations can be blocked and made to fail.
type disk struct {
	writes  atomic.Int64
	syncs   atomic.Int64
	mu      sync.RWMutex // held by hold
	failing atomic.Pointer[failure]
}

// failure holds the errors of a disk's operations. A failing write writes part
// bytes first.
type failure struct {
	part        int
	write, sync error
	create      error
}

func newDisk() *disk {
	d := new(disk)
	d.failing.Store(new(failure))
	return d
}

func (d *disk) hold()    { d.mu.Lock() }
func (d *disk) release() { d.mu.Unlock() }

func (d *disk) create(name string) (File, error) {
	if err := d.failing.Load().create; err != nil {
		return nil, err
	}
	f, err := createFile(name)
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d}, nil
}

type diskFile struct {
	File
	d *disk
}

func (f *diskFile) WriteAt(b []byte, offset int64) (int, error) {
	f.d.mu.RLock()
	defer f.d.mu.RUnlock()
	f.d.writes.Add(1)
	if fail := f.d.failing.Load(); fail.write != nil {
		n, err := f.File.WriteAt(b[:min(fail.part, len(b))], offset)
		return n, errors.Join(err, fail.write)
	}
	return f.File.WriteAt(b, offset)
}

func (f *diskFile) Sync() error {
	f.d.syncs.Add(1)
	if err := f.d.failing.Load().sync; err != nil {
		return err
	}
	return f.File.Sync()
}

// status waits until a journal reports a change.
type status chan error

func (s status) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-s:
		return err
	case <-time.After(10 * time.Second):
		t.Fatal("no change of status")
		return nil
	}
}

func openFailing(t *testing.T, dir string, d *disk, opts Options) (*Journal, status, *notes) {
	t.Helper()
	changes := make(status, 10)
	var j *Journal
	opts.Create, opts.Retry = d.create, time.Millisecond
	opts.Changed = func() { changes <- j.Err() }
	j, _, warned := openTest(t, dir, opts)
	return j, changes, warned
}

// However much of a write reaches a full disk, each record is read once when
// there is space again, whether or not the process was still alive then.
func TestAFullDisk(t *testing.T) {
	full := syscall.ENOSPC
	for name, fail := range map[string]failure{
		"no new file":            {create: full},
		"nothing fits":           {write: full},
		"a part of a frame fits": {part: 10, write: full},
		"some frames fit":        {part: 100, write: full},
		"all but the last byte":  {part: 4*(frameSize+8) - 1, write: full},
		"all, and yet an error":  {part: 1 << 20, write: syscall.EIO},
	} {
		t.Run(name, func(t *testing.T) {
			dir, d := t.TempDir(), newDisk()
			j, changes, warned := openFailing(t, dir, d, Options{})
			var added []entry
			if fail.create == nil {
				added = add(t, j, 3)
			}
			d.failing.Store(&fail)
			added = append(added, add(t, j, 4)...) // returns without a successful write
			if err := changes.wait(t); err == nil || j.Err() == nil {
				t.Fatal("the journal does not report that it fails")
			}
			// The process is killed now.
			found := found(t, dir)
			if len(found) > len(added) || !slices.Equal(found, added[:len(found)]) {
				t.Fatalf("on the full disk: %v", found)
			}
			d.failing.Store(new(failure))
			if err := changes.wait(t); err != nil {
				t.Fatalf("there is room, and the journal says %v", err)
			}
			added = append(added, add(t, j, 2)...)
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			if w := warned.all(); len(w) != 2 || !strings.Contains(w[0], "fails") || !strings.Contains(w[1], "works again") {
				t.Errorf("warnings %q, want one of each change", w)
			}
			again, all, warned := openTest(t, dir, Options{})
			if !slices.Equal(all, added) {
				t.Errorf("found %v, want %v", all, added)
			}
			for _, w := range warned.all() {
				t.Errorf("what was written twice is taken for damage: %s", w)
			}
			if err := again.Truncate(added[len(added)-1].number); err != nil || len(files(t, dir, "*")) > 0 {
				t.Errorf("%v; left over: %v", err, files(t, dir, "*"))
			}
		})
	}
}

// found reads a journal that is open elsewhere.
func found(t *testing.T, dir string) (found []entry) {
	t.Helper()
	_, found, _ = openTest(t, dir, Options{})
	return found
}

func TestMemoryIsBoundedWhileTheDiskFails(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	size := frameSize + len("record 1")
	j, changes, _ := openFailing(t, dir, d, Options{MaxPending: 8 * size})
	d.failing.Store(&failure{write: syscall.ENOSPC})
	added := add(t, j, 5)
	if changes.wait(t) == nil || j.Crowded() {
		t.Fatal("five of eight are no crowd")
	}
	added = append(added, add(t, j, 1)...)
	if !j.Crowded() {
		t.Error("six of eight are a crowd")
	}
	added = append(added, add(t, j, 2)...)
	for range 3 {
		if _, err := j.Append([]byte("record 9")); !errors.Is(err, ErrFull) {
			t.Fatalf("appending a ninth: %v, want ErrFull", err)
		}
	}
	d.failing.Store(new(failure))
	if err := changes.wait(t); err != nil || j.Crowded() {
		t.Fatalf("there is room, and the journal says %v, crowded %v", err, j.Crowded())
	}
	added = append(added, add(t, j, 1)...)
	if got := found(t, dir); !slices.Equal(got, added) {
		t.Errorf("found %v, want %v", got, added)
	}
}

func TestCloseTellsWhatIsLost(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	j, changes, _ := openFailing(t, dir, d, Options{})
	d.failing.Store(&failure{write: syscall.ENOSPC})
	add(t, j, 1)
	changes.wait(t)
	if err := j.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("closing: %v, want that the disk is full", err)
	}
}

func TestSyncAlwaysWaitsForTheDisk(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	j, changes, _ := openFailing(t, dir, d, Options{Sync: SyncAlways})
	added := add(t, j, 5)
	if n := d.syncs.Load(); n != 5 {
		t.Errorf("%d syncs of 5 commits", n)
	}
	// Records whose sync failed are written again, to another file.
	d.failing.Store(&failure{sync: syscall.EIO})
	added = append(added, add(t, j, 1)...)
	if changes.wait(t) == nil {
		t.Error("a sync that fails is not reported")
	}
	d.failing.Store(new(failure))
	if err := changes.wait(t); err != nil {
		t.Error(err)
	}
	added = append(added, add(t, j, 1)...)
	if n := len(files(t, dir, "*"+suffix)); n != 2 {
		t.Errorf("%d segments, want another one after a sync that failed", n)
	}
	if got := found(t, dir); !slices.Equal(got, added) {
		t.Errorf("found %v, want %v", got, added)
	}
}

func TestSyncsAtTheInterval(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	j, changes, _ := openFailing(t, dir, d, Options{Sync: time.Hour})
	add(t, j, 1)
	if n := d.syncs.Load(); n != 0 {
		t.Fatalf("%d syncs before the interval", n)
	}
	j.SetSync(time.Millisecond)
	synced := func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.synced == j.written
	}
	for !synced() && t.Context().Err() == nil {
		time.Sleep(time.Millisecond) // for a goroutine of the journal
	}
	d.failing.Store(&failure{sync: syscall.EIO})
	add(t, j, 1)
	if err := changes.wait(t); !errors.Is(err, syscall.EIO) {
		t.Errorf("a sync that fails: %v", err)
	}
	d.failing.Store(new(failure))
	added := add(t, j, 1)
	if err := changes.wait(t); err != nil {
		t.Error(err)
	}
	names := files(t, dir, "*"+suffix)
	if len(names) != 2 || names[1] != segmentName(dir, added[0].number, 0) {
		t.Errorf("segments %v: nothing may be added to one that could not be synced", names)
	}
	j.SetSync(SyncAlways)
	before := d.syncs.Load()
	add(t, j, 3)
	if n := d.syncs.Load() - before; n < 3 {
		t.Errorf("%d syncs of 3 commits with SyncAlways", n)
	}
}

// Concurrent writers, changes of the sync interval, truncation and a disk that
// fails from time to time: each record that was committed while the disk
// worked is read once.
func TestEverythingAtOnce(t *testing.T) {
	dir, d := t.TempDir(), newDisk()
	j, _, _ := openTest(t, dir, Options{Create: d.create, Retry: time.Millisecond, SegmentSize: 2000, Sync: time.Millisecond})
	const writers, each = 8, 400
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for range each {
				number, err := j.Append([]byte("something of some length"))
				if err != nil {
					t.Error(err)
					return
				}
				j.Commit(number)
			}
		})
	}
	stop := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			d.failing.Store([]*failure{{}, {part: 30, write: syscall.ENOSPC}, {}, {sync: syscall.EIO}}[i%4])
			j.SetSync([]time.Duration{SyncAlways, time.Millisecond, time.Second}[i%3])
			j.Crowded()
			time.Sleep(time.Millisecond) // so that each state lasts
		}
	})
	all.Wait()
	close(stop)
	others.Wait()
	d.failing.Store(new(failure))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	_, found, warned := openTest(t, dir, Options{})
	for i, e := range found {
		if e.number != uint64(i+1) {
			t.Fatalf("record %d has number %d", i+1, e.number)
		}
	}
	if len(found) != writers*each || len(warned.all()) > 0 {
		t.Errorf("%d records, want %d; warnings %q", len(found), writers*each, warned.all())
	}
}

func sumHeader(head []byte) (sum [4]byte) {
	binary.LittleEndian.PutUint32(sum[:], crc32.Checksum(head[:24], castagnoli))
	return sum
}
