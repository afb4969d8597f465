package integration

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
)

// storeTimeout is how long a gate waits for Redis: long enough that one which
// works is not taken for away on a machine that tests share.
const storeTimeout = 2 * time.Second

const redisPassword = "test-redis-password-000001"

// redisStore is the global option that has the limits in a Redis, whose password
// lies in a file.
func redisStore(t *testing.T, s *redistest.Server, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(redisPassword+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("pinegate {\nstore redis redis://%s {\npassword {file.%s}\n%s\n}\n}", s.Addr(), file, strings.Join(append([]string{"timeout " + storeTimeout.String()}, lines...), "\n"))
}

func startRedis(t *testing.T) *redistest.Server {
	t.Helper()
	return redistest.Standalone(t, redistest.Options{Password: redisPassword})
}

// gates are several gates over one Redis.
type gates []*gate

// startGates starts gates, and waits until all are counted in Redis. What each of
// them knows of that is 5 seconds old: tests say `replicas` where it matters.
func startGates(t *testing.T, n int, s *redistest.Server, global, block string) gates {
	t.Helper()
	all := make(gates, n)
	for i := range all {
		all[i] = newGate(t)
		all[i].start(all[i].caddyfile(global, block))
	}
	eventually(t, "all gates are counted", func() bool { return s.Do("zcard", "pinegate:gates").(int64) == int64(n) })
	return all
}

// waitForStore waits until each gate tells that its store is up, or away.
func (all gates) waitForStore(t *testing.T, up bool) {
	t.Helper()
	for i, g := range all {
		want := fmt.Sprintf(`pinegate_store_up{store="redis"} %d`, map[bool]int{true: 1}[up])
		eventually(t, fmt.Sprintf("gate %d has %s", i, want), func() bool { return strings.Contains(g.metrics(), want) })
	}
}

// metrics asks Caddy's admin endpoint, which has no limits.
func (g *gate) metrics() string {
	g.t.Helper()
	res, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return string(text)
}

// tells looks for a message in the log, which must be there so often, and for the
// secret, which must not.
func (g *gate) tells(t *testing.T, message string, times int) {
	t.Helper()
	count := func() int {
		logs := g.logs.String()
		return strings.Count(logs, `"`+message+`"`) + strings.Count(logs, "\t"+message+"\t")
	}
	eventually(t, "the log tells: "+message, func() bool { return count() >= times })
	if n := count(); n != times {
		t.Errorf("%q stands %d times in the log, want %d", message, n, times)
	}
	if strings.Contains(g.logs.String(), redisPassword) {
		t.Error("the password of Redis stands in the log")
	}
}

// counts are the answers of a storm by what they say.
type counts struct {
	mu sync.Mutex
	by map[string]int
}

func (c *counts) add(status int, code string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by = make(map[string]int)
	}
	c.by[strings.TrimSpace(fmt.Sprint(status, " ", code))]++
}

func (c *counts) get(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[what]
}

func (c *counts) only(t *testing.T, all ...string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
next:
	for what, n := range c.by {
		for _, allowed := range all {
			if what == allowed {
				continue next
			}
		}
		t.Errorf("%d answers %s", n, what)
	}
}

func (all gates) storm(t *testing.T, n int, key, body string) *counts {
	t.Helper()
	c := new(counts)
	storm(n, func(i int) {
		status, code, err := all[i%len(all)].attempt(key, body)
		if err != nil {
			t.Error(err)
			return
		}
		c.add(status, code)
	})
	return c
}

