package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// keyInfo is what `GET /v1/key` answers.
type keyInfo struct {
	ID     string   `json:"id"`
	Team   *string  `json:"team"`
	Models []string `json:"models"`
	Limits []struct {
		Unit, Window, Scope string
		Limit, Remaining    float64
	} `json:"limits"`
	Usage map[string]struct {
		Requests int      `json:"requests"`
		Input    int      `json:"input_tokens"`
		Output   int      `json:"output_tokens"`
		Cost     *float64 `json:"cost_usd"`
	} `json:"usage"`
}

// limit returns a limit by its unit and window, the key's own before its
// team's; zero where there is none.
func (k keyInfo) limit(unit, window string) (found struct{ Limit, Remaining float64 }) {
	for _, l := range k.Limits {
		if l.Unit == unit && l.Window == window {
			found.Limit, found.Remaining = l.Limit, l.Remaining
			break
		}
	}
	return found
}

func (g *gate) keyInfo(key string) keyInfo {
	g.t.Helper()
	a := g.do("GET", "/v1/key", key, "")
	var info struct{ Data keyInfo }
	if err := json.Unmarshal([]byte(a.body), &info); a.status != 200 || err != nil {
		g.t.Fatalf("key: %d %s (%v)", a.status, a.body, err)
	}
	return info.Data
}

func TestModelsAreListedByWhatTheKeyMayUse(t *testing.T) {
	b := newBackend(t, answers(200, "{}"))
	g := startGate(t, `
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key bob {env.OTHER_KEY} {
			models gpt-* org/*
			team small
		}
		key nobody key-of-nobody-0000000001 {
			models none
		}
		team small {
			models gpt-5-mini org/llama:8b
		}
		dial_allow loopback
		backend openai `+b.URL+` {
			models gpt-5 gpt-5-mini org/llama:8b hidden-*
			rename gpt-5 gpt-5-2026
		}
		backend claude `+b.URL+` {
			api anthropic
			models claude-9
		}
		backend demo {
			api echo
		}`)

	listed := func(key string, header ...string) (ids []string, body string) {
		t.Helper()
		a := g.do("GET", "/v1/models", key, "", header...)
		var list struct {
			Object string
			Data   []struct{ ID string }
		}
		if err := json.Unmarshal([]byte(a.body), &list); a.status != 200 || err != nil {
			t.Fatalf("models: %d %s", a.status, a.body)
		}
		for _, m := range list.Data {
			ids = append(ids, m.ID)
		}
		return ids, a.body
	}
	if ids, body := listed(callerKey); !slices.Equal(ids, []string{"gpt-5", "gpt-5-mini", "org/llama:8b", "claude-9", "echo"}) ||
		!strings.HasPrefix(body, `{"object":"list","data":[{"id":"gpt-5","object":"model","created":0,"owned_by":"openai"},`) {
		t.Errorf("alice sees %s", body)
	}
	if ids, body := listed(otherKey); !slices.Equal(ids, []string{"gpt-5-mini", "org/llama:8b"}) {
		t.Errorf("bob sees %s", body)
	}
	const inAnthropic = `{"data":[{"type":"model","id":"gpt-5-mini","display_name":"gpt-5-mini","created_at":"1970-01-01T00:00:00Z"},` +
		`{"type":"model","id":"org/llama:8b","display_name":"org/llama:8b","created_at":"1970-01-01T00:00:00Z"}],"has_more":false,"first_id":"gpt-5-mini","last_id":"org/llama:8b"}` + "\n"
	if _, body := listed(otherKey, "Anthropic-Version", "2023-06-01"); body != inAnthropic {
		t.Errorf("bob's Anthropic SDK sees %s", body)
	}
	if ids, body := listed("key-of-nobody-0000000001"); len(ids) != 0 || body != `{"object":"list","data":[]}`+"\n" {
		t.Errorf("nobody sees %s", body)
	}

	for _, c := range []struct {
		key, id string
		status  int
		body    string
	}{
		{callerKey, "gpt-5", 200, `{"id":"gpt-5","object":"model","created":0,"owned_by":"openai"}`},
		{otherKey, "org/llama:8b", 200, `{"id":"org/llama:8b","object":"model","created":0,"owned_by":"openai"}`},
		{otherKey, "gpt-5", 404, `{"error":{"message":"The model does not exist.","type":"invalid_request_error","param":"model","code":"model_not_found"}}`},
		{otherKey, "unknown", 404, `{"error":{"message":"The model does not exist.","type":"invalid_request_error","param":"model","code":"model_not_found"}}`},
	} {
		if a := g.do("GET", "/v1/models/"+c.id, c.key, ""); a.status != c.status || strings.TrimSpace(a.body) != c.body {
			t.Errorf("model %s: %d %s, want %d %s", c.id, a.status, a.body, c.status, c.body)
		}
	}
	if len(b.seen()) != 0 {
		t.Error("a list of models asked a backend")
	}
}

