package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// again starts a gate on what another one has left behind.
func (g *gate) again(global, block string) *gate {
	g.t.Helper()
	next := newGate(g.t)
	next.dir = g.dir
	next.start(next.caddyfile(global, block))
	return next
}

// usageByModel asks for all that was used, by model.
func (g *gate) usageByModel() map[string]result {
	g.t.Helper()
	a := g.do("GET", "/v1/usage?group_by[]=model", adminKey, "")
	var page struct {
		Data []struct {
			Results []struct {
				result
				Model string
			}
		}
		HasMore bool `json:"has_more"`
	}
	if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 || page.HasMore {
		g.t.Fatalf("usage: %d %v %s", a.status, err, a.body)
	}
	sums := make(map[string]result)
	for _, bucket := range page.Data {
		for _, r := range bucket.Results {
			sum := sums[r.Model]
			sum.Requests += r.Requests
			sum.Input += r.Input
			sum.Output += r.Output
			sum.Estimated += r.Estimated
			sums[r.Model] = sum
		}
	}
	return sums
}

// journal is all that stands in the gate's journal.
func (g *gate) journal(dir string) string {
	g.t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "usage.journal", "*.journal"))
	if err != nil {
		g.t.Fatal(err)
	}
	var all strings.Builder
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			g.t.Fatal(err)
		}
		all.Write(content)
	}
	return all.String()
}

// hasCheckpoints reports whether the journal has a checkpoint of each stream.
func (g *gate) hasCheckpoints(dir string, open []*http.Response) bool {
	journal := g.journal(dir)
	for _, res := range open {
		if !strings.Contains(journal, res.Header.Get("X-Request-Id")) {
			return false
		}
	}
	return true
}

// kills is how often the gate is killed: PINEGATE_KILLS, or five times.
func kills(t *testing.T) int {
	t.Helper()
	text, ok := os.LookupEnv("PINEGATE_KILLS")
	if !ok {
		return 5
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("PINEGATE_KILLS is %q: expected a positive number", text)
	}
	return n
}

// numbered answers each request by its number, which stands in a header that
// passes: an input of that many tokens and an output of twice as many, every
// other one as a stream.
func numbered(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.Header.Get("X-Title"))
	if n%2 == 0 {
		streams(nil, chunk("one"), chunk("two"), usageChunk(n, 2*n), done)(w, r)
	} else {
		answers(200, chatAnswer("one two", n, 2*n))(w, r)
	}
}

// A thousand requests with SIGKILL at a random instant: what the callers have
// seen whole is in the ledger, record for record; beside it stands nothing but
// what was in flight, and nothing stands twice.
func TestKilledGateHasRecordedWhatItsCallersSaw(t *testing.T) {
	b := newBackend(t, numbered)
	for run := range kills(t) {
		t.Run(fmt.Sprint(run), func(t *testing.T) { killOnce(t, b) })
	}
}

func killOnce(t *testing.T, b *backend) {
	const requests, callers = 1000, 8
	g := startGate(t, block(b, ""))
	killAt := int64(rand.IntN(requests-callers) + 1)
	t.Logf("killing at answer %d", killAt)

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	whole := make([]atomic.Bool, requests+1)
	var next, ended atomic.Int64
	kill := sync.OnceFunc(func() {
		time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // anywhere within a request
		_ = g.Cmd.Process.Signal(syscall.SIGKILL)
	})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for {
				n := next.Add(1)
				if n > requests {
					return
				}
				seen, err := askNumbered(client, g.url, int(n))
				if err != nil {
					return // it is dead
				}
				whole[n].Store(seen)
				if ended.Add(1) == killAt {
					go kill()
				}
			}
		})
	}
	all.Wait()
	kill()
	g.Stop(syscall.SIGKILL)

	used := g.again("", block(b, "")).usageByModel()
	sent := min(int(next.Load()), requests)
	count := 0
	for n := 1; n <= sent; n++ {
		model := fmt.Sprint("model-", n)
		got := used[model]
		delete(used, model)
		want := result{Requests: 1, Input: n, Output: 2 * n}
		switch {
		case whole[n].Load():
			count++
			if got != want {
				t.Errorf("request %d, whose answer was whole: %+v, want %+v", n, got, want)
			}
		case got.Requests > 1:
			t.Errorf("request %d stands twice: %+v", n, got)
		case got.Requests == 1 && got.Estimated == 0 && got != want:
			t.Errorf("request %d: %+v, which is not what the backend said", n, got)
		}
	}
	if len(used) > 0 {
		t.Errorf("usage of what nobody sent: %v", used)
	}
	if int64(count) < killAt {
		t.Errorf("%d whole answers of the %d that came before the kill", count, killAt)
	}
}