func TestThreeGatesOverOneRedisAdmitExactlyTheLimit(t *testing.T) {
	s := startRedis(t)
	var holding atomic.Bool
	var inside, peak, refused atomic.Int64
	release := make(chan struct{})
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if holding.Load() {
			n := inside.Add(1)
			for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
			}
			<-release
			inside.Add(-1)
		}
		answers(200, chatAnswer("ok", hi, 11))(w, r)
	})
	all := startGates(t, 3, s, redisStore(t, s), block(b,
		keyWith("requests", "limit 20 requests/hour")+keyWith("tokens", "limit 200 tokens/day")+
			keyWith("places", "limit 7 concurrent")+keyWith("budget", "limit 0.02 usd/month")+
			"model gpt-* {\nprice input 1000 output 1000\n}"))

	c := all.storm(t, 150, secretOf("requests"), chatBody("m", "hi"))
	if c.only(t, "200", "429 rate_limit_exceeded"); c.get("200") != 20 {
		t.Errorf("requests: %v", c.by)
	}

	// Each reserves 9 of input and 11 of output, and uses as much.
	c = all.storm(t, 150, secretOf("tokens"), chatBody("m", "hi", `"max_tokens":11`))
	if c.only(t, "200", "429 insufficient_quota", "429 slow_down"); c.get("200") != 10 {
		t.Errorf("tokens: %v", c.by)
	}

	// Room for one of 9 + 11 tokens at a tenth of a cent each.
	c = all.storm(t, 200, secretOf("budget"), chatBody("gpt-5", "hi", `"max_tokens":11`))
	if c.only(t, "200", "429 insufficient_quota", "429 slow_down"); c.get("200") != 1 {
		t.Errorf("budget: %v", c.by)
	}

	holding.Store(true)
	const callers = 60
	go func() { // those who are in wait until each of the others was refused
		defer close(release)
		for inside.Load()+refused.Load() < callers && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}()
	c = new(counts)
	storm(callers, func(i int) {
		status, code, err := all[i%len(all)].attempt(secretOf("places"), chatBody("m", "hi"))
		if err != nil {
			t.Error(err)
		}
		if status != 200 {
			refused.Add(1)
		}
		c.add(status, code)
	})
	if c.only(t, "200", "429 slow_down"); c.get("200") != 7 || peak.Load() != 7 {
		t.Errorf("places: %v, %d at once", c.by, peak.Load())
	}
	for _, g := range all {
		eventually(t, "all places are free", func() bool { return g.keyInfo(secretOf("places")).limit("concurrent", "").Remaining == 7 })
		g.tells(t, "the store of limits is away", 0)
	}
}

// load sends requests to all gates, one after the other from each of some callers,
// until it is told to stop; it counts what comes back and notes how long each took.
type load struct {
	counts
	stop    chan struct{}
	callers sync.WaitGroup
	slow    atomic.Int64 // that took longer than the budget of a call to Redis
	sent    atomic.Int64
}

func (all gates) load(t *testing.T, callers int, slow time.Duration, key, body string) *load {
	l := &load{stop: make(chan struct{})}
	for i := range callers {
		l.callers.Go(func() {
			for {
				select {
				case <-l.stop:
					return
				default:
				}
				start := time.Now()
				status, code, err := all[i%len(all)].attempt(key, body)
				if err != nil {
					t.Error(err)
					return
				}
				if time.Since(start) > slow {
					l.slow.Add(1)
				}
				l.sent.Add(1)
				l.add(status, code)
			}
		})
	}
	return l
}

// more waits until so many more requests were answered.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	want := l.sent.Load() + n
	eventually(t, "requests are answered", func() bool { return l.sent.Load() >= want })
}

func (l *load) end() {
	close(l.stop)
	l.callers.Wait()
}

// outageLength is how long Redis is away in TestKilledRedisUnderLoad: PINEGATE_OUTAGE,
// or three seconds.
func outageLength(t *testing.T) time.Duration {
	t.Helper()
	text, ok := os.LookupEnv("PINEGATE_OUTAGE")
	if !ok {
		return 3 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		t.Fatalf("PINEGATE_OUTAGE is %q: expected a duration", text)
	}
	return d
}

