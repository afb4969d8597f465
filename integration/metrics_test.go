package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// series returns the gate's own metrics as Caddy's admin endpoint shows them,
// by name and labels.
func (g *gate) series() map[string]float64 {
	g.t.Helper()
	res, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	all := make(map[string]float64)
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		name, text, ok := strings.Cut(lines.Text(), " ")
		if !ok || !strings.HasPrefix(name, "pinegate_") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			g.t.Fatalf("the metric %s: %v", lines.Text(), err)
		}
		all[name] = value
	}
	return all
}

// counted are the series but for those of times.
func (g *gate) counted() map[string]float64 {
	all := g.series()
	maps.DeleteFunc(all, func(name string, _ float64) bool {
		name, _, _ = strings.Cut(name, "{")
		return strings.HasSuffix(name, "_bucket") || strings.HasSuffix(name, "_sum")
	})
	return all
}

// checkSeries compares the series wanted with those that there are of the same
// metrics.
func checkSeries(t *testing.T, got, want map[string]float64) {
	t.Helper()
	metric := func(series string) string { name, _, _ := strings.Cut(series, "{"); return name }
	metrics := make(map[string]bool)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		metrics[metric(name)] = true
		if value, ok := got[name]; !ok || math.Abs(value-want[name]) > 1e-9 {
			t.Errorf("%s is %v, want %v", name, value, want[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[name]; !ok && got[name] != 0 && metrics[metric(name)] {
			t.Errorf("%s is %v and should not be there", name, got[name])
		}
	}
}

// metricsBackend answers chats with parts of every kind, streams two words,
// reports no usage of embeddings and fails where X-Title says so.
func metricsBackend(t *testing.T) *backend {
	plain := byPath(map[string]string{
		"/v1/chat/completions": jsonEndpoints[0].answer[0], // 20 in, 8 of them cached; 10 out, 6 of them reasoning
		"/v1/messages":         jsonEndpoints[5].answer[0], // 1125 in: 25, 100 written, 1000 read; 15 out
		"/v1/embeddings":       `{"object":"list","data":[]}`,
	})
	return newBackend(t, byTitle(map[string]http.HandlerFunc{
		"":       plain,
		"fail":   refuses(500, "text/html", "oops"),
		"stream": streams(nil, chunk("one "), chunk("two"), usageChunk(4, 3), done),
	}))
}

func TestMetricsTellWhatHappened(t *testing.T) {
	b := metricsBackend(t)
	g := startGate(t, bothDialects(b,
		keyWith("narrow", "models gpt-*", "limit 1 requests/hour")+
			keyWith("teamed", "team red")+`
		team red {
			limit 30 tokens/month
		}
		model gpt-5 {
			price input 1000 output 2000 cached 500
		}
		model claude-* {
			limit 90 concurrent
		}`))
	send := func(path, key, body, title string, status int) {
		t.Helper()
		if a := g.do("POST", path, key, body, "X-Title", title); a.status != status {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.body, status)
		}
	}
	const chat = "/v1/chat/completions"
	send(chat, callerKey, chatBody("gpt-5", "x"), "", 200)
	send(chat, callerKey, chatBody("gpt-5", "x"), "", 200)
	send(chat, callerKey, chatBody("gpt-5", "x", `"stream":true`), "stream", 200)
	send(chat, callerKey, chatBody("gpt-5", "x"), "fail", 500)
	for i := range 5 {
		send(chat, callerKey, chatBody(fmt.Sprintf("made-up-%d", i), "x"), "", 200)
	}
	send("/v1/messages", callerKey, strings.Replace(dialectBodies["/v1/messages"], `"m"`, `"claude-9"`, 1), "", 200)
	send("/v1/embeddings", callerKey, `{"model":"e","input":"x"}`, "", 200)

	send(chat, secretOf("narrow"), chatBody("gpt-5", "x"), "", 200)
	send(chat, secretOf("narrow"), chatBody("gpt-5", "x"), "", 429) // its own rate
	send(chat, secretOf("teamed"), chatBody("gpt-5", "x"), "", 200)
	send(chat, secretOf("teamed"), chatBody("m", "x"), "", 429)                    // its team's quota
	send(chat, secretOf("narrow"), chatBody("m", "x"), "", 403)                    // the model
	send(chat, "no-such-secret-00000000001", chatBody("m", "x"), "", 401)          // the key
	send(chat, "", chatBody("m", "x"), "", 401)                                    // no key
	send(chat, callerKey, `{"model":"m","model":"n"}`, "", 400)                    // the body
	send("/v1/audio/speech/x", callerKey, `{}`, "", 404)                           // the path
	send("/v1/messages", callerKey, strings.Repeat(" ", 33_000_000)+"{}", "", 413) // the size

	eventually(t, "nothing is in flight", func() bool {
		s := g.series()
		return s[`pinegate_inflight_requests{backend="mock"}`] == 0 && s[`pinegate_inflight_requests{backend="claude"}`] == 0
	})
	checkSeries(t, g.counted(), map[string]float64{
		`pinegate_requests_total{backend="mock",endpoint="chat",model="gpt-5",status="200"}`:          5,
		`pinegate_requests_total{backend="mock",endpoint="chat",model="gpt-5",status="500"}`:          1,
		`pinegate_requests_total{backend="mock",endpoint="chat",model="other",status="200"}`:          5,
		`pinegate_requests_total{backend="mock",endpoint="embeddings",model="other",status="200"}`:    1,
		`pinegate_requests_total{backend="claude",endpoint="messages",model="claude-*",status="200"}`: 1,

		`pinegate_tokens_total{backend="mock",model="gpt-5",type="input"}`:            4*20 + 4,
		`pinegate_tokens_total{backend="mock",model="gpt-5",type="cache_read"}`:       4 * 8,
		`pinegate_tokens_total{backend="mock",model="gpt-5",type="output"}`:           4*10 + 3,
		`pinegate_tokens_total{backend="mock",model="gpt-5",type="reasoning"}`:        4 * 6,
		`pinegate_tokens_total{backend="mock",model="other",type="input"}`:            5*20 + 5,
		`pinegate_tokens_total{backend="mock",model="other",type="cache_read"}`:       5 * 8,
		`pinegate_tokens_total{backend="mock",model="other",type="output"}`:           5 * 10,
		`pinegate_tokens_total{backend="mock",model="other",type="reasoning"}`:        5 * 6,
		`pinegate_tokens_total{backend="claude",model="claude-*",type="input"}`:       1125,
		`pinegate_tokens_total{backend="claude",model="claude-*",type="cache_read"}`:  1000,
		`pinegate_tokens_total{backend="claude",model="claude-*",type="cache_write"}`: 100,
		`pinegate_tokens_total{backend="claude",model="claude-*",type="output"}`:      15,

		// 12 fresh and 8 cached tokens for 10, four times, and 4 for 3.
		`pinegate_cost_usd_total{backend="mock",model="gpt-5"}`:        4*(.012+.004+.02) + .004 + .006,
		`pinegate_usage_estimated_total{backend="mock",model="other"}`: 1,

		`pinegate_rejected_total{reason="rate_limit",scope="key"}`:         1,
		`pinegate_rejected_total{reason="quota",scope="team"}`:             1,
		`pinegate_rejected_total{reason="forbidden",scope="key"}`:          1,
		`pinegate_rejected_total{reason="unauthenticated",scope="caller"}`: 2,
		`pinegate_rejected_total{reason="bad_request",scope="caller"}`:     2,
		`pinegate_rejected_total{reason="not_found",scope="caller"}`:       1,

		`pinegate_request_duration_seconds_count{backend="mock",endpoint="chat"}`:          11,
		`pinegate_request_duration_seconds_count{backend="mock",endpoint="embeddings"}`:    1,
		`pinegate_request_duration_seconds_count{backend="claude",endpoint="messages"}`:    1,
		`pinegate_time_to_first_token_seconds_count{backend="mock",endpoint="chat"}`:       10, // not of the failure
		`pinegate_time_to_first_token_seconds_count{backend="mock",endpoint="embeddings"}`: 1,
		`pinegate_time_to_first_token_seconds_count{backend="claude",endpoint="messages"}`: 1,
		`pinegate_inter_token_seconds_count{backend="mock",endpoint="chat"}`:               1, // of the stream
		`pinegate_overhead_seconds_count{endpoint="chat"}`:                                 11,
		`pinegate_overhead_seconds_count{endpoint="embeddings"}`:                           1,
		`pinegate_overhead_seconds_count{endpoint="messages"}`:                             1,
		`pinegate_inflight_requests{backend="mock"}`:                                       0,
		`pinegate_inflight_requests{backend="claude"}`:                                     0,
		`pinegate_backend_up{backend="mock"}`:                                              1,
		`pinegate_backend_up{backend="claude"}`:                                            1,
		`pinegate_store_up{store="file"}`:                                                  1,
	})
}

func TestMetricsPerKeyAndWithoutModels(t *testing.T) {
	b := metricsBackend(t)
	g := newGate(t)
	g.start(g.caddyfile("pinegate {\nmetrics {\nper_key\nhide_models\n}\n}", block(b, "")))
	const unseen = "model-that-nobody-may-see"
	for key, title := range map[string]string{callerKey: "", otherKey: "fail"} {
		g.do("POST", "/v1/chat/completions", key, chatBody(unseen, "x"), "X-Title", title)
	}
	g.do("POST", "/v1/chat/completions", callerKey, chatBody(unseen, "x", `"max_tokens":"all"`))
	checkSeries(t, g.counted(), map[string]float64{
		`pinegate_requests_total{backend="mock",endpoint="chat",key="alice",model="*",status="200"}`: 1,
		`pinegate_requests_total{backend="mock",endpoint="chat",key="bob",model="*",status="500"}`:   1,
		`pinegate_tokens_total{backend="mock",key="alice",model="*",type="input"}`:                   20,
		`pinegate_tokens_total{backend="mock",key="alice",model="*",type="cache_read"}`:              8,
		`pinegate_tokens_total{backend="mock",key="alice",model="*",type="output"}`:                  10,
		`pinegate_tokens_total{backend="mock",key="alice",model="*",type="reasoning"}`:               6,
	})
	eventually(t, "all three are in the access log", func() bool {
		n := 0
		for line := range strings.Lines(g.Logs.String()) {
			if strings.Contains(line, `"msg":"handled request"`) && strings.Contains(line, "/v1/chat/completions") {
				n++
			}
		}
		return n == 3
	})
	if strings.Contains(g.Logs.String(), unseen) {
		t.Error("the log has the model's name")
	}
	if usage := g.usageBy("model"); usage[unseen].Requests != 2 {
		t.Errorf("usage by model: %v", usage)
	}
}

// accessLog returns the access log's entry of a request.
func (g *gate) accessLog(requestID string) (entry map[string]any) {
	g.t.Helper()
	eventually(g.t, "the access log has "+requestID, func() bool {
		for line := range strings.Lines(g.Logs.String()) {
			if !strings.Contains(line, `"msg":"handled request"`) || !strings.Contains(line, requestID) {
				continue
			}
			entry = nil
			if json.Unmarshal([]byte(line), &entry) == nil && entry["request_id"] == requestID {
				return true
			}
		}
		return false
	})
	return entry
}

func TestAccessLogTellsWhatARequestUsed(t *testing.T) {
	b := metricsBackend(t)
	g := startGate(t, bothDialects(b, keyWith("carol", "team red")+"model gpt-* {\nprice input 1000 output 2000 cached 500\n}"))
	for name, c := range map[string]struct {
		path, body, title string
		want              map[string]any
	}{
		"a priced chat": {"/v1/chat/completions", chatBody("gpt-5", "x"), "",
			map[string]any{"model": "gpt-5", "backend": "mock", "input_tokens": 20., "output_tokens": 10., "cost_usd": .036, "outcome": "ok", "status": 200.}},
		"a stream": {"/v1/chat/completions", chatBody("gpt-5", "x", `"stream":true`), "stream",
			map[string]any{"model": "gpt-5", "backend": "mock", "input_tokens": 4., "output_tokens": 3., "cost_usd": .01, "outcome": "ok", "status": 200.}},
		"a failure without a price": {"/v1/chat/completions", chatBody("m", "x"), "fail",
			map[string]any{"model": "m", "backend": "mock", "input_tokens": 0., "output_tokens": 0., "cost_usd": nil, "outcome": "upstream_error", "status": 500.}},
		"messages": {"/v1/messages", dialectBodies["/v1/messages"], "",
			map[string]any{"model": "m", "backend": "claude", "input_tokens": 1125., "output_tokens": 15., "cost_usd": nil, "outcome": "ok", "status": 200.}},
	} {
		t.Run(name, func(t *testing.T) {
			a := g.do("POST", c.path, secretOf("carol"), c.body, "X-Title", c.title, "X-Request-Id", "the callers own")
			entry := g.accessLog(a.header.Get("X-Request-Id"))
			c.want["key"], c.want["team"] = "carol", "red"
			for field, want := range c.want {
				if entry[field] != want {
					t.Errorf("%s is %v, want %v", field, entry[field], want)
				}
			}
			first, _ := entry["time_to_first_token"].(float64)
			whole, _ := entry["duration"].(float64)
			if (first > 0) != (c.title != "fail") || first > whole {
				t.Errorf("the first token after %v s of %v", first, whole)
			}
		})
	}
}
