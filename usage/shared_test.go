//go:build unix

package usage_test

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
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

// openShared opens a gate's ledger, which delivers only when it is told to.
func openShared(t testing.TB, client redis.UniversalClient, prefix, dir string, now func() time.Time) *usage.Shared {
	t.Helper()
	b, err := usage.OpenBolt(filepath.Join(dir, "usage.db"), usage.BoltOptions{Now: now, FlushInterval: time.Hour, Shared: true})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return usage.Share(b, usage.SharedOptions{Client: client, Prefix: prefix, Every: time.Hour, Timeout: 30 * time.Second, CloseTimeout: 30 * time.Second})
}

func deliver(t testing.TB, l *usage.Shared) {
	t.Helper()
	if err := l.Deliver(context.Background()); err != nil {
		t.Errorf("delivering: %v", err)
	}
}

// shared is the suite's subject over a Redis. Each directory has a prefix of its
// own.
func shared(client func() redis.UniversalClient) usagetest.Subject {
	return usagetest.Subject{
		Open: func(t testing.TB, dir string, now func() time.Time) usage.Ledger {
			return openShared(t, client(), dir, dir, now)
		},
		Peer: func(t testing.TB, dir, own string, now func() time.Time) usage.Ledger {
			return openShared(t, client(), dir, own, now)
		},
		Durable: true,
		Settle:  func(t testing.TB, l usage.Ledger) { deliver(t, l.(*usage.Shared)) },
	}
}

func clientOf(s *redistest.Server) redis.UniversalClient {
	return redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true})
}

func TestShared(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	shared(func() redis.UniversalClient { return clientOf(s) }).Run(t)
}

// The suite's contract of several gates holds on the other kinds of Redis too.
func TestSharedInAClusterAndBehindSentinels(t *testing.T) {
	if testing.Short() {
		t.Skip("starts 12 servers")
	}
	t.Run("Cluster", func(t *testing.T) {
		set := redistest.Cluster(t)
		addrs := make([]string, len(set.Servers))
		for i, s := range set.Servers {
			addrs[i] = s.Addr()
		}
		client := func() redis.UniversalClient {
			return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true})
		}
		gates := openGates(t, client)
		recordOn(t, gates, 40)
		alike(t, gates, 40)
		set.Flush()
		rebuilt(t, gates, 40)
	})
	t.Run("Sentinel", func(t *testing.T) {
		set := redistest.Sentinel(t)
		addrs := make([]string, len(set.Sentinels))
		for i, s := range set.Sentinels {
			addrs[i] = s.Addr()
		}
		client := func() redis.UniversalClient {
			return redis.NewFailoverClient(&redis.FailoverOptions{MasterName: redistest.SentinelMaster, SentinelAddrs: addrs, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true})
		}
		gates := openGates(t, client)
		recordOn(t, gates, 40)
		alike(t, gates, 40)
		old := set.Master()
		old.Kill()
		set.WaitFailover(old)
		recordOn(t, gates, 7)
		rebuilt(t, gates, 47)
	})
}

var atEpoch = func() time.Time { return usagetest.Epoch }

// openGates opens three gates' ledgers.
func openGates(t *testing.T, client func() redis.UniversalClient) []*usage.Shared {
	t.Helper()
	gates := make([]*usage.Shared, 3)
	for i := range gates {
		gates[i] = openShared(t, client(), "gates", t.TempDir(), atEpoch)
		t.Cleanup(func() { gates[i].Close() })
		deliver(t, gates[i])
	}
	return gates
}

var lastID atomic.Int64

// recordOn records n requests of as many tokens each, on one gate after the
// other, in several hours and days.
func recordOn(t testing.TB, gates []*usage.Shared, n int) {
	t.Helper()
	for i := range n {
		id := lastID.Add(1)
		r := usage.Record{
			ID: fmt.Sprint("id-", id), Start: usagetest.Epoch.Add(-time.Duration(i) * time.Hour), Key: fmt.Sprint("key-", i%5), Endpoint: "chat", Model: "m", Backend: "b",
			Outcome: usage.OK, Attempts: 1, Tokens: wire.Tokens{Input: 10, Output: 1},
		}
		if err := gates[i%len(gates)].Record(context.Background(), &r); err != nil {
			t.Fatal(err)
		}
	}
}

