package throttle

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// clock is a clock that is advanced by tests only.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func ip(text string) netip.Addr { return netip.MustParseAddr(text) }

// nth returns one of many IPv4 addresses.
func nth(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }

// guess makes a request that fails authentication. It reports whether the key
// was looked up.
func guess(t *Throttle, addr netip.Addr) bool {
	ok, _ := t.Allow(addr)
	if ok {
		t.Failed(addr)
	}
	return ok
}

// guesses returns how many of n consecutive guesses are looked up.
func guesses(t *Throttle, addr netip.Addr, n int) (looked int) {
	for range n {
		if guess(t, addr) {
			looked++
		}
	}
	return looked
}

var (
	good  = keys.HashSecret("good")
	other = keys.HashSecret("other")
)

func TestDefaultIsABurstOf100And5ASecond(t *testing.T) {
	c := newClock()
	th := New(Config{}, 0, c.now)
	a := ip("192.0.2.1")
	if n := guesses(th, a, 500); n != 100 {
		t.Errorf("at once: %d", n)
	}
	for _, step := range []struct {
		wait time.Duration
		want int
	}{{199 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 5}, {10 * time.Second, 50}, {time.Hour, 100}} {
		c.advance(step.wait)
		if n := guesses(th, a, 500); n != step.want {
			t.Errorf("after %v more: %d, want %d", step.wait, n, step.want)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	for _, c := range []struct {
		config       Config
		burst, perHr int
	}{
		{Config{}, 100, 5 * 3600},
		{Config{Burst: 7}, 7, 5 * 3600},
		{Config{N: 3}, 3, 3 * 3600},
		{Config{N: 60, Window: time.Minute}, 60, 3600},
		{Config{N: 60, Window: time.Minute, Burst: 1}, 1, 3600},
		{Config{Window: time.Minute}, 100, 300},
		{Config{N: 7}, 7, 7 * 3600},
		{Config{N: 1, Window: time.Hour, Burst: 1}, 1, 1},
	} {
		clk := newClock()
		th := New(c.config, 0, clk.now)
		a := ip("192.0.2.1")
		if n := guesses(th, a, 1000); n != c.burst {
			t.Errorf("%+v: %d at once, want %d", c.config, n, c.burst)
		}
		total := 0
		for range 7200 {
			clk.advance(500 * time.Millisecond)
			total += guesses(th, a, 10)
		}
		if total > c.perHr || total < c.perHr-1 {
			t.Errorf("%+v: %d an hour, want %d", c.config, total, c.perHr)
		}
	}
}

func TestRetryIsWhenTheNextIsLookedAt(t *testing.T) {
	c := newClock()
	th := New(Config{N: 2, Window: time.Minute, Burst: 3}, 0, c.now)
	a := ip("192.0.2.1")
	guesses(th, a, 3)
	ok, retry := th.Allow(a)
	if ok || retry != 30*time.Second {
		t.Fatalf("retry in %v, %t", retry, ok)
	}
	c.advance(retry - 1)
	if ok, left := th.Allow(a); ok || left != 1 {
		t.Errorf("a moment before: %t, %v", ok, left)
	}
	c.advance(1)
	if ok, left := th.Allow(a); !ok || left != 0 {
		t.Errorf("then: %t, %v", ok, left)
	}
}

func TestGoodRequestsTakeNothing(t *testing.T) {
	c := newClock()
	th := New(Config{N: 1, Burst: 2}, 0, c.now)
	a := ip("192.0.2.1")
	for range 1000 {
		if ok, _ := th.Allow(a); !ok {
			t.Fatal("refused without a failure")
		}
		th.Accepted(a, good)
	}
	if n := guesses(th, a, 10); n != 2 {
		t.Errorf("then %d guesses", n)
	}
}

func TestAllCountsEachRequest(t *testing.T) {
	c := newClock()
	th := New(Config{All: true, N: 1, Burst: 3}, 0, c.now)
	a := ip("192.0.2.1")
	allowed := 0
	for range 10 {
		if ok, _ := th.Allow(a); ok {
			allowed++
		}
		th.Accepted(a, good)
		th.Failed(a) // counts nothing twice
	}
	if allowed != 3 {
		t.Errorf("%d allowed, want 3", allowed)
	}
	if th.Known(a, good) {
		t.Error("a good key gets around a limit on every request")
	}
	c.advance(time.Second)
	if ok, _ := th.Allow(a); !ok {
		t.Error("refused after a second")
	}
	if ok, retry := th.Allow(a); ok || retry != time.Second {
		t.Errorf("then: %t, %v", ok, retry)
	}
}

func TestNilThrottleIsOff(t *testing.T) {
	var th *Throttle
	a := ip("192.0.2.1")
	th.Failed(a)
	th.Accepted(a, good)
	if ok, retry := th.Allow(a); !ok || retry != 0 || th.Known(a, good) {
		t.Error("a nil throttle does something")
	}
}

func TestWhatCountsAsOneAddress(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"2001:db8::1", "2001:db9::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"::1", "192.0.2.1", false},
		{"::ffff:0.0.0.0", "::1", false},
	} {
		th := New(Config{N: 1, Burst: 1}, 0, newClock().now)
		guesses(th, ip(c.a), 1)
		if ok, _ := th.Allow(ip(c.b)); ok == c.same {
			t.Errorf("%s and %s count as one: %t", c.a, c.b, !ok)
		}
		th.Accepted(ip(c.a), good)
		if th.Known(ip(c.b), good) != c.same {
			t.Errorf("%s and %s are known as one: %t", c.a, c.b, !c.same)
		}
	}
	th := New(Config{N: 1, Burst: 1}, 0, newClock().now)
	if n := guesses(th, netip.Addr{}, 5); n != 1 {
		t.Errorf("without an address: %d", n)
	}
}

func TestOneNetworkOfManyAddressesIsOneBucket(t *testing.T) {
	th := New(Config{}, 0, newClock().now)
	looked := 0
	for i := range 10_000 {
		if guess(th, ip(fmt.Sprintf("2001:db8:1:2:%x::%x", i, i+1))) {
			looked++
		}
	}
	if looked != 100 {
		t.Errorf("%d guesses from one /64", looked)
	}
}

func TestAcceptedKeyPassesForAnHour(t *testing.T) {
	c := newClock()
	th := New(Config{}, 0, c.now)
	office, elsewhere := ip("192.0.2.1"), ip("192.0.2.2")
	if th.Known(office, good) {
		t.Error("known before it was accepted")
	}
	th.Accepted(office, good)
	guesses(th, office, 1000)
	if !th.Known(office, good) {
		t.Error("forgotten when a neighbour guessed")
	}
	if th.Known(office, other) || th.Known(elsewhere, good) {
		t.Error("another key, or address, is known")
	}
	c.advance(time.Hour - 1)
	if !th.Known(office, good) {
		t.Error("forgotten within the hour")
	}
	c.advance(1)
	if th.Known(office, good) {
		t.Error("known after the hour")
	}
	th.Accepted(office, good)
	c.advance(30 * time.Minute)
	th.Accepted(office, good)
	c.advance(45 * time.Minute)
	if !th.Known(office, good) {
		t.Error("being accepted again did not count")
	}
}

func TestMemoryOfAcceptedKeysIsBounded(t *testing.T) {
	const capacity = 256
	c := newClock()
	th := New(Config{}, capacity, c.now)
	regular := ip("192.0.2.1")
	for i := range 100 * capacity {
		th.Accepted(nth(i), good)
		if i%16 == 0 {
			th.Accepted(regular, good)
		}
	}
	kept := 0
	for i := range th.accepted {
		kept += len(th.accepted[i].newer) + len(th.accepted[i].older)
	}
	if kept > capacity || kept < capacity/2 {
		t.Errorf("%d kept, of %d", kept, capacity)
	}
	if !th.Known(regular, good) {
		t.Error("forgot one who comes often")
	}
	if !th.Known(nth(100*capacity-1), good) || th.Known(nth(0), good) {
		t.Error("does not forget the oldest first")
	}
}

func TestBeingAcceptedAgainForgetsNobody(t *testing.T) {
	const capacity = 64
	th := New(Config{}, capacity, newClock().now)
	for i := range capacity {
		th.Accepted(nth(i), good)
	}
	for i := range capacity {
		th.Accepted(nth(capacity-1-i%10), good)
	}
	for i := range capacity {
		if !th.Known(nth(i), good) {
			t.Fatalf("forgot address %d of %d", i, capacity)
		}
	}
}

// In any window, whatever the requests, the keys of an address are looked up
// at most burst times plus the tokens refilled meanwhile, even if the table is
// too small.
func TestGuessesAreBoundedInEachWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := Config{
			N:      rapid.Int64Range(1, 20).Draw(t, "n"),
			Window: time.Duration(rapid.Int64Range(1, 5000).Draw(t, "window")) * time.Millisecond,
			Burst:  rapid.Int64Range(1, 30).Draw(t, "burst"),
			All:    rapid.Bool().Draw(t, "all"),
		}
		c := newClock()
		start := c.at
		th := New(config, 64, c.now)
		addresses := rapid.IntRange(1, 64).Draw(t, "addresses")
		looked := make([][]time.Duration, addresses)
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			c.advance(time.Duration(rapid.Int64Range(0, int64(config.Window)/4).Draw(t, "wait")))
			i := rapid.IntRange(0, addresses-1).Draw(t, "address")
			for range rapid.IntRange(1, 10).Draw(t, "tries") {
				if guess(th, nth(i)) {
					looked[i] = append(looked[i], c.at.Sub(start))
				}
			}
		}
		for i, times := range looked {
			for from := range times {
				for to := from; to < len(times); to++ {
					window := times[to] - times[from]
					most := float64(config.Burst) + float64(window)*float64(config.N)/float64(config.Window)
					if float64(to-from+1) > most+1e-6 {
						t.Fatalf("address %d: %d in %v, at most %.3f", i, to-from+1, window, most)
					}
				}
			}
		}
	})
}

