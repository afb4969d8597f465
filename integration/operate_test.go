package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/control"
	"github.com/amanycodes/pine-gate/internal/gatetest"
	"github.com/amanycodes/pine-gate/internal/redistest"
)

// operated is a gate with a pinegate_admin.
type operated struct {
	*gate
	site string // its address
}

func newOperated(t *testing.T) *operated {
	t.Helper()
	return &operated{newGate(t), fmt.Sprintf("http://127.0.0.1:%d", gatetest.FreePort())}
}

// caddyfile is a whole one with both sites.
func (g *operated) caddyfile(global, block string) string {
	return g.gate.caddyfile(global, block) + g.site + " {\nbind 127.0.0.1\npinegate_admin {\nadmin_key {env.ADMIN_KEY}\n}\n}\n"
}

// state asks both doors for a part of the gate's state, which must answer the same
// kind of answer and nothing secret, and returns what the site says.
func state[T any](g *operated, path string) (answer T) {
	g.t.Helper()
	texts := []string{g.keysAPI("GET", path, "", http.StatusOK)}
	req, err := http.NewRequestWithContext(g.t.Context(), "GET", g.site+"/pinegate/"+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" {
		g.t.Fatalf("%s: %d %s (%v)", path, res.StatusCode, text, err)
	}
	for _, text := range append(texts, string(text)) {
		for _, secret := range []string{callerKey, otherKey, adminKey, backendKey, "sha256", thePrompt} {
			if strings.Contains(text, secret) {
				g.t.Errorf("%s has %q: %s", path, secret, text)
			}
		}
		answer = *new(T)
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&answer); err != nil {
			g.t.Fatalf("%s: %v: %s", path, err, text)
		}
	}
	return answer
}

// thePrompt is what nobody who operates a gate may see.
const thePrompt = "whatMyDoctorSaid"