func requestsOf(t testing.TB, l usage.Ledger) (n int64) {
	t.Helper()
	page, err := l.Query(context.Background(), usage.Query{Start: usagetest.Epoch.AddDate(0, -2, 0), End: usagetest.Epoch.Add(time.Second), Width: usage.Month})
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range page.Data {
		for _, r := range b.Results {
			n += r.Requests
			if r.InputTokens != 10*r.Requests || r.OutputTokens != r.Requests {
				t.Errorf("%+v do not add up", r)
			}
		}
	}
	return n
}

// ask asks in the background.
func ask(t testing.TB, l usage.Ledger) <-chan int64 {
	answer := make(chan int64, 1)
	go func() {
		defer close(answer)
		answer <- requestsOf(t, l)
	}()
	return answer
}

// alike delivers and checks that each gate tells of all.
func alike(t *testing.T, gates []*usage.Shared, want int64) {
	t.Helper()
	for _, l := range gates {
		deliver(t, l)
	}
	for i, l := range gates {
		eventually(t, fmt.Sprintf("gate %d tells of %d requests", i, want), func() bool { return requestsOf(t, l) == want })
	}
}

// rebuilt waits until what Redis has lost is there again.
func rebuilt(t *testing.T, gates []*usage.Shared, want int64) {
	t.Helper()
	eventually(t, "all gates have delivered", func() bool {
		for _, l := range gates {
			if err := l.Deliver(context.Background()); err != nil {
				return false
			}
		}
		return true
	})
	alike(t, gates, want)
}