// Redis is killed under load and comes back empty: nobody sees a 5xx, and all
// gates together admit at most one burst beyond the limit, and of a quota that is
// used up nothing.
func TestKilledRedisUnderLoad(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	const limit, quota = 90, 12
	all := startGates(t, 3, s, redisStore(t, s, "replicas 3"), block(b,
		keyWith("carol", "limit 90 requests/hour", "limit 1M requests/day")+keyWith("dave", "limit 12 requests/day")))
	begun := time.Now()
	for i := range limit / 2 {
		if status, code, err := all[i%3].attempt(secretOf("carol"), chatBody("m", "x")); status != 200 {
			t.Fatalf("request %d: %d %s %v", i, status, code, err)
		}
	}
	for i := range quota {
		if status, code, err := all[i%3].attempt(secretOf("dave"), chatBody("m", "x")); status != 200 {
			t.Fatalf("request %d: %d %s %v", i, status, code, err)
		}
	}
	l := all.load(t, 6, time.Hour, secretOf("carol"), chatBody("m", "x"))
	all[0].usesUp(t, "dave")
	spent := all.load(t, 6, time.Hour, secretOf("dave"), chatBody("m", "x"))
	spent.more(t, 60) // each gate has seen that nothing is left
	s.Kill()
	all.waitForStore(t, false)
	l.more(t, 300)
	if a := all[0].do("GET", "/readyz", "", ""); a.status != 200 || a.body != "ok, but the store of limits is away: shadow\n" {
		t.Errorf("readyz: %d %q", a.status, a.body)
	}
	if got := all[0].keyInfo(secretOf("carol")).limit("requests", "hour"); got.Limit != limit || got.Remaining > 2 {
		t.Errorf("the key's limit is told as %+v", got)
	}
	a := all[0].chat(secretOf("carol"), "m", "x")
	isRate(t, a, "requests")
	if a.header.Get("X-Ratelimit-Limit-Requests") == "" {
		t.Errorf("a refusal has headers %v", a.header)
	}
	time.Sleep(outageLength(t))
	s.Restart()
	all.waitForStore(t, true)
	l.more(t, 300)
	spent.more(t, 300)
	l.end()
	spent.end()
	l.only(t, "200", "429 rate_limit_exceeded")
	spent.only(t, "429 insufficient_quota")
	comesIn := int(time.Since(begun)*limit/time.Hour) + 3
	admitted := len(b.seen()) - quota
	if admitted > 2*limit+comesIn {
		t.Errorf("%d were admitted of %d", admitted, limit)
	}
	t.Logf("%d requests were answered, %d of them admitted: %d of the limit of %d within the hour", l.sent.Load()+spent.sent.Load(), len(b.seen()), admitted, limit)
	for _, g := range all {
		g.tells(t, "the store of limits is away", 1)
		g.tells(t, "the store of limits is back", 1)
		if a := g.do("GET", "/readyz", "", ""); a.status != 200 || a.body != "ok\n" {
			t.Errorf("readyz: %d %q", a.status, a.body)
		}
		if !strings.Contains(g.metrics(), `pinegate_store_errors_total{store="redis"}`) {
			t.Error("no error was counted")
		}
	}
	// What was used is the same for all of them, and each request in it once. What
	// a gate knows of a lost quota is its own journal: the first that asked has
	// seeded it, and what others had used before is not in it.
	used := 1e6 - all[0].keyInfo(secretOf("carol")).limit("requests", "day").Remaining
	if n := float64(admitted); used > n || used < n/4 {
		t.Errorf("%v of the quota are used after %v requests", used, n)
	}
	for _, g := range all[1:] {
		if again := 1e6 - g.keyInfo(secretOf("carol")).limit("requests", "day").Remaining; again != used {
			t.Errorf("gates disagree on what is used: %v and %v", used, again)
		}
	}
}

// usesUp waits until what a key has used of a quota leaves nothing: until requests are settled, in the
// background, it is only reserved.
func (g *gate) usesUp(t *testing.T, key string) {
	t.Helper()
	eventually(t, "the quota of "+key+" is used up", func() bool {
		status, code, err := g.attempt(secretOf(key), chatBody("m", "x"))
		return err == nil && status == 429 && code == "insufficient_quota"
	})
}

// Redis comes back empty, and the gate learns it later for usage than for limits: what quotas have used
// can't be told yet. Nobody sees a 5xx, because limits wait for it.
func TestLimitsWaitForUsageWhenRedisIsBack(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{
		Password: redisPassword, User: "gate", UserPassword: redisPassword,
		UserRules: "~pinegate:gates ~pinegate:open ~pinegate:r/* ~pinegate:key/* +@all", // no usage
	})
	allow := func() { s.Do("acl", "setuser", "gate", "~pinegate:*") }
	allow()
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 1, s, redisStore(t, s, "username gate"), block(b, keyWith("carol", "limit 3 requests/day")))
	all[0].usesUp(t, "carol")
	l := all.load(t, 2, time.Hour, secretOf("carol"), chatBody("m", "x"))
	l.more(t, 10)
	s.Kill()
	all.waitForStore(t, false)
	eventually(t, "usage is away", func() bool { return strings.Contains(all[0].metrics(), `pinegate_store_up{store="usage"} 0`) })
	s.Restart() // with the rules that it was started with
	eventually(t, "the gate has found Redis", func() bool { return s.Do("zcard", "pinegate:gates").(int64) == 1 })
	allow()
	all.waitForStore(t, true)
	l.more(t, 10)
	l.end()
	l.only(t, "429 insufficient_quota")
	if n := len(b.seen()); n != 3 {
		t.Errorf("%d were admitted of 3", n)
	}
}