func TestKeyTellsItsOwnLimitsAndUsage(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 600, 400)))
	g := startGate(t, `
		key alice {env.CALLER_KEY} {
			team red
			models gpt-*
			limit 10 requests/hour
			limit 5 usd/month
			expires 2999-12-31
		}
		key bob {env.OTHER_KEY}
		team red {
			limit 8 concurrent
		}
		limit 9 requests/hour
		limit 100k tokens/day
		model gpt-* {
			price input 1000 output 2000
		}
		dial_allow loopback
		backend mock `+b.URL)
	for range 2 {
		if a := g.chat(callerKey, "gpt-5", "x", `"max_tokens":10`); a.status != 200 {
			t.Fatalf("got %d %s", a.status, a.body)
		}
	}
	info := g.keyInfo(callerKey)
	if info.ID != "alice" || info.Team == nil || *info.Team != "red" || !slices.Equal(info.Models, []string{"gpt-*"}) {
		t.Errorf("got %+v", info)
	}
	for _, c := range []struct {
		unit, window     string
		limit, remaining float64
	}{
		{"requests", "hour", 10, 8}, {"usd", "month", 5, 2.2}, {"concurrent", "", 8, 8}, {"tokens", "day", 100_000, 98_000},
	} {
		if got := info.limit(c.unit, c.window); got.Limit != c.limit || got.Remaining != c.remaining {
			t.Errorf("%s/%s: %+v, want %v of %v", c.unit, c.window, got, c.remaining, c.limit)
		}
	}
	for _, window := range []string{"day", "month"} {
		if used := info.Usage[window]; used.Requests != 2 || used.Input != 1200 || used.Output != 800 || used.Cost == nil || *used.Cost != 2.8 {
			t.Errorf("usage of the %s: %+v", window, used)
		}
	}
	if a := g.do("GET", "/v1/key", callerKey, ""); !strings.Contains(a.body, `"expires_at":"3000-01-01T00:00:00Z"`) || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %v %s", a.header, a.body)
	}
	if other := g.keyInfo(otherKey); other.ID != "bob" || other.limit("requests", "hour").Remaining != 9 || other.Usage["day"].Requests != 0 || other.Usage["day"].Cost != nil {
		t.Errorf("bob sees %+v", other)
	}
}

func TestProbesNeedNoKeyAndAnythingElseIsUnknown(t *testing.T) {
	b := newBackend(t, answers(200, "{}"))
	g := startGate(t, bothDialects(b, ""))
	for _, c := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", "/readyz", 200, "ok\n"},
		{"HEAD", "/", 200, ""},
		{"GET", "/", 200, "pine-gate"},
		{"OPTIONS", "/v1/chat/completions", 204, ""},
		{"GET", "/v1/chat/completions", 405, "serves POST /v1/chat/completions"},
		{"POST", "/v1/models", 405, "serves GET /v1/models"},
		{"GET", "/v1/files", 404, "unknown_url"},
		{"POST", "/v1/messages/batches", 404, `"type":"not_found_error"`},
		{"POST", "/metrics", 404, "unknown_url"},
		{"GET", "/v1/models", 401, "API key"},
	} {
		a := g.do(c.method, c.path, "", "")
		if a.status != c.status || !strings.Contains(a.body, c.body) {
			t.Errorf("%s %s: %d %s, want %d with %s", c.method, c.path, a.status, a.body, c.status, c.body)
		}
		if c.status == 405 && a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
	if len(b.seen()) != 0 {
		t.Error("the backend was sent something")
	}
}