// pinegate runs a subcommand of `caddy pinegate`.
func pinegate(t *testing.T, args ...string) (out, errOut string, code int) {
	t.Helper()
	cmd := gatetest.Command(t, append([]string{"pinegate"}, args...)...)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run() // the exit status is what counts
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

// startOperated runs a gate with a backend that takes one request at a time, whose
// streams end when the returned channel is closed, and with one that is not there.
func startOperated(t *testing.T, global string) (g *operated, end chan struct{}) {
	t.Helper()
	end = make(chan struct{})
	b := newBackend(t, streams(func(r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}, chunk("some words of an answer"), usageChunk(11, 7), done))
	g = newOperated(t)
	g.start(g.caddyfile(global, fmt.Sprintf(`
		key alice {env.CALLER_KEY} {
			team red
			limit 2 usd/month
		}
		key bob {env.OTHER_KEY}
		team red {
			limit 8 concurrent
		}
		limit 60 requests/minute burst 10
		model gpt-* {
			price input 1 output 2
			limit 1M tokens/day
		}
		dial_allow loopback
		backend gpu %s {
			api_key {env.BACKEND_KEY}
			models gpt-*
			max_inflight 1
			queue 3 10m
			limit 100 requests/second
		}
		backend dead 127.0.0.1:%d {
			models gone
		}`, b.URL, gatetest.FreePort())))
	return g, end
}

// talk opens a stream of a key and waits for its first event.
func (g *gate) talk(key string) *http.Response {
	g.t.Helper()
	ctx, cancel := context.WithCancel(g.t.Context())
	g.t.Cleanup(cancel)
	res := g.open(ctx, "POST", "/v1/chat/completions", key, chatBody("gpt-5", thePrompt, `"stream":true`))
	g.t.Cleanup(func() { res.Body.Close() })
	if line, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil || !strings.HasPrefix(line, "data: ") {
		g.t.Fatalf("%d %q %v", res.StatusCode, line, err)
	}
	return res
}

func TestBothDoorsTellTheStateOfAGate(t *testing.T) {
	g, end := startOperated(t, "")
	began := time.Now().Unix()
	if a := g.chat(otherKey, "gone", thePrompt); a.status != http.StatusBadGateway {
		t.Fatal(a.status, a.body)
	}
	if a := g.chat("nobody-has-such-a-key-000001", "gone", thePrompt); a.status != http.StatusUnauthorized {
		t.Fatal(a.status, a.body)
	}
	g.talk(callerKey)
	go func() { // it waits for its turn
		res := g.open(context.Background(), "POST", "/v1/chat/completions", otherKey, chatBody("gpt-4", thePrompt))
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
	}()
	var running control.RequestList
	eventually(t, "two are in flight, and the backend has answered the first", func() bool {
		running = state[control.RequestList](g, "requests")
		return running.Total == 2 && len(running.Data) == 2 && running.Data[0].State == "answering" && running.Data[1].State == "waiting"
	})
	first, second := running.Data[0], running.Data[1]
	if first.Key != "alice" || first.Team == nil || *first.Team != "red" || first.Backend == nil || *first.Backend != "gpu" || first.Model != "gpt-5" ||
		!first.Stream || first.Endpoint != "chat" || first.StartedAt < began || first.Seconds <= 0 || first.InputTokens < 1 || first.OutputTokens < 1 || first.ID == "" {
		t.Errorf("the one that is answered: %+v", first)
	}
	if second.Key != "bob" || second.Team != nil || second.Backend == nil || *second.Backend != "gpu" || second.Stream || second.OutputTokens != 0 {
		t.Errorf("the one that waits: %+v", second)
	}
	if short := state[control.RequestList](g, "requests?limit=1"); len(short.Data) != 1 || short.Total != 2 || short.Data[0].ID != first.ID {
		t.Errorf("the first of them: %+v", short)
	}

	backends := state[control.BackendList](g, "backends").Data
	if len(backends) != 2 || backends[0].Name != "gpu" || backends[1].Name != "dead" {
		t.Fatalf("backends: %+v", backends)
	}
	gpu, dead := backends[0], backends[1]
	if gpu.Inflight != 1 || gpu.Waiting != 1 || gpu.MaxInflight == nil || *gpu.MaxInflight != 1 || gpu.Queue == nil || *gpu.Queue != 3 ||
		gpu.Attempts != 1 || gpu.Failures != 0 || gpu.FirstTokenSeconds == nil || gpu.Credentials.Total != 1 || gpu.Credentials.Cooling != 0 || gpu.Proxy != "direct" || gpu.ProxyReason != nil ||
		len(gpu.Models) != 1 || gpu.Models[0] != "gpt-*" || len(gpu.Upstreams) != 1 || !strings.HasPrefix(gpu.Upstreams[0], "http://127.0.0.1:") {
		t.Errorf("the one that answers: %+v", gpu)
	}
	if dead.Up == nil || *dead.Up || dead.Attempts != 1 || dead.Failures != 1 || dead.MaxInflight != nil {
		t.Errorf("the one that is not there: %+v", dead)
	}

	limits := state[control.LimitPage](g, "limits")
	var shown []string
	for _, l := range limits.Data {
		window, used := "", "-"
		if l.Window != nil {
			window = *l.Window
		}
		if l.Used != nil {
			used = l.Used.String()
		}
		shown = append(shown, strings.Join([]string{l.Scope, l.ID, l.Unit, window, l.Limit.String(), used}, " "))
	}
	const want = `key alice requests minute 60 -
key alice usd month 2 0
key bob requests minute 60 -
team red concurrent  8 1
model gpt-* tokens day 1000000 0
backend gpu requests second 100 -`
	if got := strings.Join(shown, "\n"); got != want || limits.Stale || limits.Next != nil {
		t.Errorf("limits:\n%s\nwant\n%s", got, want)
	}
	if money := limits.Data[1]; money.Reserved == nil || money.Reserved.String() == "0" {
		t.Errorf("the stream holds nothing of its budget: %+v", money)
	}

	refused := make(map[string]int64)
	rejections := state[control.RejectionList](g, "rejections")
	for _, r := range rejections.Data {
		refused[r.Reason+" "+r.Scope] = r.Count
	}
	if refused["unauthenticated caller"] != 1 || refused["upstream backend"] < 1 || rejections.Since > began || rejections.Since < began-60 {
		t.Errorf("rejections: %+v", rejections)
	}

	status := state[control.Status](g, "status")
	if status.Version == "" || status.StartedAt != rejections.Since || status.Store.Type != "file" || !status.Store.Up || status.Store.Mode != nil ||
		status.Gates != 1 || status.Inflight != 2 || status.Keys != 2 || status.Teams != 1 || status.RuntimeKeys || status.HideModels || status.UntrustedProxy {
		t.Errorf("status: %+v", status)
	}

	g.do("GET", "/v1/key", callerKey, "", "X-Forwarded-For", "192.0.2.1")
	if status := state[control.Status](g, "status"); !status.UntrustedProxy {
		t.Error("a proxy that is not trusted is not reported")
	}
	close(end)
	eventually(t, "nothing is in flight", func() bool { return state[control.Status](g, "status").Inflight == 0 })
	if page := state[control.LimitPage](g, "limits?scope=key&id=alice&limit=1&after=key/requests/minute/alice"); len(page.Data) != 1 ||
		page.Data[0].Used.String() != "0.000025" || page.Data[0].Reserved.String() != "0" || page.Next != nil {
		t.Errorf("what the stream has cost: %+v", page)
	}
	for _, path := range []string{"limits", "backends", "requests", "rejections", "status"} {
		for _, key := range []string{"", callerKey} {
			req, err := http.NewRequestWithContext(t.Context(), "GET", g.site+"/pinegate/"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Api-Key", key)
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			if res.Body.Close(); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("%s with %q: %d", path, key, res.StatusCode)
			}
		}
	}
}

func TestHiddenModelsHaveNoNameInTheListOfRequests(t *testing.T) {
	g, _ := startOperated(t, "pinegate {\nmetrics {\nhide_models\n}\n}")
	g.talk(callerKey)
	list := state[control.RequestList](g, "requests")
	if len(list.Data) != 1 || list.Data[0].Model != "*" {
		t.Errorf("requests: %+v", list)
	}
	if status := state[control.Status](g, "status"); !status.HideModels {
		t.Error("the status does not say that models are hidden")
	}
}

func TestTheStateTellsThatRedisIsAway(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{Password: redisPassword, Config: []string{"maxmemory-policy allkeys-lru"}})
	g := newOperated(t)
	g.start(g.caddyfile(redisStore(t, server), "key alice {env.CALLER_KEY} {\nlimit 5 requests/day\n}\nbackend demo {\napi echo\n}"))
	if a := g.chat(callerKey, "echo", "x"); a.status != http.StatusOK {
		t.Fatal(a.status, a.body)
	}
	status := state[control.Status](g, "status")
	if s := status.Store; s.Type != "redis" || !s.Up || s.Mode != nil || s.Eviction == nil || *s.Eviction != "allkeys-lru" || s.AppendOnly == nil || *s.AppendOnly {
		t.Errorf("store: %+v", s)
	}
	if page := state[control.LimitPage](g, "limits"); page.Stale || len(page.Data) != 1 || page.Data[0].Used == nil || page.Data[0].Used.String() != "1" {
		t.Errorf("limits: %+v", page)
	}
	server.Kill()
	gates{g.gate}.waitForStore(t, false)
	if s := state[control.Status](g, "status").Store; s.Up || s.Mode == nil || *s.Mode != "local" || s.Eviction != nil {
		t.Errorf("store: %+v", s)
	}
	if page := state[control.LimitPage](g, "limits"); !page.Stale || len(page.Data) != 1 || page.Data[0].Used != nil || page.Data[0].Remaining.String() != "4" {
		t.Errorf("limits: %+v", page)
	}
	if out, errOut, code := pinegate(t, "limits", "--address", g.admin); code != 0 || !strings.Contains(errOut, "unavailable") || !strings.Contains(out, "5 requests/day") {
		t.Errorf("%d\n%s%s", code, out, errOut)
	}
	if out, errOut, code := pinegate(t, "doctor", "--address", g.admin); code != 1 || !strings.Contains(out, "SERIOUS  the rate-limit store is unavailable: until it is back limits go by `outage local`") {
		t.Errorf("%d\n%s%s", code, out, errOut)
	}
}