// Redis stands still: each caller waits for its budget once, and
// what was admitted meanwhile is in Redis when it goes on.
func TestStoppedRedisUnderLoad(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 3, s, redisStore(t, s), block(b, keyWith("carol", "limit 1M requests/day")))
	const callers = 12
	l := all.load(t, callers, storeTimeout*9/10, secretOf("carol"), chatBody("m", "x"))
	l.more(t, 100)
	s.Stop()
	all.waitForStore(t, false)
	l.more(t, 200)
	s.Cont()
	all.waitForStore(t, true)
	l.more(t, 100)
	l.end()
	l.only(t, "200")
	if n := l.slow.Load(); n > callers {
		t.Errorf("%d of %d requests were slow, of %d callers", n, l.sent.Load(), callers)
	}
	eventually(t, "all that was used is in Redis, once", func() bool {
		return 1e6-all[0].keyInfo(secretOf("carol")).limit("requests", "day").Remaining == float64(len(b.seen()))
	})
}

func TestDenyRefusesWithoutRedis(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 1, s, redisStore(t, s, "outage deny"), block(b, "limit 100 requests/hour"))
	g := all[0]
	if a := g.chat(callerKey, "m", "x"); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	s.Kill()
	const want = `{"error":{"message":"The service is overloaded. Please try again.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`
	for range 2 {
		a := g.chat(callerKey, "m", "x")
		if a.status != 503 || a.header.Get("Retry-After") != "1" || strings.TrimSpace(a.body) != want {
			t.Errorf("got %d %v %s", a.status, a.header, a.body)
		}
	}
	all.waitForStore(t, false)
	if a := g.do("GET", "/readyz", "", ""); a.status != 503 {
		t.Errorf("readyz: %d", a.status)
	}
	if a := g.do("GET", "/healthz", "", ""); a.status != 200 {
		t.Errorf("healthz: %d", a.status)
	}
	if got := g.keyInfo(callerKey).limit("requests", "hour"); got.Limit != 100 || got.Remaining != 99 {
		t.Errorf("the key's limit is told as %+v", got)
	}
	s.Restart()
	all.waitForStore(t, true)
	g.waitReady()
	if a := g.chat(callerKey, "m", "x"); a.status != 200 || len(b.seen()) != 2 {
		t.Errorf("got %d %s after %d", a.status, a.body, len(b.seen()))
	}
	g.tells(t, "the store of limits is away", 1)
}

