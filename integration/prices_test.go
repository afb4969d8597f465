package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// costOf asks for what a model cost in all, as the JSON number stands there.
func (g *gate) costOf(model string) string {
	g.t.Helper()
	a := g.do("GET", "/v1/usage?models[]="+model, adminKey, "")
	if a.status != http.StatusOK {
		g.t.Fatalf("usage: %d %s", a.status, a.body)
	}
	var page struct {
		Data []struct {
			Results []struct {
				Cost json.RawMessage `json:"cost_usd"`
			}
		}
	}
	if err := json.Unmarshal([]byte(a.body), &page); err != nil {
		g.t.Fatal(err)
	}
	for _, bucket := range page.Data {
		for _, r := range bucket.Results {
			return string(r.Cost)
		}
	}
	return "nothing"
}

func TestCostsGoByTheModelBlockThenTheBackendThenThePriceFiles(t *testing.T) {
	usage := map[string]string{
		"long":     `"usage":{"prompt_tokens":200001,"completion_tokens":10,"total_tokens":200011}`,
		"cached":   `"usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":4}}`,
		"says":     `"usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"cost":1.2345e-05}`,
		"absurdly": `"usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"cost":-1}`,
	}
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		tokens := `"usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010}`
		if special := usage[r.Header.Get("X-Case")]; special != "" {
			tokens = special
		}
		answers(200, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],`+tokens+`}`)(w, r)
	})
	g := newGate(t)
	first, second := filepath.Join(g.dir, "prices.json"), filepath.Join(g.dir, "ours.json")
	write := func(path, content string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first, `{"listed": {"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "cache_read_input_token_cost": 7.5e-08,
		"output_cost_per_reasoning_token": 1e-06, "input_cost_per_token_above_200k_tokens": 3e-07},
		"overridden": {"input_cost_per_token": 0.9}, "mock/there": {"input_cost_per_token": 1e-06}, "blocked": {"input_cost_per_token": 1e-06}}`)
	write(second, `{"overridden": {"input_cost_per_token": 1e-09}}`)
	config := func(prices string) string {
		return g.caddyfile("pinegate {\nprices "+prices+"\n}\nmetrics", fmt.Sprintf(`
			admin_key {env.ADMIN_KEY}
			key alice {env.CALLER_KEY}
			key bob {env.OTHER_KEY} {
				limit 5 usd/day
			}
			model blocked {
				price input 2
			}
			dial_allow loopback
			backend mock %s {
				api_key {env.BACKEND_KEY}
				pass_header X-Case
				rename fast listed
			}`, b.URL))
	}
	g.start(config(first + " " + second))

	for _, c := range []struct{ model, usage, cost string }{
		{"listed", "", "0.000156"},
		{"fast", "", "0.000156"},
		{"overridden", "", "0.000001"},
		{"there", "", "0.001"},
		{"vendor/listed", "cached", "0.0001276"}, // 600·0.15 + 400·0.075 + 6·0.6 + 4·1 µUSD
		{"blocked", "", "0.002"},
		{"unknown", "", "null"},
	} {
		if a := g.do("POST", "/v1/chat/completions", callerKey, chatBody(c.model, "x"), "X-Case", c.usage); a.status != 200 {
			t.Fatalf("%s: %d %s", c.model, a.status, a.body)
		}
		if got := g.costOf(c.model); got != c.cost {
			t.Errorf("%s cost %s, want %s", c.model, got, c.cost)
		}
	}
	sum := func(what, model, usage, want string) {
		t.Helper()
		if a := g.do("POST", "/v1/chat/completions", callerKey, chatBody(model, "x"), "X-Case", usage); a.status != 200 {
			t.Fatalf("%s: %d %s", what, a.status, a.body)
		}
		if got := g.costOf(model); got != want {
			t.Errorf("%s: cost %s in all, want %s", what, got, want)
		}
	}
	sum("a block counts before what the backend says", "blocked", "says", "0.004")
	sum("a negative cost is no refund", "listed", "absurdly", "0.000312")
	sum("what the backend says counts before the files", "there", "says", "0.001012345")
	sum("what the backend says counts without a price", "unknown", "says", "0.000012345")
	sum("a long request", "listed", "long", "0.0603183") // 200001·0.3 + 10·0.6 µUSD more

	if a := g.do("POST", "/v1/chat/completions", otherKey, chatBody("unknown", "x")); a.status != 403 || !strings.Contains(a.body, "model_not_priced") {
		t.Errorf("a budget let a model without a price pass: %d %s", a.status, a.body)
	}
	if a := g.do("POST", "/v1/chat/completions", otherKey, chatBody("listed", "x")); a.status != 200 {
		t.Errorf("a budget refused a listed model: %d %s", a.status, a.body)
	}
	res, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	metrics, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(metrics), `pinegate_unpriced_total{backend="mock",model="other"} 1`) {
		t.Error("the request without a price is not counted")
	}

	write(second, `{"overridden": {"input_cost_per_token": 1e-`) // half written
	eventually(t, "the broken file is logged", func() bool { return strings.Contains(g.Logs.String(), "prices were not changed") })
	sum("a broken file changes nothing", "overridden", "", "0.000002")
	write(second, `{"overridden": {"input_cost_per_token": 1e-08}}`)
	eventually(t, "the new prices are read", func() bool { return strings.Contains(g.Logs.String(), "prices changed") })
	sum("a new price counts from then on", "overridden", "", "0.000012")

	write(first+".bad", `{"m": {"input_cost_per_token": "free"}}`)
	if status := g.reload(config(first + ".bad")); status == 200 {
		t.Error("a price file with nonsense was taken over")
	}
	eventually(t, "the model and the field are named", func() bool {
		return strings.Contains(g.Logs.String(), `model \"m\": input_cost_per_token: \"free\"`)
	})
}