func TestCommandsPrintLimitsAndBackends(t *testing.T) {
	g, _ := startOperated(t, "")
	g.talk(callerKey)
	if a := g.chat(otherKey, "gone", "x"); a.status != http.StatusBadGateway {
		t.Fatal(a.status, a.body)
	}
	out, errOut, code := pinegate(t, "limits", "--address", g.admin)
	words := strings.Join(strings.Fields(out), " ")
	for _, want := range []string{
		"SCOPE ID LIMIT USED HELD LEFT RESETS", "key alice 60 requests/minute burst 10 - - ", "key alice 2 usd/month 0 0.00",
		"team red 8 concurrent 1 - 7 -", "model gpt-* 1,000,000 tokens/day 0 ", "backend gpu 100 requests/second - - ",
	} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if code != 0 || errOut != "" || strings.Count(out, "\n") != 7 {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}
	var list struct{ Data []control.Limit }
	out, errOut, code = pinegate(t, "limits", "--address", g.admin, "--team", "red", "--backend", "gpu,dead", "--json")
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 0 || len(list.Data) != 2 || list.Data[0].ID != "red" || list.Data[1].ID != "gpu" {
		t.Errorf("exit status %d\n%s%s%v", code, out, errOut, err)
	}
	if out, _, code := pinegate(t, "limits", "--address", g.admin, "--key", "nobody"); code != 0 || !strings.Contains(out, "No such limit is set") {
		t.Errorf("exit status %d\n%s", code, out)
	}

	out, errOut, code = pinegate(t, "backends", "--address", g.admin)
	if lines := strings.Split(out, "\n"); code != 0 || errOut != "" || len(lines) != 4 ||
		!strings.HasPrefix(lines[1], "gpu   openai  ") || !strings.Contains(lines[1], "1/1") || !strings.Contains(lines[1], "0/3") || !strings.HasPrefix(lines[2], "dead  openai  down") {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}
	var backends control.BackendList
	out, _, code = pinegate(t, "backends", "--address", g.admin, "--json")
	if err := json.Unmarshal([]byte(out), &backends); err != nil || code != 0 || len(backends.Data) != 2 {
		t.Errorf("exit status %d\n%s%v", code, out, err)
	}

	for _, command := range []string{"limits", "backends", "doctor"} {
		if out, errOut, code := pinegate(t, command, "--address", "127.0.0.1:1"); code != 1 || out != "" || !strings.Contains(errOut, "start Caddy, or say where its admin endpoint is") {
			t.Errorf("%s: exit status %d\n%s%s", command, code, out, errOut)
		}
	}
}

