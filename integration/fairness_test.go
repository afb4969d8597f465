package integration

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
)

// hostileAnswers are what one caller's requests may make a backend answer.
func hostileAnswers() map[string]http.HandlerFunc {
	all := map[string]http.HandlerFunc{
		"a reset": func(w http.ResponseWriter, _ *http.Request) { reset(w) },
		"a cut answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			_, _ = w.Write([]byte("{"))
		},
		"an endless wait":  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"a page":           refuses(200, "text/html", "<html>"),
		"an error event":   refuses(200, "text/event-stream", "data: {\"error\":{\"message\":\"m\",\"code\":500}}\n\n"),
		"an empty stream":  refuses(200, "text/event-stream", ""),
		"a redirect":       refuses(307, jsonType, "{}", "Location", "http://other.example"),
		"a spent limit":    refuses(200, jsonType, chatAnswer("x", 1, 1), "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "4m"),
		"flagged":          refuses(403, jsonType, `{"error":{"message":"Your input was flagged","metadata":{"reasons":["x"]}}}`),
		"fewer max_tokens": refuses(402, jsonType, `{"error":{"message":"requires more credits, or fewer max_tokens"}}`, "Retry-After", "240"),
	}
	for _, status := range []int{400, 402, 403, 404, 408, 409, 413, 422, 425, 429, 451, 498, 500, 501, 502, 503, 504, 524, 529} {
		all[fmt.Sprint(status)] = refuses(status, jsonType, `{"error":{"message":"m"}}`)
		all[fmt.Sprint(status, " and a wait")] = refuses(status, jsonType, `{"error":{"message":"m"}}`, "Retry-After", "240")
	}
	return all
}

// Whatever one key's requests make backends answer, another key's are served: alone,
// and over two gates that share what cools down.
func TestOneKeysErrorsNeverTakeABackendFromAnother(t *testing.T) {
	hostile := hostileAnswers()
	var mu sync.Mutex
	var answer http.HandlerFunc
	handler := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Title") != "hostile" {
			answers(200, chatAnswer("served", 1, 1))(w, r)
			return
		}
		mu.Lock()
		serve := answer
		mu.Unlock()
		serve(w, r)
	}
	one, two := newBackend(t, handler), newBackend(t, handler)
	config := fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key mallory {env.OTHER_KEY}
		dial_allow loopback
		backend one %s {
			api_key %s
			first_token_timeout 200ms
		}
		backend two %s {
			first_token_timeout 200ms
		}`, one.URL, "{env.BACKEND_KEY} {env.CALLER_KEY}", two.URL)
	s := startRedis(t)
	all := append(startGates(t, 2, s, redisStore(t, s), config), startGate(t, config))
	// Each with a model of its own, which does not cool down for the hostile key yet,
	// and those last of which the whole backend does.
	kinds := slices.SortedFunc(maps.Keys(hostile), func(a, b string) int {
		return cmp.Or(cmp.Compare(strings.Count(a, "402"), strings.Count(b, "402")), cmp.Compare(a, b))
	})
	for n, name := range kinds {
		model, asked := fmt.Sprint("m", n), len(one.seen())+len(two.seen())
		mu.Lock()
		answer = hostile[name]
		mu.Unlock()
		for _, g := range all {
			var running sync.WaitGroup
			for range 8 {
				running.Go(func() {
					res := g.open(t.Context(), "POST", "/v1/chat/completions", otherKey, chatBody(model, "hi", `"stream":true`), "X-Title", "hostile")
					_, _ = io.Copy(io.Discard, res.Body) // it may break off
					res.Body.Close()
				})
			}
			running.Wait()
		}
		if n := len(one.seen()) + len(two.seen()) - asked; n < len(all) {
			t.Errorf("%s: the backends were asked %d times", name, n)
		}
		for i, g := range all {
			for range 3 {
				if a := g.chat(callerKey, model, "hi"); a.status != 200 || !strings.Contains(a.body, "served") {
					t.Errorf("%s: gate %d answers another key %d %s", name, i, a.status, a.body)
				}
			}
		}
	}
	looked := s.Calls("zrangebyscore")
	eventually(t, "the gates have read what the others share", func() bool { return s.Calls("zrangebyscore") >= looked+4 })
	for n, name := range kinds {
		for i, g := range all {
			if a := g.chat(callerKey, fmt.Sprint("m", n), "hi"); a.status != 200 {
				t.Errorf("%s: gate %d, which has read what the others share, answers %d %s", name, i, a.status, a.body)
			}
		}
	}
}

// While all backends cool down for a key, they are asked once a second, and when one
// works again it serves.
func TestWhileAllBackendsCoolDownTheyAreAskedNowAndThen(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	works := false
	handler := func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if works {
			answers(200, chatAnswer("served", 1, 1))(w, r)
			return
		}
		refuses(429, jsonType, `{"error":{"message":"slow down"}}`, "Retry-After", "240")(w, r)
	}
	one, two := newBackend(t, handler), newBackend(t, handler)
	g := startGate(t, fmt.Sprintf(`
		key alice {env.CALLER_KEY}
		dial_allow loopback
		backend one %s
		backend two %s`, one.URL, two.URL))
	if a := g.chat(callerKey, "m", "hi"); a.status != 429 {
		t.Fatalf("both refuse: %d %s", a.status, a.body)
	}
	mu.Lock()
	works = true
	mu.Unlock()
	eventually(t, "it is served long before the four minutes are over", func() bool { return g.chat(callerKey, "m", "hi").status == 200 })
}
