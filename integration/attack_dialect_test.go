package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Each refusal that needs no other file's set-up, in both dialects. That all
// fields of an envelope are there is looked at for every refusal of these tests.
func TestRefusalsSpeakTheCallersDialect(t *testing.T) {
	backends := map[string]http.HandlerFunc{
		"ok":      answers(200, chatAnswer("hi", 1, 1)),
		"limited": status(429, map[string]string{"Retry-After": "7"}, `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`),
		"full":    status(529, map[string]string{"Retry-After": "7"}, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`),
		"late":    status(504, nil, ""),
		"broken":  status(500, nil, ""),
		"locked":  status(401, nil, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key `+backendKey+`"}}`),
		"unknown": status(404, nil, `{"type":"error","error":{"type":"not_found_error","message":"model: unknown"}}`),
		"strict":  status(400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: Field required"}}`),
		"away":    wire(""),
	}
	var v *target
	handler := byModel(backends, func(*http.Request) string { return v.backend.last(t).body })
	backends["narrow"], backends["small"] = backends["ok"], backends["ok"]
	v = attack(t, setup{answer: handler, gate: `
		max_body 10KB
		backend claude {backend} {
			api anthropic
			api_key {env.BACKEND_KEY}
		}
		model narrow {
			limit 1 requests/hour
		}
		model small {
			limit 10 tokens/hour
		}
		key bob {env.OTHER_KEY} {
			models ok
			endpoints embeddings
		}`})
	large := chatBody("ok", strings.Repeat("x", 20_000))
	for _, c := range []struct {
		name, key, body, openAI, anthropic string
		header                             []string
	}{
		{"bad JSON", callerKey, `{`, badRequest + "null", "400 invalid_request_error", nil},
		{"no key", "", `{}`, noKey, "401 authentication_error", nil},
		{"bad key", "sk-000000000000000000000000", `{}`, invalidKey, "401 authentication_error", nil},
		{"endpoint", otherKey, chatBody("ok", "x"), "403 permission_error insufficient_permissions null", "403 permission_error", nil},
		{"too large", callerKey, large, "413 invalid_request_error request_too_large null", "413 request_too_large", nil},
		{"type", callerKey, `{}`, "415 invalid_request_error null null", "415 invalid_request_error", []string{"Content-Type", "text/xml"}},
		{"upgrade", callerKey, `{}`, badRequest + "null", "400 invalid_request_error", []string{"Connection", "Upgrade", "Upgrade", "websocket"}},
		{"rate", callerKey, chatBody("narrow", "x"), "429 requests rate_limit_exceeded null", "429 rate_limit_error", nil},
		{"larger than the limit", callerKey, chatBody("small", strings.Repeat("x", 1000)), "429 tokens rate_limit_exceeded null", "429 rate_limit_error", nil},
		{"backend's limit", callerKey, chatBody("limited", "x"), "429 rate_limit_error rate_limit_exceeded null", "429 rate_limit_error", nil},
		{"backend overloaded", callerKey, chatBody("full", "x"), "503 service_unavailable_error server_is_overloaded null", "529 overloaded_error", nil},
		{"backend late", callerKey, chatBody("late", "x"), "504 server_error upstream_timeout null", "504 timeout_error", nil},
		{"backend broken", callerKey, chatBody("broken", "x"), internalError, "500 api_error", nil},
		{"backend refuses our key", callerKey, chatBody("locked", "x"), upstreamError, "502 api_error", nil},
		{"backend does not know the model", callerKey, chatBody("unknown", "x"), "404 not_found_error null null", "404 not_found_error", nil},
		{"backend refuses the request", callerKey, chatBody("strict", "x"), "400 invalid_request_error null null", "400 invalid_request_error", nil},
		{"backend away", callerKey, chatBody("away", "x"), upstreamError, "502 api_error", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.name == "rate" { // once is allowed
				v.ask("POST", "/v1/chat/completions", c.key, c.body)
			}
			for path, want := range map[string]string{"/v1/chat/completions": c.openAI, "/v1/messages": "anthropic " + c.anthropic} {
				a := v.ask("POST", path, c.key, c.body, c.header...)
				if got := refusal(t, a); got != want {
					t.Errorf("%s: %s, want %s: %s", path, got, want, a.body)
				}
				switch wait := a.header.Get("Retry-After"); {
				case c.name == "larger than the limit":
					if wait != "" || a.header.Get("X-Should-Retry") != "false" || !strings.Contains(a.body, "Request too large") {
						t.Errorf("%s: %v %s", path, a.header, a.body)
					}
				case (a.status == 429 || a.status == 503 || a.status == 529) != (wait != ""):
					t.Errorf("%s: status %d with Retry-After %q", path, a.status, wait)
				}
			}
		})
	}
	t.Run("model that nobody serves", func(t *testing.T) {
		v := attack(t, setup{backend: "models ok"})
		v.unseen(t, func() {
			got := refusal(t, v.ask("POST", "/v1/chat/completions", callerKey, chatBody("other", "x")))
			if got != "404 invalid_request_error model_not_found model" {
				t.Error(got)
			}
		})
	})
}

// What a request may cost is reserved from the largest of what it says.
func TestReservationsAreOfTheLargestClaim(t *testing.T) {
	const capacity = 1_000_000_000
	v := attack(t, setup{gate: fmt.Sprintf("limit %d tokens/second\nreserve_output_tokens 200000", capacity)})
	reserved := func(path, body string) int {
		t.Helper()
		a := v.ask("POST", path, callerKey, body)
		var remaining int
		if _, err := fmt.Sscan(a.header.Get("X-Ratelimit-Remaining-Tokens"), &remaining); err != nil || a.status != 200 {
			t.Fatalf("%s: %d %v %s", body, a.status, a.header, a.body)
		}
		return capacity - remaining
	}
	chat := func(extra ...string) int { return reserved("/v1/chat/completions", chatBody("m", "x", extra...)) }
	input := chat(`"max_tokens":1`) - 1
	if input < 5 || input > 100 {
		t.Fatalf("the input is reserved as %d", input)
	}
	for name, c := range map[string]struct{ got, want int }{
		"the larger cap":         {chat(`"max_tokens":1`, `"max_completion_tokens":100000`), 100_000},
		"the larger cap, first":  {chat(`"max_completion_tokens":100000`, `"max_tokens":1`), 100_000},
		"no cap":                 {chat(), 200_000},
		"a null cap":             {chat(`"max_tokens":null`), 200_000},
		"a cap beyond an answer": {chat(`"max_tokens":9007199254740992`), 200_000},
		"n answers":              {chat(`"max_tokens":1000`, `"n":100`), 100_000},
		"a null n":               {chat(`"max_tokens":1000`, `"n":null`), 1000},
		"best_of":                {chat(`"max_tokens":1000`, `"n":2`, `"best_of":20`), 20_000},
	} {
		if d := c.got - c.want - input; d < -1 || d > 60 { // the names of the fields count as no more than themselves
			t.Errorf("%s: reserved %d, want %d and the input", name, c.got, c.want)
		}
	}
	prompts := strings.TrimSuffix(strings.Repeat(`"x",`, 1000), ",")
	if got := reserved("/v1/completions", `{"model":"m","max_tokens":10,"prompt":[`+prompts+`]}`); got < 10_000 || got > 20_000 {
		t.Errorf("a thousand prompts: reserved %d, want 10 for each and the input", got)
	}
	if got := reserved("/v1/embeddings", `{"model":"m","max_tokens":100000,"input":"x"}`); got > 100 {
		t.Errorf("embeddings: reserved %d, want the input", got)
	}
}