func TestTheDoctorLooksAtWhatRunsElseAtTheFile(t *testing.T) {
	g := newOperated(t)
	healthy := strings.Replace(g.caddyfile("shutdown_delay 1s\nservers {\ntimeouts {\nread_header 10s\nread_body 2m\nidle 5m\n}\n}",
		"key alice {env.CALLER_KEY}\nlimit 60 requests/minute\nbackend demo {\napi echo\n}"), "\tdebug\n", "", 1)
	g.start(healthy)
	if out, errOut, code := pinegate(t, "doctor", "--address", g.admin); code != 0 || out != "The gate that runs is as it should be.\n" {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}
	unfiltered := strings.Replace(healthy, "request>headers>Api-Key delete", "", 1)
	if status := g.reload(unfiltered); status != http.StatusOK {
		t.Fatal(status)
	}
	var found struct {
		Running  bool
		Findings []struct {
			Serious  bool
			What, Do string
		}
	}
	out, errOut, code := pinegate(t, "doctor", "--config", g.dir+"/Caddyfile", "--json")
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != 1 || !found.Running || len(found.Findings) != 1 || !found.Findings[0].Serious ||
		!strings.Contains(found.Findings[0].What, "Api-Key") || found.Findings[0].Do == "" || !strings.Contains(errOut, "one finding is serious") {
		t.Errorf("exit status %d: %v\n%s%s", code, err, out, errOut)
	}
	g.Stop(syscall.SIGTERM)
	if out, errOut, code := pinegate(t, "doctor", "--config", g.dir+"/Caddyfile"); code != 0 || out != "The configuration (no gate runs) is as it should be.\n" {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}
}