// askNumbered sends a request, a stream every other time, and reports whether its
// answer came whole.
func askNumbered(client *http.Client, url string, n int) (whole bool, err error) {
	body := chatBody(fmt.Sprint("model-", n), "x", fmt.Sprint(`"stream":`, n%2 == 0))
	req, err := http.NewRequest("POST", url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return false, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+callerKey)
	req.Header.Set("X-Title", strconv.Itoa(n))
	res, err := client.Do(req)
	if err != nil {
		return false, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if n%2 == 0 {
		return strings.HasSuffix(string(text), done), nil
	}
	return err == nil && string(text) == chatAnswer("one two", n, 2*n), nil
}

func TestKilledGatesStreamsAreSettledAtTheirLastCheckpoint(t *testing.T) {
	b, letGo := held(t)
	defer letGo()
	silent := newBackend(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	gates := block(b, fmt.Sprintf("backend silent %s {\n models silent\n}", silent.URL))
	gates = strings.Replace(gates, "api_key {env.BACKEND_KEY}", "api_key {env.BACKEND_KEY}\nmodels m", 1)
	g := newGate(t)
	store := fmt.Sprintf("pinegate {\nstore file %s\n}", g.dir)
	g.start(g.caddyfile(store, gates))
	open := g.openStreams(10)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waiting := make(chan struct{})
	go func() {
		defer close(waiting)
		req, _ := http.NewRequestWithContext(ctx, "POST", g.url+"/v1/chat/completions", strings.NewReader(chatBody("silent", "a prompt of some length")))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+callerKey)
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
		}
	}()
	eventually(t, "all are check-pointed", func() bool {
		return g.hasCheckpoints(g.dir, open) && strings.Contains(g.journal(g.dir), "silent")
	})
	g.Stop(syscall.SIGKILL)
	<-waiting
	for _, res := range open {
		res.Body.Close()
	}

	for range 2 {
		g = g.again(store, gates)
		used := g.usageByModel()
		if got := used["m"]; got.Requests != 10 || got.Estimated != 10 || got.Output != 20 || got.Input < 10 {
			t.Errorf("streams: %+v, want ten of an estimated output of two tokens for the five bytes that came", got)
		}
		if got := used["silent"]; got.Requests != 1 || got.Estimated != 1 || got.Output != 0 || got.Input < 5 {
			t.Errorf("the request without an answer: %+v, want its input", got)
		}
		g.Stop(syscall.SIGKILL)
		if n := strings.Count(g.Logs.String(), `"outcome":"interrupted"`); n != 11 && n != 0 {
			t.Errorf("%d events of interrupted requests, want one each, once", n)
		}
	}
	if strings.Contains(g.Logs.String(), "interrupted") {
		t.Error("the second restart settled them again")
	}
}

func TestQuotasAreExactAfterAKill(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 4, 3)))
	limits := block(b, "limit 3 requests/day\nlimit 1000 tokens/month")
	g := startGate(t, limits)
	for range 2 {
		g.chat(callerKey, "m", "x")
	}
	g.Stop(syscall.SIGKILL)
	g = g.again("", limits)
	first, second := g.chat(callerKey, "m", "x", `"max_tokens":3`), g.chat(callerKey, "m", "x", `"max_tokens":3`)
	if first.status != 200 || second.status != 429 || !strings.Contains(second.body, "insufficient_quota") {
		t.Errorf("the quota forgot: %d, then %d %s", first.status, second.status, second.body)
	}
	g.Stop(syscall.SIGKILL)
	if got, want := g.again("", limits).usageOf("alice"), (result{Requests: 3, Input: 12, Output: 9}); got != want {
		t.Errorf("usage %+v, want %+v", got, want)
	}
}