func TestDebtIsBounded(t *testing.T) {
	c := newClock()
	th := New(Config{N: 1, Burst: 10}, 0, c.now)
	a := ip("192.0.2.1")
	for range 1000 { // retries of a key that is still in the accepted table, but revoked
		th.Failed(a)
	}
	if ok, retry := th.Allow(a); ok || retry != 11*time.Second {
		t.Errorf("%t, retry in %v", ok, retry)
	}
}

func TestExtremeRates(t *testing.T) {
	for _, c := range []struct {
		config Config
		want   int // of 1000 guesses at once
	}{
		{Config{N: math.MaxInt64, Burst: math.MaxInt64}, 1000},
		{Config{N: math.MaxInt64, Window: math.MaxInt64}, 1000},
		{Config{N: 1, Burst: math.MaxInt64}, 1000},
		{Config{N: 1, Window: time.Hour, Burst: math.MaxInt64}, 1000},
		{Config{N: 1, Burst: 5_000_000_000}, 1000},
		{Config{N: 1, Window: math.MaxInt64, Burst: 1}, 1},
		{Config{N: 2, Window: math.MaxInt64, Burst: 1}, 1},
		{Config{N: 1, Window: 1, Burst: 1}, 1},
		{Config{N: -1, Window: -1, Burst: -1}, 100},
	} {
		th := New(c.config, -1, newClock().now)
		if n := guesses(th, ip("192.0.2.1"), 1000); n != c.want {
			t.Errorf("%+v: %d, want %d", c.config, n, c.want)
		}
	}
}

