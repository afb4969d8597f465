package integration

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// held is a backend whose streams send one event and wait until they are let
// go, or their caller is.
func held(t *testing.T) (b *backend, letGo func()) {
	t.Helper()
	release := make(chan struct{})
	b = newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, chunk("begun"))
		w.(http.Flusher).Flush()
		select {
		case <-release:
			_, _ = io.WriteString(w, chunk("ended")+usageChunk(5, 2)+done)
		case <-r.Context().Done():
		}
	})
	return b, sync.OnceFunc(func() { close(release) })
}

// openStreams starts streams and waits for the first event of each.
func (g *gate) openStreams(n int) []*http.Response {
	g.t.Helper()
	open := make([]*http.Response, n)
	for i := range open {
		open[i] = g.open(context.Background(), "POST", "/v1/chat/completions", callerKey, chatBody("m", "x", `"stream":true`))
		if _, err := io.ReadFull(open[i].Body, make([]byte, 10)); err != nil {
			g.t.Fatal(err)
		}
	}
	return open
}

// readAll reads the rest of each stream at once.
func readAll(streams []*http.Response) (whole int) {
	var ended atomic.Int64
	var readers sync.WaitGroup
	for _, res := range streams {
		readers.Go(func() {
			defer res.Body.Close()
			rest, err := io.ReadAll(res.Body)
			if err == nil && strings.HasSuffix(string(rest), done) {
				ended.Add(1)
			}
		})
	}
	readers.Wait()
	return int(ended.Load())
}

func TestReloadsCutNoStreamAndForgetNoCounter(t *testing.T) {
	eachWay(t, testReloadsCutNoStreamAndForgetNoCounter)
}

func testReloadsCutNoStreamAndForgetNoCounter(t *testing.T, way func(string) string) {
	b, letGo := held(t)
	defer letGo()
	g := newGate(t)
	const limits = "limit 25 requests/hour\nlimit 40 concurrent"
	g.start(g.caddyfile("", way(block(b, limits))))
	base := g.goroutines()
	open := g.openStreams(20)

	for i := range 20 {
		config := g.caddyfile("", way(block(b, fmt.Sprintf("%s\nmax_body %dMB", limits, i+1))))
		if i == 3 {
			config = g.caddyfile("", block(b, "limit 0 requests/minute"))
		}
		if status := g.reload(config); (status == 200) == (i == 3) {
			t.Fatalf("reload %d: status %d\n%s", i, status, g.Logs.String())
		}
	}
	letGo()
	if whole := readAll(open); whole != len(open) {
		t.Errorf("%d of %d streams ended whole", whole, len(open))
	}
	if got := g.usageOf("alice"); got.Requests != 20 || got.Input != 100 || got.Output != 40 || got.Estimated != 0 {
		t.Errorf("usage %+v", got)
	}
	for i := range 6 {
		want := 200
		if i == 5 {
			want = 429 // 20 before the reloads and 5 after them
		}
		a := g.chat(callerKey, "m", "x", `"stream":true`)
		if a.status != want {
			t.Errorf("request %d after the reloads: %d, want %d", i+1, a.status, want)
		}
	}
	// A connection that idles has two or three.
	b.CloseClientConnections()
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "no configuration of before and no stream has goroutines", func() bool { return g.goroutines() < base+15 })
}

// goroutines is how many the gate has, by its metrics.
func (g *gate) goroutines() int {
	g.t.Helper()
	_, after, found := strings.Cut(g.metrics(), "\ngo_goroutines ")
	var n int
	if _, err := fmt.Sscan(after, &n); !found || err != nil {
		g.t.Fatalf("the gate does not list its goroutines: %v", err)
	}
	return n
}

func TestShutdownSettlesStreamsThatOutliveTheGracePeriod(t *testing.T) {
	t.Parallel()
	eachWay(t, testShutdownSettlesStreamsThatOutliveTheGracePeriod)
}

func testShutdownSettlesStreamsThatOutliveTheGracePeriod(t *testing.T, way func(string) string) {
	b, letGo := held(t)
	defer letGo()
	g := newGate(t)
	config := strings.Replace(g.caddyfile("", way(block(b, ""))), "grace_period 3s", "grace_period 200ms", 1)
	g.start(config)
	open := g.openStreams(10)
	ended := make(chan int)
	go func() {
		n := 0
		for _, res := range open {
			rest, _ := io.ReadAll(res.Body) // how it ends is what is looked at
			if strings.Contains(string(rest), "server_is_overloaded") {
				n++
			}
		}
		ended <- n
	}()
	g.Stop(syscall.SIGTERM)
	<-ended

	again := newGate(t)
	again.dir = g.dir
	again.start(again.caddyfile("", way(block(b, ""))))
	if got := again.usageOf("alice"); got.Requests != 10 || got.Estimated != 10 || got.Output != 20 {
		t.Errorf("usage after a restart %+v: want ten estimated records of 5 bytes each", got)
	}
}

