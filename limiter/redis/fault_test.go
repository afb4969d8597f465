package redis

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

// decides checks that the store works normally, and that nothing is held of rule.
func decides(t testing.TB, r *Store) {
	t.Helper()
	rule := rule(fmt.Sprintf("after-%d", requestIDs.Add(1)), "2 requests/hour")
	for range 2 {
		admit(t, r, asking(1, rule))
	}
	refuse(t, r, asking(1, rule))
}

func TestRedisThatRefusesIsUnavailable(t *testing.T) {
	opts := redistest.Options{Config: []string{"enable-debug-command yes", "enable-protected-configs yes"}}
	for _, c := range []struct {
		reason string
		opts   redistest.Options
		break_ func(t *testing.T, s *redistest.Server)
		mend   func(s *redistest.Server)
	}{
		{limiter.ReasonMemory, opts, func(_ *testing.T, s *redistest.Server) {
			s.Do("config", "set", "maxmemory", "1")
		}, func(s *redistest.Server) { s.Do("config", "set", "maxmemory", "0") }},
		{limiter.ReasonReadOnly, opts, func(_ *testing.T, s *redistest.Server) {
			s.Do("replicaof", "127.0.0.1", "1")
		}, func(s *redistest.Server) { s.Do("replicaof", "no", "one") }},
		{limiter.ReasonMisconf, opts, func(_ *testing.T, s *redistest.Server) {
			s.Do("config", "set", "min-replicas-to-write", "1")
		}, func(s *redistest.Server) { s.Do("config", "set", "min-replicas-to-write", "0") }},
		{limiter.ReasonMisconf, opts, func(t *testing.T, s *redistest.Server) {
			dir := t.TempDir()
			if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
				t.Fatal(err)
			}
			s.Do("config", "set", "dir", dir)
			s.Do("config", "set", "dbfilename", "taken")
			s.Do("config", "set", "save", "3600 1")
			s.Do("bgsave")
			eventually(t, "a failed save", func() bool {
				return strings.Contains(s.Do("info", "persistence").(string), "rdb_last_bgsave_status:err")
			})
		}, func(s *redistest.Server) { s.Do("config", "set", "stop-writes-on-bgsave-error", "no") }},
		{limiter.ReasonBusy, opts, func(t *testing.T, s *redistest.Server) {
			s.Do("config", "set", "busy-reply-threshold", "1")
			other := redis.NewClient(s.Client().Options())
			t.Cleanup(func() { _ = other.Close() })
			go other.Eval(context.Background(), "while true do end", nil) // until it is killed
			eventually(t, "a busy Redis", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				err := s.Client().Ping(ctx).Err()
				return err != nil && strings.HasPrefix(err.Error(), "BUSY ")
			})
		}, func(s *redistest.Server) { s.Do("script", "kill") }},
		{limiter.ReasonLoading, opts, func(t *testing.T, s *redistest.Server) {
			for i := range 2000 {
				s.Do("set", i, strings.Repeat("x", 100))
			}
			s.Do("config", "set", "loading-process-events-interval-bytes", "1024")
			s.Do("config", "set", "key-load-delay", "3000")
			other := redis.NewClient(s.Client().Options())
			t.Cleanup(func() { _ = other.Close() })
			go other.Do(context.Background(), "debug", "reload")
			eventually(t, "a loading Redis", func() bool {
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				err := s.Client().Ping(ctx).Err()
				return err != nil && strings.HasPrefix(err.Error(), "LOADING ")
			})
		}, func(s *redistest.Server) {
			s.Do("config", "set", "key-load-delay", "0")
		}},
		{limiter.ReasonAuth, opts, func(_ *testing.T, s *redistest.Server) {
			s.Do("acl", "setuser", "default", ">hush")
			s.Do("config", "set", "requirepass", "hush")
			s.Do("client", "kill", "type", "normal", "skipme", "no")
		}, nil},
		{limiter.ReasonPermission, opts, func(_ *testing.T, s *redistest.Server) {
			s.Do("acl", "setuser", "default", "-zadd", "-set", "-@scripting")
		}, func(s *redistest.Server) { s.Do("acl", "setuser", "default", "+@all") }},
	} {
		t.Run(c.reason, func(t *testing.T) {
			s := redistest.Standalone(t, c.opts)
			r := store(t, Options{Client: Dial(t, s.URL)}, calm())
			limit := rule("a", "5 requests/hour")
			admit(t, r, asking(1, limit))
			c.break_(t, s)
			for range 3 {
				_, err := r.Reserve(context.Background(), asking(1, limit))
				fails(t, err, c.reason)
			}
			fails(t, r.Ping(context.Background()), c.reason)
			if c.mend == nil {
				return
			}
			c.mend(s)
			eventually(t, "a Redis that is mended", func() bool { return r.Ping(context.Background()) == nil })
			decides(t, r)
			flushed(t, r)
			if c.reason != limiter.ReasonLoading && c.reason != limiter.ReasonReadOnly { // those dropped what there was
				remains(t, r, limit, 4)
			}
		})
	}
}