func TestRateIsNeverRoundedUp(t *testing.T) {
	c := newClock()
	th := New(Config{N: 3, Window: 5, Burst: 1}, 0, c.now) // 3 in 5 ns
	looked := 0
	for range 1000 {
		looked += guesses(th, ip("192.0.2.1"), 1)
		c.advance(1)
	}
	if looked > 600 || looked < 500 {
		t.Errorf("%d in 1000 ns, at most 600", looked)
	}
}

func TestConcurrentGuessesAreAllCounted(t *testing.T) {
	th := New(Config{All: true, N: 1, Window: time.Hour, Burst: 500}, 0, newClock().now)
	var mu sync.Mutex
	allowed := 0
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for i := range 1000 {
				ok, _ := th.Allow(ip("192.0.2.1"))
				th.Allow(nth(i))
				if ok {
					mu.Lock()
					allowed++
					mu.Unlock()
				}
			}
		})
	}
	callers.Wait()
	if allowed != 500 {
		t.Errorf("%d allowed, want 500", allowed)
	}
	tracked(t, th)
}

func TestConcurrentUseOfAllMethods(t *testing.T) {
	th := New(Config{}, 256, time.Now)
	var callers sync.WaitGroup
	for caller := range 4 {
		callers.Go(func() {
			for i := range 2000 {
				a := nth(i % 500)
				th.Allow(a)
				th.Failed(nth(i * caller % 700))
				th.Accepted(a, good)
				th.Known(a, good)
			}
		})
	}
	callers.Wait()
	tracked(t, th)
}
