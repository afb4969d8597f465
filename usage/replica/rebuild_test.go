//go:build unix

package replica_test

import (
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/replica"
)

// After FLUSHALL every gate delivers all its data again, and no gate answers
// before all live gates have.
func TestUsageIsRebuiltAfterFlushAll(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	gates := openGates(t, func() redis.UniversalClient { return clientOf(t, s) })
	recordOn(t, gates, 60)
	alike(t, gates, 60)
	for _, l := range gates {
		deliver(t, l) // now each has seen all others
	}
	recordOn(t, gates, 3)
	time.Sleep(1100 * time.Millisecond) // longer than freshFor
	s.Flush()
	deliver(t, gates[0])
	if n := s.Do("zcard", "gates:{usage}:rebuilding"); n != int64(2) {
		t.Errorf("%v gates are waited for, want the two that have not delivered", n)
	}
	answer := ask(t, gates[0])
	deliver(t, gates[1])
	select {
	case n := <-answer:
		t.Errorf("%d requests are counted before all have delivered", n)
	case <-time.After(200 * time.Millisecond):
	}
	deliver(t, gates[2])
	if n := <-answer; n != 63 {
		t.Errorf("%d requests after FLUSHALL, want 63", n)
	}
	for i, l := range gates {
		deliver(t, l)
		if n := l.Epoch(); n != 0 {
			t.Errorf("gate %d has epoch %d, want none: all is gone that was derived from usage", i, n)
		}
	}
	alike(t, gates, 63)
}

// A gate that starts between a FLUSHALL and its detection by the others can't
// know of it: what it has derived from usage is invalid.
func TestWhatANewGateDerivesFromLostUsageDoesNotStand(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	client := func() redis.UniversalClient { return clientOf(t, s) }
	gates := openGates(t, client)
	recordOn(t, gates, 9)
	alike(t, gates, 9)
	for _, l := range gates {
		deliver(t, l) // now each has seen all others
	}
	s.Flush()
	late := openShared(t, client(), "gates", t.TempDir(), atEpoch)
	defer late.Close()
	deliver(t, late)
	if n := <-ask(t, late); n != 0 {
		t.Fatalf("%d requests are counted before anybody has delivered again", n)
	}
	for range 2 {
		for _, l := range append(gates, late) {
			deliver(t, l)
		}
	}
	for i, l := range append(gates, late) {
		if n := l.Epoch(); n != 1 {
			t.Errorf("gate %d has epoch %d, want 1: what the new one has derived is wrong", i, n)
		}
	}
	time.Sleep(1100 * time.Millisecond) // longer than freshFor
	if n := <-ask(t, late); n != 9 {
		t.Errorf("%d requests, want 9", n)
	}
}

// The first query after a FLUSHALL detects it.
func TestAQueryFindsOutThatUsageIsLost(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	b, err := boltdb.Open(filepath.Join(t.TempDir(), "usage.db"), boltdb.Options{Now: atEpoch, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	var warned atomic.Int64
	asked := replica.New(b, replica.Options{Client: clientOf(t, s), Prefix: "gates", Interval: time.Hour, Warn: func(string) { warned.Add(1) }})
	defer asked.Close()
	other := openGates(t, func() redis.UniversalClient { return clientOf(t, s) })[0]
	recordOn(t, []*replica.Ledger{asked, other}, 10)
	alike(t, []*replica.Ledger{asked, other, asked}, 10)
	time.Sleep(1100 * time.Millisecond) // longer than freshFor
	s.Flush()
	answer := ask(t, asked)
	eventually(t, "the loss is noticed", func() bool { return warned.Load() == 1 })
	deliver(t, other)
	if n := <-answer; n != 10 {
		t.Errorf("%d requests, want 10", n)
	}
}

// A Redis that is restored from an old copy is repaired.
func TestUsageIsRebuiltInAnOldCopy(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{Config: []string{"dbfilename dump.rdb"}})
	gates := openGates(t, func() redis.UniversalClient { return clientOf(t, s) })
	recordOn(t, gates, 10)
	alike(t, gates, 10)
	s.Do("save")
	recordOn(t, gates, 10)
	alike(t, gates, 20)
	s.Restart() // from the copy, the only data on its disk
	rebuilt(t, gates, 20)
	for _, l := range gates {
		deliver(t, l)
	}
	for i, l := range gates {
		if n := l.Epoch(); n != 1 {
			t.Errorf("gate %d has epoch %d, want 1: what was derived from usage is wrong", i, n)
		}
	}
}
