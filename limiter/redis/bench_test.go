package redis_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/redis"
)

// benchKeys is how many keys call.
const benchKeys = 1000

// cpuSeconds is the time that the processors gave to this process and to a Redis.
func cpuSeconds(b *testing.B, s *redistest.Server) (gate, redis float64) {
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err != nil {
		b.Fatal(err)
	}
	return time.Duration(own.Utime.Nano() + own.Stime.Nano()).Seconds(), s.CPU().Seconds()
}

// commands returns how many commands a Redis has run, those within scripts included.
func commands(s *redistest.Server) (n int) {
	for line := range strings.Lines(s.Do("info", "commandstats").(string)) {
		_, calls, _ := strings.Cut(line, "calls=")
		calls, _, _ = strings.Cut(calls, ",")
		some, _ := strconv.Atoi(calls)
		n += some
	}
	return n
}

// BenchmarkRedis admits and settles requests with four limits, two of their key, one of its team and
// one of the backend, from as many callers as keep Redis busy. It compares the store with a client
// that makes one call of a small script for each limit, to take and to settle, and reports how many
// admissions a second of processor time is good for, gate and Redis together.
func BenchmarkRedis(b *testing.B) {
	s := redistest.Standalone(b, redistest.Options{})
	b.Run("store", func(b *testing.B) { benchStore(b, s, 50) })
	b.Run("apart", func(b *testing.B) { benchStore(b, s, benchKeys) })
	b.Run("naive", func(b *testing.B) {
		s.Flush()
		client := goredis.NewClient(&goredis.Options{Addr: s.Addr(), Protocol: 2})
		defer func() { _ = client.Close() }()
		naive := naiveClient{client}
		measure(b, s, func(n int64) error {
			ctx, id := context.Background(), "req_"+strconv.FormatInt(n, 10)
			key, team := strconv.FormatInt(n%benchKeys, 10), strconv.FormatInt(n%50, 10)
			for _, err := range []error{
				naive.bucket(ctx, "key/"+key+"/requests", 1), naive.bucket(ctx, "key/"+key+"/tokens", 300),
				naive.quota(ctx, "team/"+team+"/tokens", 300), naive.lease(ctx, "backend/b", id),
				// What a settlement changes: tokens and the permit are returned.
				naive.bucket(ctx, "key/"+key+"/tokens", -150), naive.quota(ctx, "team/"+team+"/tokens", -150),
				naive.release(ctx, "backend/b", id),
			} {
				if err != nil {
					return err
				}
			}
			return nil
		}, func() error { return nil })
	})
}

// benchStore admits and settles requests of keys in that many teams.
func benchStore(b *testing.B, s *redistest.Server, crews int) {
	s.Flush()
	store := redis.New(redis.Options{Client: redis.Dial(b, s.URL), Timeout: 5 * time.Second})
	defer func() { _ = store.Close() }()
	requests := make([]limiter.Request, benchKeys)
	rule := func(kind limiter.ScopeKind, id, words string) *limiter.Rule {
		var l limiter.Limit
		if err := l.UnmarshalText([]byte(words)); err != nil {
			b.Fatal(err)
		}
		return limiter.NewRule(kind, id, l)
	}
	for i := range requests {
		id := strconv.Itoa(i)
		requests[i] = limiter.Request{
			Rules: []*limiter.Rule{
				rule(limiter.ScopeKey, id, "1G requests/minute"), rule(limiter.ScopeKey, id, "1G tokens/minute"),
				rule(limiter.ScopeTeam, strconv.Itoa(i%crews), "1000G tokens/month"),
			},
			Candidates: [][]*limiter.Rule{{rule(limiter.ScopeBackend, strconv.Itoa(i%(crews-49)), "1M concurrent")}},
			Input:      100, Output: 200, MaxOutput: 200, N: 1,
		}
	}
	measure(b, s, func(n int64) error {
		req := requests[n%benchKeys]
		req.ID = "req_" + strconv.FormatInt(n, 10)
		r, err := store.Reserve(context.Background(), req)
		if err != nil {
			return err
		}
		r.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 100, Output: 50})
		return nil
	}, func() error { return store.Flush(context.Background()) })
}

// measure runs f from 64 goroutines, and finish when all is done.
func measure(b *testing.B, s *redistest.Server, f func(n int64) error, finish func() error) {
	var n atomic.Int64
	b.SetParallelism(32)
	before := commands(s)
	gate, redis := cpuSeconds(b, s)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(n.Add(1)); err != nil {
				b.Error(err)
				return
			}
		}
	})
	if err := finish(); err != nil {
		b.Error(err)
	}
	b.StopTimer()
	gateAfter, redisAfter := cpuSeconds(b, s)
	gate, redis = gateAfter-gate, redisAfter-redis
	b.ReportMetric(float64(b.N)/(gate+redis), "admissions/cpu-s")
	b.ReportMetric(gate*1e6/float64(b.N), "gate-cpu-µs/op")
	b.ReportMetric(redis*1e6/float64(b.N), "redis-cpu-µs/op")
	b.ReportMetric(float64(commands(s)-before)/float64(b.N), "redis-commands/op")
}

// naiveClient enforces limits in the common way: one script call for each.
type naiveClient struct{ *goredis.Client }

var (
	naiveBucket = goredis.NewScript(`
		local t = redis.call('TIME')
		local now = t[1] * 1000000 + t[2]
		local b = redis.call('HMGET', KEYS[1], 'level', 'last')
		local level = math.min(ARGV[1], (tonumber(b[1]) or ARGV[1]) + (now - (tonumber(b[2]) or now)) * ARGV[1] / ARGV[2])
		if level < tonumber(ARGV[3]) then return 0 end
		redis.call('HSET', KEYS[1], 'level', level - ARGV[3], 'last', now)
		redis.call('PEXPIRE', KEYS[1], 60000)
		return 1`)
	naiveQuota = goredis.NewScript(`
		local used = tonumber(redis.call('GET', KEYS[1]) or 0)
		if used + ARGV[2] > tonumber(ARGV[1]) then return 0 end
		redis.call('INCRBY', KEYS[1], ARGV[2])
		redis.call('PEXPIRE', KEYS[1], 2678400000)
		return 1`)
	naiveLease = goredis.NewScript(`
		local t = redis.call('TIME')
		redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', t[1])
		if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
		redis.call('ZADD', KEYS[1], t[1] + 30, ARGV[2])
		redis.call('PEXPIRE', KEYS[1], 31000)
		return 1`)
	naiveRelease = goredis.NewScript(`return redis.call('ZREM', KEYS[1], ARGV[1])`)
)

func admitted(cmd *goredis.Cmd) error {
	n, err := cmd.Int()
	if err == nil && n != 1 {
		err = fmt.Errorf("got %d", n)
	}
	return err
}

func (c naiveClient) bucket(ctx context.Context, key string, n int) error {
	return admitted(naiveBucket.Run(ctx, c, []string{key}, 1e12, 60e6, n))
}

func (c naiveClient) quota(ctx context.Context, key string, n int) error {
	return admitted(naiveQuota.Run(ctx, c, []string{key}, 1e12, n))
}

func (c naiveClient) lease(ctx context.Context, key, id string) error {
	return admitted(naiveLease.Run(ctx, c, []string{key}, 1e6, id))
}

func (c naiveClient) release(ctx context.Context, key, id string) error {
	return admitted(naiveRelease.Run(ctx, c, []string{key}, id))
}