func TestAStreamThatTakesTooLongIsEndedInItsDialect(t *testing.T) {
	t.Parallel()
	b, letGo := held(t)
	defer letGo()
	g := startGate(t, block(b, "max_stream 1s"))
	start := time.Now()
	res := g.openStreams(1)[0]
	defer res.Body.Close()
	rest, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(rest), `data: {"error":{"message":"The answer took longer than this gateway allows."`) {
		t.Errorf("the stream ended with %v: %s", err, rest)
	}
	if took := time.Since(start); took < time.Second {
		t.Errorf("ended after %v", took)
	}
	eventually(t, "the request is recorded", func() bool { return g.usageOf("alice").Requests == 1 })
	if got := g.usageOf("alice"); got.Estimated != 1 || got.Output != 2 || got.Errors != 0 {
		t.Errorf("usage %+v: want the five bytes that came as two tokens", got)
	}
}

func TestKeysFileIsFollowed(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := newGate(t)
	path := g.dir + "/keys.json"
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write(`[{"id":"carol","secrets":["carols-secret-00000000001"]}]`)
	g.start(g.caddyfile("", fmt.Sprintf("keys %s\ndial_allow loopback\nbackend mock %s", path, b.URL)))
	if a := g.chat("carols-secret-00000000001", "m", "x"); a.status != 200 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	write(`[{"id":"carol","secrets":["carols-secret-0000`) // torn
	eventually(t, "the torn file is logged", func() bool { return strings.Contains(g.Logs.String(), "keys not changed") })
	if a := g.chat("carols-secret-00000000001", "m", "x"); a.status != 200 {
		t.Errorf("a broken file took the keys away: %d", a.status)
	}
	write(`[{"id":"carol","secrets":["carols-secret-00000000002"]}]`)
	eventually(t, "the new secret works", func() bool { return g.chat("carols-secret-00000000002", "m", "x").status == 200 })
	if a := g.chat("carols-secret-00000000001", "m", "x"); a.status != 401 {
		t.Errorf("the old secret still works: %d", a.status)
	}
	if strings.Contains(g.Logs.String(), "carols-secret") {
		t.Error("a secret stands in the log")
	}
}

func TestRestartKeepsUsage(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 4, 3)))
	g := startGate(t, block(b, "limit 3 requests/day"))
	for range 2 {
		g.chat(callerKey, "m", "x")
	}
	g.Stop(syscall.SIGTERM)
	again := newGate(t)
	again.dir = g.dir
	again.start(again.caddyfile("", block(b, "limit 3 requests/day")))
	if got, want := again.usageOf("alice"), (result{Requests: 2, Input: 8, Output: 6}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
	first, second := again.chat(callerKey, "m", "x"), again.chat(callerKey, "m", "x")
	if first.status != 200 || second.status != 429 || !strings.Contains(second.body, "insufficient_quota") {
		t.Errorf("the quota forgot: %d, then %d %s", first.status, second.status, second.body)
	}
}

func TestSilenceIsNotCut(t *testing.T) {
	t.Parallel()
	const silence = 70 * time.Second // Caddy's own idle timeouts are a minute
	wait := func(r *http.Request) {
		select {
		case <-time.After(silence):
		case <-r.Context().Done():
		}
	}
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("X-Title"), "before") {
			wait(r)
			streams(nil, chunk("a"), chunk("b")+usageChunk(1, 1)+done)(w, r)
			return
		}
		streams(wait, chunk("a"), chunk("b")+usageChunk(1, 1)+done)(w, r)
	})
	g := newGate(t)
	g.start(g.caddyfile("servers {\nprotocols h1 h2c\n}", block(b, "keepalive off")))
	two := &http.Transport{Protocols: new(http.Protocols)}
	two.Protocols.SetUnencryptedHTTP2(true)
	t.Cleanup(two.CloseIdleConnections)
	for name, client := range map[string]*http.Client{"HTTP/1.1": http.DefaultClient, "HTTP/2": {Transport: two}} {
		t.Run("in the middle of a stream, "+name, func(t *testing.T) {
			t.Parallel()
			req, err := http.NewRequest("POST", g.url+"/v1/chat/completions", strings.NewReader(chatBody("m", "x", `"stream":true`)))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+callerKey)
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.Proto[:6] != name[:6] || readAll([]*http.Response{res}) != 1 {
				t.Errorf("the stream over %s was cut", res.Proto)
			}
		})
	}
	t.Run("before the first byte, with a chunked request", func(t *testing.T) {
		t.Parallel()
		req, err := http.NewRequest("POST", g.url+"/v1/chat/completions", io.MultiReader(strings.NewReader(chatBody("m", "x", `"stream":true`))))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+callerKey)
		req.Header.Set("X-Title", "before")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if readAll([]*http.Response{res}) != 1 {
			t.Error("the stream was cut")
		}
	})
}
