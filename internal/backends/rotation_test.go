package backends

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// threeKeys returns a rotation of the keys a, b and c.
func threeKeys(t *testing.T) *rotation {
	t.Helper()
	var placeholders []string
	for _, name := range []string{"a", "b", "c"} {
		t.Setenv("PINEGATE_TEST_"+name, "key-"+name)
		placeholders = append(placeholders, "{env.PINEGATE_TEST_"+name+"}")
	}
	r, err := newRotation(placeholders, wire.Anthropic.KeyHeader)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// turns takes n keys and returns their names.
func (r *rotation) turns(n int, now time.Time) string {
	var names strings.Builder
	for range n {
		key, _ := r.first(now)
		names.WriteString(key.value[0][len(key.value[0])-1:])
	}
	return names.String()
}

func TestKeysTakeTurns(t *testing.T) {
	if got := threeKeys(t).turns(7, time.Now()); got != "abcabca" {
		t.Errorf("turns %s", got)
	}
}

func TestRefusedKeyBacksOff(t *testing.T) {
	for _, c := range []struct {
		status int
		wait   time.Duration
		rests  []time.Duration // after each refusal in a row
	}{
		{429, 7 * time.Second, []time.Duration{7 * time.Second, 7 * time.Second}},
		{429, 24 * time.Hour, []time.Duration{time.Hour, time.Hour}},
		{429, 0, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second, 32 * time.Second, time.Minute, time.Minute}},
		{401, 0, []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second}},
		{403, time.Second, []time.Duration{10 * time.Second}},
		{402, 0, []time.Duration{10 * time.Second}},
		{500, time.Minute, []time.Duration{0}},
		{404, 0, []time.Duration{0}},
	} {
		r, now := threeKeys(t), time.Now()
		a := r.keys[0].get(now)
		for i, want := range c.rests {
			if got := r.refused(a, c.status, c.wait, now, now); got != want {
				t.Errorf("%d, wait %s: refusal %d backs off for %s, want %s", c.status, c.wait, i+1, got, want)
			}
			if want == 0 {
				continue
			}
			if got := r.turns(6, now.Add(want-1)); strings.Contains(got, "a") {
				t.Errorf("%d: while a backs off, %s are used", c.status, got)
			}
			now = now.Add(want)
			if got := r.turns(6, now); strings.Count(got, "a") != 1 {
				t.Errorf("%d: after the backoff of a, %s are used: want it to be tried once", c.status, got)
			}
		}
	}
}

func TestKeyThatWorksAgainIsUsedAgain(t *testing.T) {
	r, now := threeKeys(t), time.Now()
	a := r.keys[0].get(now)
	early := now
	now = now.Add(time.Minute)
	r.refused(a, 401, 0, now, now)
	r.accepted(a, early) // its response came after the refusal
	if got := r.turns(6, now); strings.Contains(got, "a") {
		t.Errorf("a request of before the refusal ended the rest: %s", got)
	}
	now = now.Add(time.Minute)
	r.turns(3, now)
	r.accepted(a, now)
	if got := r.turns(6, now); strings.Count(got, "a") != 2 {
		t.Errorf("after it was accepted %s are used", got)
	}
	if rest := r.refused(a, 401, 0, now, now); rest != 10*time.Second {
		t.Errorf("the next refusal rests %s", rest)
	}
}

// TestRefusalsOfOneMomentCountOnce: a hundred requests may be in flight with a
// key when it is refused.
func TestRefusalsOfOneMomentCountOnce(t *testing.T) {
	r, now := threeKeys(t), time.Now()
	a := r.keys[0].get(now)
	for i := range 100 {
		r.refused(a, 401, 0, now, now.Add(time.Duration(i+1)*time.Millisecond))
	}
	if got := r.backoffs.Load().Wait(a.id, now.Add(100*time.Millisecond)); got != 10*time.Second {
		t.Errorf("it backs off for %s", got)
	}
}

func TestWithAllKeysInBackoffTheSoonestIsUsed(t *testing.T) {
	r, now := threeKeys(t), time.Now()
	for i, wait := range []time.Duration{30, 5, 20} {
		r.refused(r.keys[i].get(now), 429, wait*time.Second, now, now)
	}
	if got, soonest := r.turns(3, now), r.soonest(now); got != "bbb" || soonest != 5*time.Second {
		t.Errorf("%s are used, the soonest in %s", got, soonest)
	}
	single := threeKeys(t)
	single.keys = single.keys[:1]
	if rest := single.refused(single.keys[0].get(now), 429, time.Minute, now, now); rest != 0 {
		t.Errorf("a single key rests %s", rest)
	}
}

// keyedBackend answers depending on the key that it receives.
type keyedBackend struct {
	mu      sync.Mutex
	refuses map[string]func(http.ResponseWriter)
	asked   []string // the keys, in order
}