func TestRedisThatIsNotThereIsUnavailable(t *testing.T) {
	r, s := single(t, calm())
	r.opts.Timeout = 200 * time.Millisecond
	decides(t, r)
	s.Kill()
	for range 50 {
		start := time.Now()
		_, err := r.Reserve(context.Background(), asking(1, rule("a", "5 requests/hour")))
		fails(t, err, limiter.ReasonConnect, limiter.ReasonTimeout)
		if took := time.Since(start); took > soon {
			t.Fatalf("it took %v", took)
		}
	}
	_, err := r.Peek(context.Background(), []*limiter.Rule{rule("a", "5 requests/hour")})
	fails(t, err, limiter.ReasonConnect, limiter.ReasonTimeout)
	s.Restart()
	eventually(t, "Redis after a restart", func() bool { return r.Ping(context.Background()) == nil })
	r.opts.Timeout = 5 * time.Second
	decides(t, r)
}

func TestRedisThatStandsStillCostsNoMoreThanTheBudget(t *testing.T) {
	r, s := single(t, calm())
	limit := rule("a", "5 concurrent")
	res := admit(t, r, asking(1, limit))
	r.opts.Timeout = 50 * time.Millisecond
	s.Stop()
	crowd(20, func(int) {
		start := time.Now()
		_, err := r.Reserve(context.Background(), asking(1, limit))
		fails(t, err, limiter.ReasonTimeout)
		if took := time.Since(start); took > soon {
			t.Errorf("it took %v", took)
		}
	})
	res.Settle(context.Background(), all) // does not wait, and is not lost
	s.Cont()
	r.opts.Timeout = 5 * time.Second
	eventually(t, "Redis goes on", func() bool { return r.Ping(context.Background()) == nil })
	flushed(t, r)
	// Calls under way when the callers left may have been admitted afterwards, and are returned.
	eventually(t, "all places free", func() bool {
		states, err := r.Peek(context.Background(), []*limiter.Rule{limit})
		return err == nil && states[0].Remaining == 5
	})
}

func TestCallerWhoGoesIsNotTheStoresFault(t *testing.T) {
	r, s := single(t, calm())
	s.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	_, err := r.Reserve(ctx, asking(1, rule("a", "5 concurrent")))
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, limiter.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	s.Cont()
	flushed(t, r)
	eventually(t, "nothing is held", func() bool {
		states, err := r.Peek(context.Background(), []*limiter.Rule{rule("a", "5 concurrent")})
		return err == nil && states[0].Remaining == 5
	})
}

func TestScriptsThatRedisForgotAreLoadedOnce(t *testing.T) {
	r, s := single(t, calm())
	limit := rule("a", "100 requests/hour")
	admit(t, r, asking(1, limit)).Settle(context.Background(), limiter.Usage{})
	flushed(t, r)
	s.Do("script", "flush")
	s.Do("config", "resetstat")
	for range 10 {
		admit(t, r, asking(1, limit)).Settle(context.Background(), limiter.Usage{})
		flushed(t, r)
	}
	if n := s.Calls("eval"); n != 2 { // one of each script
		t.Errorf("%d scripts were loaded", n)
	}
	s.Do("script", "flush")
	crowd(50, func(int) { admit(t, r, asking(1, limit)) })
	remains(t, r, limit, 50)
}

