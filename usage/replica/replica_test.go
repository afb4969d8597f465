//go:build unix

package replica_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/replica"
	"github.com/amanycodes/pine-gate/usage/usagetest"
)

// openShared opens a gate's ledger, which delivers only when Deliver is
// called.
func openShared(t testing.TB, client redis.UniversalClient, prefix, dir string, now func() time.Time) *replica.Ledger {
	t.Helper()
	b, err := boltdb.Open(filepath.Join(dir, "usage.db"), boltdb.Options{Now: now, FlushInterval: time.Hour, Shared: true})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return replica.New(b, replica.Options{Client: client, Prefix: prefix, Interval: time.Hour, Timeout: 30 * time.Second, CloseTimeout: 30 * time.Second})
}

func deliver(t testing.TB, l *replica.Ledger) {
	t.Helper()
	if err := l.Deliver(context.Background()); err != nil {
		t.Errorf("delivering: %v", err)
	}
}

// shared returns the suite's subject over a Redis. Each directory has its own
// prefix.
func shared(client func() redis.UniversalClient) usagetest.Subject {
	return usagetest.Subject{
		Open: func(t testing.TB, dir string, now func() time.Time) usage.Ledger {
			return openShared(t, client(), dir, dir, now)
		},
		Peer: func(t testing.TB, dir, own string, now func() time.Time) usage.Ledger {
			return openShared(t, client(), dir, own, now)
		},
		Durable: true,
		Settle:  func(t testing.TB, l usage.Ledger) { deliver(t, l.(*replica.Ledger)) },
	}
}

func clientOf(t testing.TB, s *redistest.Server) redis.UniversalClient {
	return closed(t, redis.NewClient(&redis.Options{Addr: s.Addr(), Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true}))
}

// closed returns client, which it closes when the test ends.
func closed(t testing.TB, client redis.UniversalClient) redis.UniversalClient {
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestLedger(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	shared(func() redis.UniversalClient { return clientOf(t, s) }).Run(t)
}

// The suite's tests of several gates also pass on the other kinds of Redis.
func TestLedgerInAClusterAndBehindSentinels(t *testing.T) {
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
			return closed(t, redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true}))
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
			return closed(t, redis.NewFailoverClient(&redis.FailoverOptions{MasterName: redistest.SentinelMaster, SentinelAddrs: addrs, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ContextTimeoutEnabled: true}))
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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var atEpoch = func() time.Time { return usagetest.Epoch }

// openGates opens the ledgers of three gates.
func openGates(t *testing.T, client func() redis.UniversalClient) []*replica.Ledger {
	t.Helper()
	gates := make([]*replica.Ledger, 3)
	for i := range gates {
		gates[i] = openShared(t, client(), "gates", t.TempDir(), atEpoch)
		t.Cleanup(func() { gates[i].Close() })
		deliver(t, gates[i])
	}
	return gates
}

var lastID atomic.Int64

// recordOn records n requests with the same number of tokens, on one gate after
// the other, in several hours and days.
func recordOn[L usage.Ledger](t testing.TB, gates []L, n int) {
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

// ask queries in the background.
func ask(t testing.TB, l usage.Ledger) <-chan int64 {
	answer := make(chan int64, 1)
	go func() {
		defer close(answer)
		answer <- requestsOf(t, l)
	}()
	return answer
}

// alike delivers and checks that each gate counts all requests.
func alike(t *testing.T, gates []*replica.Ledger, want int64) {
	t.Helper()
	for _, l := range gates {
		deliver(t, l)
	}
	for i, l := range gates {
		eventually(t, fmt.Sprintf("gate %d counts %d requests", i, want), func() bool { return requestsOf(t, l) == want })
	}
}

// rebuilt waits until the data that Redis has lost is restored.
func rebuilt(t *testing.T, gates []*replica.Ledger, want int64) {
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

// copyDir copies a gate's directory, as it would be after a kill now.
func copyDir(t testing.TB, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}