func (b *keyedBackend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer key-")
	b.mu.Lock()
	b.asked = append(b.asked, key)
	refuse := b.refuses[key]
	b.mu.Unlock()
	if refuse != nil {
		refuse(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

// seen returns the keys that were received since the last call.
func (b *keyedBackend) seen() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer func() { b.asked = nil }()
	return strings.Join(b.asked, "")
}

func limited(seconds int) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", fmt.Sprint(seconds))
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

func unauthorised(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }

const fourKeys = `"api_keys":["{env.PINEGATE_TEST_a}","{env.PINEGATE_TEST_b}","{env.PINEGATE_TEST_c}","{env.PINEGATE_TEST_d}"]`

// withKeys starts a backend and a proxy with the keys a to d.
func withKeys(t *testing.T, refuses map[string]func(http.ResponseWriter)) (*proxied, *keyedBackend) {
	t.Helper()
	for _, name := range []string{"a", "b", "c", "d"} {
		t.Setenv("PINEGATE_TEST_"+name, "key-"+name)
	}
	b := &keyedBackend{refuses: refuses}
	upstream := backend(t, b.ServeHTTP)
	return newProxied(t, fourKeys, "", upstream.URL), b
}

func TestRequestIsTriedWithAnotherKey(t *testing.T) {
	for name, refuse := range map[string]func(http.ResponseWriter){"429": limited(60), "401": unauthorised} {
		t.Run(name, func(t *testing.T) {
			p, b := withKeys(t, map[string]func(http.ResponseWriter){"a": refuse, "b": refuse})
			p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
				ex.Fallback = true // another backend is left, but the other keys are tried first
				return r
			}
			res, body, out := p.do("POST", "/v1/chat/completions", `{"a":1}`)
			if res.StatusCode != 200 || body != `{"a":1}` || out.err != nil || b.seen() != "abc" {
				t.Fatalf("answered %d %s, %v", res.StatusCode, body, out.err)
			}
			if ex := out.attempt; ex.RoundTrips != 3 || ex.Status != 200 || ex.Flag != "" || ex.Err != nil {
				t.Errorf("attempt %+v", ex)
			}
			for range 4 {
				p.do("POST", "/v1/chat/completions", `{}`)
			}
			if got := b.seen(); got != "dcdc" {
				t.Errorf("while a and b rest, %s are used", got)
			}
			log := p.log()
			if strings.Contains(log, "key-a") || strings.Contains(log, "key-c") {
				t.Error("the log holds a key")
			}
			if !strings.Contains(log, `"api_key":1,"of":4,"status":`+name) || strings.Count(log, "refused an API key") != 2 {
				t.Errorf("the log does not tell of both rests once:\n%s", log)
			}
		})
	}
}

func TestWhenAllKeysAreRefusedTheSoonestIsTold(t *testing.T) {
	p, b := withKeys(t, map[string]func(http.ResponseWriter){"a": limited(900), "b": limited(300), "c": limited(600), "d": limited(3000)})
	attempt := func(want time.Duration, keys string) {
		t.Helper()
		p.prepare = func(ex *Attempt, r *http.Request) *http.Request { ex.Fallback = true; return r }
		_, _, out := p.do("POST", "/v1/chat/completions", `{}`)
		var failed *AttemptError
		if !errors.As(out.err, &failed) || failed.Status != 429 || failed.RetryAfter > want || failed.RetryAfter < want-time.Minute {
			t.Errorf("%v, want a wait of %s", out.err, want)
		}
		if got := b.seen(); got != keys {
			t.Errorf("%s were used, want %s", got, keys)
		}
	}
	attempt(0, "abc") // d is not backing off
	attempt(5*time.Minute, "d")
	p.prepare = nil
	res, _, _ := p.do("POST", "/v1/chat/completions", `{}`)
	if wait, _ := strconv.Atoi(res.Header.Get("Retry-After")); res.StatusCode != 429 || wait < 240 || wait > 300 || b.seen() != "b" {
		t.Errorf("answered %d, Retry-After %d", res.StatusCode, wait)
	}
}

// TestKeyBackoffOutlivesAReload: a new configuration creates a new transport.
func TestKeyBackoffOutlivesAReload(t *testing.T) {
	live := new(health.BackendState)
	p, b := withKeys(t, map[string]func(http.ResponseWriter){"a": unauthorised})
	p.handler.Transport.(*Transport).Share(live)
	p.do("POST", "/v1/chat/completions", `{}`)
	if got := b.seen(); got != "ab" {
		t.Fatalf("%s were used", got)
	}
	again := newProxied(t, fourKeys, "", "127.0.0.1:1")
	again.handler.Transport.(*Transport).Share(live)
	if got := again.handler.Transport.(*Transport).keys.turns(4, time.Now()); got != "bcdb" {
		t.Errorf("after a reload %s are used", got)
	}
}

func TestCredentialsInBackoffAreCounted(t *testing.T) {
	keys := threeKeys(t)
	transport := &Transport{keys: keys}
	key, _ := keys.first(day)
	keys.refused(key, 401, 0, day, day)
	if total, backingOff := transport.Credentials(day); total != 3 || backingOff != 1 {
		t.Errorf("%d of %d back off", backingOff, total)
	}
	if _, backingOff := transport.Credentials(day.Add(10 * time.Second)); backingOff != 0 {
		t.Errorf("%d back off after their time", backingOff)
	}
}