func TestFlushAllBeginsAnewAndSeedsQuotas(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	used := int64(0)
	r := store(t, Options{Client: Dial(t, s.URL), Seed: func(*limiter.Rule, time.Time) (int64, error) { return used, nil }}, calm())
	rate, quota, places := rule("a", "100 tokens/hour"), rule("a", "1000 tokens/month"), rule("a", "3 concurrent")
	admit(t, r, asking(50, rate, quota, places)).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 50})
	inFlight := admit(t, r, asking(20, rate, quota, places))
	flushed(t, r)
	remains(t, r, quota, 930)
	used = 50 // as the journals say
	s.Flush()
	remains(t, r, quota, 950)
	remains(t, r, rate, 100)
	remains(t, r, places, 3)
	inFlight.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 30})
	inFlight.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 30})
	flushed(t, r)
	// Charged although its reservation is lost; no permit is returned that was not held.
	remains(t, r, quota, 920)
	remains(t, r, rate, 70)
	remains(t, r, places, 3)
}

// In a new epoch quotas are seeded again, and nothing else is reset. Reservations from before settle
// where they were counted.
func TestQuotasAreSeededAnewInAnotherEpoch(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var epoch atomic.Uint64
	used := int64(0)
	r := store(t, Options{
		Client: Dial(t, s.URL), Epoch: epoch.Load,
		Seed: func(*limiter.Rule, time.Time) (int64, error) { return used, nil },
	}, calm())
	rate, quota := rule("a", "100 tokens/hour"), rule("a", "1000 tokens/month")
	admit(t, r, asking(50, rate, quota)).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 50})
	flushed(t, r)
	inFlight := admit(t, r, asking(20, rate, quota))
	used = 400
	epoch.Store(1)
	remains(t, r, quota, 600)
	remains(t, r, rate, 30)
	inFlight.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 20})
	admit(t, r, asking(10, quota)).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 10})
	flushed(t, r)
	remains(t, r, quota, 590)
	remains(t, r, rate, 30)
}

func TestSettlementsOutlastAnOutage(t *testing.T) {
	r, s := single(t, calm())
	quota := rule("a", "1000 tokens/month")
	var held []limiter.Reservation
	for range 20 {
		held = append(held, admit(t, r, asking(10, quota)))
	}
	s.Stop()
	for _, res := range held {
		res.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 3})
	}
	// The first batch goes unanswered: it is sent again, and counts once.
	eventually(t, "a batch that was sent again", func() bool {
		r.settler.mu.Lock()
		defer r.settler.mu.Unlock()
		return len(r.settler.queue) > 0 && r.settler.queue[0].tries > 0
	})
	if got := r.Stats().Queued; got != 20 {
		t.Errorf("%d are queued", got)
	}
	s.Cont()
	flushed(t, r)
	remains(t, r, quota, 940)
	if got := r.Stats(); got.Queued != 0 || got.Dropped != 0 || got.Open != 0 {
		t.Errorf("afterwards %+v", got)
	}
}

func TestCloseWaitsNoLongerThanItMay(t *testing.T) {
	tuning := calm()
	tuning.closing = 50 * time.Millisecond
	s := redistest.Standalone(t, redistest.Options{})
	r := store(t, Options{Client: Dial(t, s.URL)}, tuning)
	var held []limiter.Reservation
	for range 3 {
		held = append(held, admit(t, r, asking(1, rule("a", "9 concurrent"))))
	}
	s.Stop()
	r.opts.Timeout = 100 * time.Millisecond
	held[0].Settle(context.Background(), all)
	start := time.Now()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took > soon {
		t.Errorf("it took %v", took)
	}
	held[1].Settle(context.Background(), all)
	if got := r.Stats().Dropped; got != 2 {
		t.Errorf("%d were dropped", got)
	}
	_, err := r.Reserve(context.Background(), asking(1, rule("a", "9 concurrent")))
	fails(t, err, limiter.ReasonClosed)
	fails(t, held[2].Move(context.Background(), 0), limiter.ReasonClosed)
	_, err = r.Peek(context.Background(), []*limiter.Rule{rule("a", "9 concurrent")})
	fails(t, err, limiter.ReasonClosed)
	s.Cont()
}