func TestAllowAdmitsWithoutRedis(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	all := startGates(t, 1, s, redisStore(t, s, "outage allow"), block(b, keyWith("carol", "limit 2 requests/day")))
	s.Stop()
	for range 4 {
		if a := all[0].chat(secretOf("carol"), "m", "x"); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	all.waitForStore(t, false)
	s.Cont()
	all.waitForStore(t, true)
	if a := all[0].chat(secretOf("carol"), "m", "x"); a.status != 429 {
		t.Errorf("what was allowed does not count: %d %s", a.status, a.body)
	}
}

// A reload keeps what is counted, whatever it changes of the store, and so does a
// restart; a FLUSHALL costs rates a burst, and quotas what other gates had used.
func TestCountersSurviveReloadRestartAndFlush(t *testing.T) {
	s := startRedis(t)
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	sites := block(b, keyWith("carol", "limit 10 requests/hour", "limit 7 requests/day"))
	global := redisStore(t, s)
	g := startGates(t, 1, s, global, sites)[0]
	left := func(g *gate, hour, day float64) {
		t.Helper()
		info := g.keyInfo(secretOf("carol"))
		if h, d := info.limit("requests", "hour").Remaining, info.limit("requests", "day").Remaining; h != hour || d != day {
			t.Errorf("%v and %v are left, want %v and %v", h, d, hour, day)
		}
	}
	ask := func(g *gate) {
		t.Helper()
		if a := g.chat(secretOf("carol"), "m", "x"); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	ask(g)
	for i, config := range []string{
		g.caddyfile(global, sites+"\nmax_body 5MB"),                                                 // another site
		g.caddyfile(strings.Replace(global, "timeout 2s", "timeout 3s", 1), sites),                  // another client
		g.caddyfile(strings.Replace(global, "timeout 2s", "timeout 0s", 1), sites),                  // a bad one
		g.caddyfile(strings.Replace(global, "timeout 2s\n", "timeout 2s\noutage deny\n", 1), sites), // another mode
	} {
		if status := g.reload(config); (status == 200) == (i == 2) {
			t.Fatalf("reload %d: %d\n%s", i, status, g.logs.String())
		}
		left(g, float64(9-i), float64(6-i))
		if i < 3 {
			ask(g)
		}
	}
	res, err := http.Get("http://" + g.admin + "/config/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if shown, _ := io.ReadAll(res.Body); !strings.Contains(string(shown), `"password":"{file.`) || strings.Contains(string(shown), redisPassword) {
		t.Errorf("the config is shown as %s", shown)
	}
	g.stop(15)
	next := g.again(global, sites)
	left(next, 6, 3)
	s.Flush()
	left(next, 10, 3) // its own journal has it all
	ask(next)
	left(next, 9, 2)
	next.tells(t, "the store of limits is away", 0)
}

// A gate is killed while streams hold all places of a key. Others give none of them away while it may
// only have been cut off, and all of them when its leases have ended, 30 seconds after it was last
// heard of. What it knew of the streams is recorded when it comes back.
func TestPlacesOfAKilledGateComeFree(t *testing.T) {
	t.Parallel() // it waits most of the time
	const places = 50
	s := startRedis(t)
	b, letGo := held(t)
	defer letGo()
	global, sites := redisStore(t, s), block(b, "limit 50 concurrent")
	all := startGates(t, 2, s, global, sites)
	dead, alive := all[0], all[1]
	open := dead.openStreams(places)
	free := func() float64 { return alive.keyInfo(callerKey).limit("concurrent", "").Remaining }
	refused := func() bool {
		a := alive.chat(callerKey, "m", "x")
		return a.status == 429 && strings.Contains(a.body, `"code":"slow_down"`)
	}
	if free() != 0 || !refused() {
		t.Fatalf("%v places are free of %d that are held", free(), places)
	}
	eventually(t, "all streams are check-pointed", func() bool {
		return dead.hasNoted(filepath.Join(dead.dir, "caddy", "pinegate"), open)
	})
	dead.stop(syscall.SIGKILL)
	for _, res := range open {
		res.Body.Close()
	}
	if free() != 0 || !refused() {
		t.Errorf("%v places of a gate that may have been cut off were given away", free())
	}
	eventually(t, "all places of the killed gate are free", func() bool { return free() == places })
	letGo()
	if whole := readAll(alive.openStreams(places)); whole != places {
		t.Errorf("%d of %d streams ended whole in the places that came free", whole, places)
	}
	eventually(t, "all places are free again", func() bool { return free() == places })
	again := dead.again(global, sites)
	eventually(t, "both gates' streams are told of, a record for each that the kill has interrupted among them", func() bool {
		got := again.usageOf("alice")
		return got.Requests == 2*places && got.Estimated == places
	})
}

// A gate that is asked to end lets its streams end within the grace period, records all of them, and
// leaves no place held.
func TestPlacesOfAGateThatEndsAreFreeAtOnce(t *testing.T) {
	const places = 50
	s := startRedis(t)
	b, letGo := held(t)
	defer letGo()
	global, sites := redisStore(t, s), block(b, "limit 50 concurrent")
	all := make(gates, 2)
	for i := range all {
		all[i] = newGate(t)
		all[i].start(strings.Replace(all[i].caddyfile(global, sites), "grace_period 3s", "grace_period 1m", 1))
	}
	ending, other := all[0], all[1]
	open := ending.openStreams(places)
	if err := ending.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the gate takes no more", func() bool {
		res, err := new(http.Client).Get(ending.url + "/readyz")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	letGo()
	if whole := readAll(open); whole != places {
		t.Errorf("%d of %d streams ended whole", whole, places)
	}
	ending.stop(syscall.SIGTERM)
	ended := time.Now()
	eventually(t, "all places are free", func() bool { return other.keyInfo(callerKey).limit("concurrent", "").Remaining == places })
	if took := time.Since(ended); took > 10*time.Second { // a lease that nobody frees lasts longer
		t.Errorf("the places were free after %v", took)
	}
	got := ending.again(global, sites).usageOf("alice")
	if got.Requests != places || got.Input != 5*places || got.Output != 2*places || got.Estimated != 0 {
		t.Errorf("usage %+v, want all of %d streams as the backend reported it", got, places)
	}
}
