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

// waitForStore waits until the metrics of each gate have its store up, or down.
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

// logsTimes looks for a message in the log, which must be there so often, and for the
// secret, which must not.
func (g *gate) logsTimes(t *testing.T, message string, times int) {
	t.Helper()
	count := func() int {
		logs := g.Logs.String()
		return strings.Count(logs, `"`+message+`"`) + strings.Count(logs, "\t"+message+"\t")
	}
	eventually(t, "the log has: "+message, func() bool { return count() >= times })
	if n := count(); n != times {
		t.Errorf("%q stands %d times in the log, want %d", message, n, times)
	}
	if strings.Contains(g.Logs.String(), redisPassword) {
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
		g.logsTimes(t, "rate-limit store unavailable", 0)
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
			t.Fatalf("reload %d: %d\n%s", i, status, g.Logs.String())
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
	g.Stop(15)
	next := g.again(global, sites)
	left(next, 6, 3)
	s.Flush()
	left(next, 10, 3) // its own journal has it all
	ask(next)
	left(next, 9, 2)
	next.logsTimes(t, "rate-limit store unavailable", 0)
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
		return dead.hasCheckpoints(filepath.Join(dead.dir, "caddy", "pinegate"), open)
	})
	dead.Stop(syscall.SIGKILL)
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
	eventually(t, "both gates' streams are in the usage, a record for each that the kill has interrupted among them", func() bool {
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
	if err := ending.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
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
	ending.Stop(syscall.SIGTERM)
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