func TestFailoverOfASentinelSet(t *testing.T) {
	set := redistest.Sentinel(t)
	r := store(t, Options{Client: DialWith(t, ClientOptions{URLs: set.URLs(), Sentinel: redistest.SentinelMaster}), Timeout: time.Second}, calm())
	eventually(t, "Redis", func() bool { return r.Ping(context.Background()) == nil })
	recovers := func() {
		t.Helper()
		back := eventually(t, "the new master", func() bool {
			_, err := r.Reserve(context.Background(), asking(1, rule("a", "1M requests/hour")))
			if err != nil {
				fails(t, err, limiter.ReasonConnect, limiter.ReasonReadOnly, limiter.ReasonTimeout, limiter.ReasonLoading, limiter.ReasonMisconf)
			}
			return err == nil
		})
		if back > soon {
			t.Errorf("it took %v after the failover", back)
		}
	}
	set.Failover()
	recovers()
	old := set.Master()
	old.Kill()
	set.WaitFailover(old)
	recovers()
}

func TestFailoverOfACluster(t *testing.T) {
	set := redistest.Cluster(t)
	r := store(t, Options{Client: Dial(t, set.URLs()...), Timeout: time.Second}, calm())
	limit := rule("a", "1M requests/hour")
	key := r.counterKey(limit)
	recovers := func() {
		t.Helper()
		back := eventually(t, "the new master", func() bool {
			_, err := r.Reserve(context.Background(), asking(1, limit))
			if err != nil {
				fails(t, err, limiter.ReasonConnect, limiter.ReasonReadOnly, limiter.ReasonTimeout, limiter.ReasonClusterDown, limiter.ReasonLoading)
			}
			return err == nil
		})
		if back > soon {
			t.Errorf("it took %v after the failover", back)
		}
	}
	recovers()
	set.Failover(key)
	recovers()
	old := set.Owner(key)
	old.Kill()
	set.WaitFailover(key, old)
	recovers()

	// No node has the slot of a master that is dead without a replica.
	last := set.Owner(key)
	last.Kill()
	_, err := r.Reserve(context.Background(), asking(1, limit))
	fails(t, err, limiter.ReasonConnect, limiter.ReasonTimeout, limiter.ReasonClusterDown)
	last.Restart()
	recovers()
}

func TestReasonsOfReplies(t *testing.T) {
	for message, want := range map[string]string{
		"NOAUTH Authentication required.":                                                         limiter.ReasonAuth,
		"WRONGPASS invalid username-password pair or user is disabled.":                           limiter.ReasonAuth,
		"ERR max number of clients reached":                                                       limiter.ReasonBusy,
		"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.":        limiter.ReasonMisconf,
		"ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command":   limiter.ReasonMemory,
		"ERR Write commands not allowed after non deterministic commands. Call redis.replicate":   limiter.ReasonVersion,
		"ERR unknown command `EVALSHA`, with args beginning with:":                                limiter.ReasonVersion,
		"NOPERM this user has no permissions to run the 'evalsha' command":                        limiter.ReasonPermission,
		"ERR The user executing the script can't run this command or subcommand script: x, on @1": limiter.ReasonPermission,
		"WRONGTYPE Operation against a key holding the wrong kind of value":                       limiter.ReasonOther,
	} {
		if got := reasonOfReply(message); got != want {
			t.Errorf("%s: got %s, want %s", message, got, want)
		}
	}
}