func TestWhatIsNotTextIsChargedAtItsOwnRates(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/audio/transcriptions") {
			answers(200, `{"text":"hello","usage":{"type":"duration","seconds":90}}`)(w, r)
			return
		}
		answers(200, `{"id":"c","object":"chat.completion","created":1,"model":"m","service_tier":"`+r.Header.Get("X-Case")+`",`+
			`"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],`+
			`"usage":{"prompt_tokens":1000,"completion_tokens":100,"total_tokens":1100,"prompt_tokens_details":{"audio_tokens":400},"completion_tokens_details":{"audio_tokens":50}}}`)(w, r)
	})
	g := newGate(t)
	prices := filepath.Join(g.dir, "prices.json")
	if err := os.WriteFile(prices, []byte(`{
		"hears": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "input_cost_per_audio_token": 1e-05, "output_cost_per_audio_token": 2e-05,
			"input_cost_per_token_priority": 2e-06, "output_cost_per_token_priority": 4e-06},
		"deaf": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06},
		"whisper-1": {"input_cost_per_second": 0.0001}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	g.start(g.caddyfile("pinegate {\nprices "+prices+"\n}", fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		key bob {env.OTHER_KEY} {
			limit 0.05 usd/day
		}
		dial_allow loopback
		backend mock %s {
			api_key {env.BACKEND_KEY}
			pass_header X-Case
		}`, b.URL)))
	chat := func(key, model, tier string) answer {
		t.Helper()
		return g.do("POST", "/v1/chat/completions", key, chatBody(model, "x"), "X-Case", tier)
	}
	transcribe := func(key string, bytes int) answer {
		t.Helper()
		body := "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.mp3\"\r\n" +
			"Content-Type: audio/mpeg\r\n\r\n" + strings.Repeat("x", bytes) + "\r\n--b--\r\n"
		return g.do("POST", "/v1/audio/transcriptions", key, body, "Content-Type", "multipart/form-data; boundary=b")
	}
	want := func(a answer, model, cost string) {
		t.Helper()
		if a.status != 200 {
			t.Fatalf("%s: %d %s", model, a.status, a.body)
		}
		if got := g.costOf(model); got != cost {
			t.Errorf("%s cost %s in all, want %s", model, got, cost)
		}
	}
	want(chat(callerKey, "hears", "default"), "hears", "0.0057")  // 600·1 + 400·10 + 50·2 + 50·20 µUSD
	want(chat(callerKey, "hears", "priority"), "hears", "0.0121") // 600·2 + 400·10 + 50·4 + 50·20 more: no less than the standard tier
	want(chat(callerKey, "deaf", "default"), "deaf", "null")
	want(transcribe(callerKey, 1000), "whisper-1", "0.009")

	// A budget does not let what has no price pass for nothing.
	if a := transcribe(otherKey, 2_000_000); a.status != 429 { // up to 1,000 seconds: 0.10 USD
		t.Errorf("a budget of 0.05 USD admitted 1,000 seconds: %d %s", a.status, a.body)
	}
	if a := g.do("POST", "/v1/chat/completions", otherKey, strings.Replace(chatBody("deaf", "x"), "{", `{"service_tier":"priority",`, 1)); a.status != 403 || !strings.Contains(a.body, "model_not_priced") {
		t.Errorf("a tier without a price passed a budget: %d %s", a.status, a.body)
	}
	if a := chat(otherKey, "whisper-1", ""); a.status != 403 {
		t.Errorf("a model without a price of tokens passed a budget: %d %s", a.status, a.body)
	}
	if a := chat(otherKey, "deaf", ""); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	key := g.do("GET", "/v1/key", otherKey, "")
	if !strings.Contains(key.body, `"remaining":0.0487`) { // 1,000·1 + 100·2 µUSD of 0.05, and what 1 nano-USD more rounds to
		t.Errorf("the budget did not take what the answer came to at least: %s", key.body)
	}
}
