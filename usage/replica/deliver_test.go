//go:build unix

package replica_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/replica"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

// However often, late and by whichever gate a directory's records are delivered,
// each is counted once: by a gate that was killed, by one that starts from a copy
// of the directory of a running gate, and by one that starts from an old copy.
func TestEachRecordIsDeliveredOnce(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	open := func(dir string) *replica.Ledger {
		l := openShared(t, clientOf(t, s), "once", dir, atEpoch)
		t.Cleanup(func() { l.Close() })
		return l
	}
	dir := t.TempDir()
	gate := open(dir)
	witness := open(t.TempDir())
	recordOn(t, []*replica.Ledger{gate}, 10)
	deliver(t, gate)
	recordOn(t, []*replica.Ledger{gate}, 5)
	if err := gate.Flush(); err != nil { // in its file, but not delivered
		t.Fatal(err)
	}
	recordOn(t, []*replica.Ledger{gate}, 4) // in its journal only
	old := copyDir(t, dir)
	first := open(old) // as if the gate had been killed
	alike(t, []*replica.Ledger{first, witness}, 19)

	// The gate was not killed: it delivers the same records, and more.
	recordOn(t, []*replica.Ledger{gate}, 6)
	recordOn(t, []*replica.Ledger{first}, 3)
	alike(t, []*replica.Ledger{gate, first, witness}, 28)

	// Another copy, made before that, starts after both have ended.
	older := copyDir(t, old)
	recordOn(t, []*replica.Ledger{gate, first}, 8)
	for _, l := range []*replica.Ledger{gate, first} {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	restored := open(older)
	recordOn(t, []*replica.Ledger{restored}, 1)
	alike(t, []*replica.Ledger{restored, witness}, 37)
	if n := restored.Epoch(); n != 0 {
		t.Errorf("usage was taken for lost %d times", n)
	}

	// Its data is older than that in Redis, and replaces nothing of it.
	for _, mark := range s.Do("keys", "once:*mark*").([]any) {
		s.Do("del", mark)
	}
	rebuilt(t, []*replica.Ledger{restored, witness}, 37)
}

// While Redis is unavailable, records are accepted, queries fail at once, and all
// records are delivered when it is available again; each delivery is reported.
func TestRedisIsAway(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	b, err := boltdb.Open(filepath.Join(t.TempDir(), "usage.db"), boltdb.Options{Now: atEpoch, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var reported []bool
	l := replica.New(b, replica.Options{Client: clientOf(t, s), Interval: 20 * time.Millisecond, OnDelivery: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		reported = append(reported, err == nil)
	}})
	defer l.Close()
	changes := func() []bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Compact(slices.Clone(reported))
	}
	gates := []*replica.Ledger{l}
	recordOn(t, gates, 5)
	deliver(t, l)
	s.Kill()
	eventually(t, "Redis is reported as unavailable", func() bool { return len(changes()) == 2 })
	recordOn(t, gates, 5)
	if _, err := l.Query(context.Background(), usage.Query{Start: usagetest.Epoch.AddDate(0, 0, -1), End: usagetest.Epoch}); !errors.Is(err, usage.ErrUnavailable) {
		t.Errorf("a query says %v, want ErrUnavailable", err)
	}
	if _, err := l.Totals(context.Background(), "key-1", usagetest.Epoch); !errors.Is(err, usage.ErrUnavailable) {
		t.Errorf("totals say %v, want ErrUnavailable", err)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("it takes no records: %v", err)
	}
	s.Restart()
	eventually(t, "Redis is reported as available again", func() bool { return len(changes()) == 3 })
	other := openShared(t, clientOf(t, s), "", t.TempDir(), atEpoch)
	defer other.Close()
	eventually(t, "all is delivered", func() bool { return requestsOf(t, other) == 10 })
	if got := changes(); !slices.Equal(got, []bool{true, false, true}) {
		t.Errorf("reported %v", got)
	}
}

// Close delivers the rest. If Redis is unavailable, Close returns at once and the
// rest is delivered after the next start.
func TestCloseDelivers(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	dir := t.TempDir()
	witness := openShared(t, clientOf(t, s), "", t.TempDir(), atEpoch)
	defer witness.Close()
	deliver(t, witness)
	l := openShared(t, clientOf(t, s), "", dir, atEpoch)
	deliver(t, l)
	recordOn(t, []*replica.Ledger{l}, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := requestsOf(t, witness); n != 5 {
		t.Errorf("%d requests are delivered by Close, want 5", n)
	}
	l = openShared(t, clientOf(t, s), "", dir, atEpoch)
	deliver(t, l)
	s.Kill()
	recordOn(t, []*replica.Ledger{l}, 5)
	_ = l.Deliver(context.Background()) // detects the failure
	if err := l.Close(); err != nil {
		t.Errorf("closing without Redis: %v", err)
	}
	s.Restart()
	l = openShared(t, clientOf(t, s), "", dir, atEpoch)
	defer l.Close()
	rebuilt(t, []*replica.Ledger{l, witness}, 10)
}

// When a file is quarantined, no delivered record is lost, and the others are
// counted once.
func TestADamagedFileLosesNothingThatWasDelivered(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	dir := t.TempDir()
	l := openShared(t, clientOf(t, s), "", dir, atEpoch)
	recordOn(t, []*replica.Ledger{l}, 12)
	deliver(t, l)
	recordOn(t, []*replica.Ledger{l}, 3) // which commits the journal too
	copied := copyDir(t, dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.Flush()
	again := openShared(t, clientOf(t, s), "", dir, atEpoch)
	defer again.Close()
	alike(t, []*replica.Ledger{again}, 15)

	// The same, from a copy with an unreadable file.
	if err := os.WriteFile(filepath.Join(copied, "usage.db"), []byte("no database, but as long as one may have to be"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := openShared(t, clientOf(t, s), "other", copied, atEpoch)
	defer damaged.Close()
	if n := requestsOf(t, damaged); n != 3 {
		t.Errorf("%d requests in the journal that were not delivered, want 3", n)
	}
}

// An embedded ledger that is shared later delivers its earlier records too, and
// so does one that changes to another Redis.
func TestALedgerIsSharedWhileItIsOpen(t *testing.T) {
	one, two := redistest.Standalone(t, redistest.Options{}), redistest.Standalone(t, redistest.Options{})
	b, err := boltdb.Open(filepath.Join(t.TempDir(), "usage.db"), boltdb.Options{Now: atEpoch})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var shared *replica.Ledger
	for i, s := range []*redistest.Server{one, two, one} {
		recordOn(t, []usage.Ledger{b}, 10)
		shared = replica.New(b, replica.Options{Client: clientOf(t, s), Interval: time.Hour})
		recordOn(t, []*replica.Ledger{shared}, 10)
		if err := shared.Detach(); err != nil {
			t.Fatal(err)
		}
		witness := openShared(t, clientOf(t, s), "", t.TempDir(), atEpoch)
		if n, want := requestsOf(t, witness), int64(20*(i+1)); n != want {
			t.Errorf("%d requests in Redis %d, want %d", n, i, want)
		}
		if err := witness.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := requestsOf(t, b); n != 60 {
		t.Errorf("%d requests in the file, want 60", n)
	}
}

// Every key in Redis has an expiry.
func TestWhatIsSharedExpires(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	gates := openGates(t, func() redis.UniversalClient { return clientOf(t, s) })
	recordOn(t, gates, 30)
	alike(t, gates, 30)
	kept := map[string]time.Duration{"minute": usage.MinuteRetention, "hour": usage.HourRetention, "day": usage.DefaultRetention}
	for _, key := range s.Do("keys", "*").([]any) {
		ttl := time.Duration(s.Do("pttl", key).(int64)) * time.Millisecond
		name := key.(string)
		most := usage.DefaultRetention
		for level, retention := range kept {
			if strings.Contains(name, "}:"+level+":") {
				most = retention
			}
		}
		if most += 72 * time.Hour; ttl <= 0 || ttl > most {
			t.Errorf("%s expires in %v, want at most %v", name, ttl, most)
		}
	}
}