func eventually(t testing.TB, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !met(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited for nothing: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// copyDir copies a gate's directory as a process that is killed now leaves it.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// However often, late and by whom a directory's records are delivered, each is
// counted once: by a gate that was killed, by one that starts from a copy of its
// directory while it goes on, by one that starts from an old copy.
func TestEachRecordIsDeliveredOnce(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	open := func(dir string) *usage.Shared {
		l := openShared(t, clientOf(s), "once", dir, atEpoch)
		t.Cleanup(func() { l.Close() })
		return l
	}
	dir := t.TempDir()
	gate := open(dir)
	witness := open(t.TempDir())
	recordOn(t, []*usage.Shared{gate}, 10)
	deliver(t, gate)
	recordOn(t, []*usage.Shared{gate}, 5)
	if err := gate.Flush(); err != nil { // in its file, and not delivered
		t.Fatal(err)
	}
	recordOn(t, []*usage.Shared{gate}, 4) // in its journal alone
	old := copyDir(t, dir)
	first := open(old) // as if the gate had been killed
	alike(t, []*usage.Shared{first, witness}, 19)

	// The gate was not killed: it delivers the same records, and more.
	recordOn(t, []*usage.Shared{gate}, 6)
	recordOn(t, []*usage.Shared{first}, 3)
	alike(t, []*usage.Shared{gate, first, witness}, 28)

	// And another copy, which was made before that, comes up when both are gone.
	older := copyDir(t, old)
	recordOn(t, []*usage.Shared{gate, first}, 8)
	for _, l := range []*usage.Shared{gate, first} {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	restored := open(older)
	recordOn(t, []*usage.Shared{restored}, 1)
	alike(t, []*usage.Shared{restored, witness}, 37)
	if n := restored.Epoch(); n != 0 {
		t.Errorf("usage was taken for lost %d times", n)
	}

	// What it has is older than what is there, and replaces nothing of it.
	for _, mark := range s.Do("keys", "once:*mark*").([]any) {
		s.Do("del", mark)
	}
	rebuilt(t, []*usage.Shared{restored, witness}, 37)
}

// After FLUSHALL every gate delivers all that it holds, and nobody answers before
// the gates that live have.
func TestUsageIsRebuiltAfterFlushAll(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	gates := openGates(t, func() redis.UniversalClient { return clientOf(s) })
	recordOn(t, gates, 60)
	alike(t, gates, 60)
	for _, l := range gates {
		deliver(t, l) // now each knows of all others
	}
	recordOn(t, gates, 3)
	time.Sleep(1100 * time.Millisecond) // what was read is not fresh any more
	s.Flush()
	deliver(t, gates[0])
	if n := s.Do("zcard", "gates:{usage}:rebuilding"); n != int64(2) {
		t.Errorf("%v gates are waited for, want the two that have not delivered", n)
	}
	answer := ask(t, gates[0])
	deliver(t, gates[1])
	select {
	case n := <-answer:
		t.Errorf("%d requests are told of before all have delivered", n)
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

// A gate that starts between a FLUSHALL and the others' noticing can't know of it: what it has derived from
// usage does not stand.
func TestWhatANewGateDerivesFromLostUsageDoesNotStand(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	client := func() redis.UniversalClient { return clientOf(s) }
	gates := openGates(t, client)
	recordOn(t, gates, 9)
	alike(t, gates, 9)
	for _, l := range gates {
		deliver(t, l) // now each knows of all others
	}
	s.Flush()
	late := openShared(t, client(), "gates", t.TempDir(), atEpoch)
	defer late.Close()
	deliver(t, late)
	if n := <-ask(t, late); n != 0 {
		t.Fatalf("%d requests are told of before anybody has delivered again", n)
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
	time.Sleep(1100 * time.Millisecond) // what it read is not fresh any more
	if n := <-ask(t, late); n != 9 {
		t.Errorf("%d requests, want 9", n)
	}
}

// Who asks first after a FLUSHALL finds it out.
func TestAQueryFindsOutThatUsageIsLost(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	b, err := usage.OpenBolt(filepath.Join(t.TempDir(), "usage.db"), usage.BoltOptions{Now: atEpoch, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	var warned atomic.Int64
	asked := usage.Share(b, usage.SharedOptions{Client: clientOf(s), Prefix: "gates", Every: time.Hour, Warn: func(string) { warned.Add(1) }})
	defer asked.Close()
	other := openGates(t, func() redis.UniversalClient { return clientOf(s) })[0]
	recordOn(t, []*usage.Shared{asked, other}, 10)
	alike(t, []*usage.Shared{asked, other, asked}, 10)
	time.Sleep(1100 * time.Millisecond) // what it read is not fresh any more
	s.Flush()
	answer := ask(t, asked)
	eventually(t, "the loss is noticed", func() bool { return warned.Load() == 1 })
	deliver(t, other)
	if n := <-answer; n != 10 {
		t.Errorf("%d requests, want 10", n)
	}
}

// A Redis that comes back from an old copy is put right.
func TestUsageIsRebuiltInAnOldCopy(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{Config: []string{"dbfilename dump.rdb"}})
	gates := openGates(t, func() redis.UniversalClient { return clientOf(s) })
	recordOn(t, gates, 10)
	alike(t, gates, 10)
	s.Do("save")
	recordOn(t, gates, 10)
	alike(t, gates, 20)
	s.Restart() // from the copy: nothing else is on its disk
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

// While Redis is away records are taken, queries say so at once, and all is
// delivered when it is back; each change is told once.
func TestRedisIsAway(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	b, err := usage.OpenBolt(filepath.Join(t.TempDir(), "usage.db"), usage.BoltOptions{Now: atEpoch, Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told []bool
	l := usage.Share(b, usage.SharedOptions{Client: clientOf(s), Every: 20 * time.Millisecond, Changed: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, err == nil)
	}})
	defer l.Close()
	changes := func() []bool {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(told)
	}
	gates := []*usage.Shared{l}
	recordOn(t, gates, 5)
	deliver(t, l)
	s.Kill()
	eventually(t, "it is told that Redis is away", func() bool { return len(changes()) == 2 })
	recordOn(t, gates, 5)
	if _, err := l.Query(context.Background(), usage.Query{Start: usagetest.Epoch.AddDate(0, 0, -1), End: usagetest.Epoch}); !errors.Is(err, usage.ErrAway) {
		t.Errorf("a query says %v, want ErrAway", err)
	}
	if _, err := l.Totals(context.Background(), "key-1", usagetest.Epoch); !errors.Is(err, usage.ErrAway) {
		t.Errorf("totals say %v, want ErrAway", err)
	}
	if err := l.Ready(); err != nil {
		t.Errorf("it takes no records: %v", err)
	}
	s.Restart()
	eventually(t, "it is told that Redis is back", func() bool { return len(changes()) == 3 })
	other := openShared(t, clientOf(s), "", t.TempDir(), atEpoch)
	defer other.Close()
	eventually(t, "all is delivered", func() bool { return requestsOf(t, other) == 10 })
	if got := changes(); !slices.Equal(got, []bool{true, false, true}) {
		t.Errorf("told %v", got)
	}
}

// A ledger that is closed has delivered; one whose Redis is away does so after
// the next start, and closes at once.
func TestCloseDelivers(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{Config: []string{"appendonly yes", "appendfsync always"}})
	dir := t.TempDir()
	witness := openShared(t, clientOf(s), "", t.TempDir(), atEpoch)
	defer witness.Close()
	deliver(t, witness)
	l := openShared(t, clientOf(s), "", dir, atEpoch)
	deliver(t, l)
	recordOn(t, []*usage.Shared{l}, 5)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := requestsOf(t, witness); n != 5 {
		t.Errorf("%d requests are delivered by Close, want 5", n)
	}
	l = openShared(t, clientOf(s), "", dir, atEpoch)
	deliver(t, l)
	s.Kill()
	recordOn(t, []*usage.Shared{l}, 5)
	_ = l.Deliver(context.Background()) // it finds out
	if err := l.Close(); err != nil {
		t.Errorf("closing without Redis: %v", err)
	}
	s.Restart()
	l = openShared(t, clientOf(s), "", dir, atEpoch)
	defer l.Close()
	rebuilt(t, []*usage.Shared{l, witness}, 10)
}

// A file that is set aside takes nothing with it that was delivered, and what was
// not is counted once.
func TestADamagedFileLosesNothingThatWasDelivered(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	dir := t.TempDir()
	l := openShared(t, clientOf(s), "", dir, atEpoch)
	recordOn(t, []*usage.Shared{l}, 12)
	deliver(t, l)
	recordOn(t, []*usage.Shared{l}, 3) // which commits the journal too
	copied := copyDir(t, dir)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	s.Flush()
	again := openShared(t, clientOf(s), "", dir, atEpoch)
	defer again.Close()
	alike(t, []*usage.Shared{again}, 15)

	// The same, from a copy with a file that can't be read.
	if err := os.WriteFile(filepath.Join(copied, "usage.db"), []byte("no database, but as long as one may have to be"), 0o600); err != nil {
		t.Fatal(err)
	}
	damaged := openShared(t, clientOf(s), "other", copied, atEpoch)
	defer damaged.Close()
	if n := requestsOf(t, damaged); n != 3 {
		t.Errorf("%d requests in the journal that were not delivered, want 3", n)
	}
}

// An embedded ledger that is shared from now on brings what it holds, and another
// Redis gets all of it too.
func TestALedgerIsSharedWhileItIsOpen(t *testing.T) {
	one, two := redistest.Standalone(t, redistest.Options{}), redistest.Standalone(t, redistest.Options{})
	b, err := usage.OpenBolt(filepath.Join(t.TempDir(), "usage.db"), usage.BoltOptions{Now: atEpoch})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var shared *usage.Shared
	for i, s := range []*redistest.Server{one, two, one} {
		recordOn(t, []*usage.Shared{{Bolt: b}}, 10)
		shared = usage.Share(b, usage.SharedOptions{Client: clientOf(s), Every: time.Hour})
		recordOn(t, []*usage.Shared{shared}, 10)
		if err := shared.Detach(); err != nil {
			t.Fatal(err)
		}
		witness := openShared(t, clientOf(s), "", t.TempDir(), atEpoch)
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

// All that is kept in Redis ends some time.
func TestWhatIsSharedExpires(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	gates := openGates(t, func() redis.UniversalClient { return clientOf(s) })
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
