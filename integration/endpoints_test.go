package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// sums is what the usage says of a group.
type sums struct {
	Requests   int `json:"requests"`
	Errors     int `json:"errors"`
	Input      int `json:"input_tokens"`
	Cached     int `json:"input_cached_tokens"`
	CacheWrite int `json:"input_cache_write_tokens"`
	Output     int `json:"output_tokens"`
	Reasoning  int `json:"reasoning_tokens"`
	Estimated  int `json:"estimated_requests"`
}

// add returns s and n times o.
func (s sums) add(n int, o sums) sums {
	return sums{s.Requests + n*o.Requests, s.Errors + n*o.Errors, s.Input + n*o.Input, s.Cached + n*o.Cached,
		s.CacheWrite + n*o.CacheWrite, s.Output + n*o.Output, s.Reasoning + n*o.Reasoning, s.Estimated + n*o.Estimated}
}

// usageBy returns the usage of all keys by the values of a dimension.
func (g *gate) usageBy(dimension string) map[string]sums {
	g.t.Helper()
	a := g.do("GET", "/v1/usage?group_by[]="+dimension, adminKey, "")
	if a.status != http.StatusOK {
		g.t.Fatalf("usage: %d %s", a.status, a.body)
	}
	var page struct {
		Data []struct{ Results []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(a.body), &page); err != nil {
		g.t.Fatal(err)
	}
	all := make(map[string]sums)
	for _, bucket := range page.Data {
		for _, raw := range bucket.Results {
			var s sums
			var labels map[string]any
			if json.Unmarshal(raw, &s) != nil || json.Unmarshal(raw, &labels) != nil {
				g.t.Fatalf("usage result %s", raw)
			}
			name, _ := labels[dimension].(string)
			all[name] = all[name].add(1, s)
		}
	}
	return all
}

// byTitle makes a backend that does what a request's X-Title, which callers may
// send through the gate, names.
func byTitle(scripts map[string]http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		script, ok := scripts[r.Header.Get("X-Title")]
		if !ok {
			http.Error(w, "no such script", http.StatusTeapot)
			return
		}
		script(w, r)
	}
}

// byPath makes a backend that answers each path with JSON of its own.
func byPath(bodies map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := bodies[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		answers(200, body)(w, r)
	}
}

// says is a script of one answer of any type.
func says(contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write([]byte(body)) // the gate may be gone
	}
}

// event is one of a stream whose events have names.
func event(name, data string) string { return fmt.Sprintf("event: %s\ndata: %s\n\n", name, data) }

// endpointCase is a request that a backend answers. Where bodies hold the model
// "public", the backend must see "upstream" and everything else as it was.
type endpointCase struct {
	name, path, label string
	contentType, body string
	answerType        string
	answer            []string // the events of a stream, else one
	used              sums     // Requests is set by the test
}

const jsonType, streamType = "application/json", "text/event-stream"

var responsesStream = []string{
	event("response.created", `{"type":"response.created","sequence_number":0,"response":{"id":"resp_9","model":"real","status":"in_progress","output":[],"usage":null}}`),
	event("response.output_text.delta", `{"type":"response.output_text.delta","sequence_number":1,"item_id":"i","output_index":0,"content_index":0,"delta":"hi"}`),
	event("response.completed", `{"type":"response.completed","sequence_number":2,"response":{"id":"resp_9","model":"real","status":"completed","output":[],"usage":{"input_tokens":31,"input_tokens_details":{"cached_tokens":5},"output_tokens":17,"output_tokens_details":{"reasoning_tokens":9},"total_tokens":48}}}`),
}

var messagesStream = []string{
	event("message_start", `{"type":"message_start","message":{"id":"msg_2","type":"message","role":"assistant","model":"real","content":[],"stop_reason":null,"usage":{"input_tokens":10,"cache_creation_input_tokens":300,"cache_read_input_tokens":2000,"output_tokens":1}}}`),
	event("content_block_start", `{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`),
	event("ping", `{"type":"ping"}`),
	event("content_block_delta", `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}`),
	event("content_block_stop", `{"type":"content_block_stop","index":0}`),
	event("message_delta", `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":12}}`),
	event("message_stop", `{"type":"message_stop"}`),
}

// The estimates are those of the wire package: a quarter of the prompt's bytes
// and 4 a message.
var jsonEndpoints = []endpointCase{
	{"chat", "/chat/completions", "chat", jsonType,
		`{"model":"public","messages":[{"role":"user","content":"hi"}],"seed":1e1, "x":{"model":"public"}}`, jsonType,
		[]string{`{"id":"c","model":"real","choices":[{"index":0,"message":{"role":"assistant","content":"a"}}],"usage":{"prompt_tokens":20,"completion_tokens":10,"total_tokens":30,"prompt_tokens_details":{"cached_tokens":8},"completion_tokens_details":{"reasoning_tokens":6}}}`},
		sums{Input: 20, Cached: 8, Output: 10, Reasoning: 6}},
	{"completions", "/completions", "completions", jsonType,
		`{"model":"public","prompt":"once","max_tokens":5}`, jsonType,
		[]string{`{"id":"c","model":"real","choices":[{"index":0,"text":"a"}],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}`},
		sums{Input: 3, Output: 5}},
	{"embeddings", "/embeddings", "embeddings", jsonType,
		`{"model":"public","input":["a","b"]}`, jsonType,
		[]string{`{"object":"list","model":"real","data":[{"object":"embedding","index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":7,"total_tokens":7}}`},
		sums{Input: 7}},
	{"responses", "/responses", "responses", jsonType,
		`{"model":"public","input":"hi","store":true}`, jsonType,
		[]string{`{"id":"resp_1","object":"response","model":"real","status":"completed","error":null,"output":[{"type":"message","content":[{"type":"output_text","text":"a"}]}],"usage":{"input_tokens":36,"input_tokens_details":{"cached_tokens":4},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":123}}`},
		sums{Input: 36, Cached: 4, Output: 87, Reasoning: 64}},
	{"responses, streamed", "/responses", "responses", jsonType,
		`{"model":"public","input":"hi","stream":true}`, streamType, responsesStream,
		sums{Input: 31, Cached: 5, Output: 17, Reasoning: 9}},
	{"messages", "/messages", "messages", jsonType,
		`{"model":"public","max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`, jsonType,
		[]string{`{"id":"msg_1","type":"message","role":"assistant","model":"real","content":[{"type":"text","text":"a"}],"stop_reason":"end_turn","usage":{"input_tokens":25,"cache_creation_input_tokens":100,"cache_read_input_tokens":1000,"output_tokens":15}}`},
		sums{Input: 1125, Cached: 1000, CacheWrite: 100, Output: 15}},
	{"messages, streamed", "/messages", "messages", jsonType,
		`{"model":"public","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, streamType, messagesStream,
		sums{Input: 2310, Cached: 2000, CacheWrite: 300, Output: 12}},
	{"count_tokens", "/messages/count_tokens", "count_tokens", jsonType,
		`{"model":"public","messages":[{"role":"user","content":"hi"}]}`, jsonType, []string{`{"input_tokens":14}`},
		sums{}}, // to count is free
	{"input_tokens", "/responses/input_tokens", "input_tokens", jsonType,
		`{"model":"public","input":"hi"}`, jsonType, []string{`{"object":"response.input_tokens","input_tokens":14}`},
		sums{}},
	{"compact", "/responses/compact", "compact", jsonType,
		`{"model":"public","input":[{"role":"user","content":"hi"}]}`, jsonType,
		[]string{`{"id":"resp_2","object":"response.compaction","created_at":1,"output":[{"type":"compaction","id":"cmp_1","encrypted_content":"AAAA"}],"usage":{"input_tokens":139,"input_tokens_details":{"cached_tokens":4},"output_tokens":438,"output_tokens_details":{"reasoning_tokens":64},"total_tokens":577}}`},
		sums{Input: 139, Cached: 4, Output: 438, Reasoning: 64}},
	{"image generations", "/images/generations", "image_generations", jsonType,
		`{"model":"public","prompt":"a cat","n":2}`, jsonType,
		[]string{`{"created":1,"data":[{"b64_json":"AAAA"}],"usage":{"input_tokens":50,"output_tokens":4000,"total_tokens":4050,"input_tokens_details":{"text_tokens":50,"image_tokens":0}}}`},
		sums{Input: 50, Output: 4000}},
	{"image edits as JSON", "/images/edits", "image_edits", jsonType,
		`{"model":"public","prompt":"a hat","images":[{"image_url":"https://images.example/1"}]}`, jsonType,
		[]string{`{"created":1,"data":[],"usage":{"input_tokens":60,"output_tokens":40,"total_tokens":100}}`},
		sums{Input: 60, Output: 40}},
	{"speech", "/audio/speech", "speech", jsonType,
		`{"model":"public","input":"twelve bytes","voice":"alloy"}`, "audio/mpeg", []string{"\xff\xfb\x90\x00\x00data: [DONE]\n\n\x00{\"usage\":1}"},
		sums{Input: 7, Estimated: 1}},
	{"moderations", "/moderations", "moderations", jsonType,
		`{"model":"public","input":"abcd"}`, jsonType, []string{`{"id":"modr-1","model":"real","results":[{"flagged":false}]}`},
		sums{Input: 5, Estimated: 1}},
	{"moderations without a model", "/moderations", "moderations", jsonType,
		`{"input":"abcdefgh"}`, jsonType, []string{`{"id":"modr-2","model":"real","results":[]}`},
		sums{Input: 6, Estimated: 1}},
	{"rerank", "/rerank", "rerank", jsonType,
		`{"model":"public","query":"q","documents":["a","b"]}`, jsonType,
		[]string{`{"model":"real","usage":{"total_tokens":56},"results":[{"index":0,"relevance_score":0.9}]}`},
		sums{Input: 56}},
}

// tryEndpoints sends each request and looks at what the backend got, what the
// caller got and what was metered.
func tryEndpoints(t *testing.T, cases []endpointCase) {
	scripts := make(map[string]http.HandlerFunc)
	for _, c := range cases {
		scripts[c.name] = says(c.answerType, strings.Join(c.answer, ""))
		if c.answerType == streamType {
			scripts[c.name] = streams(nil, c.answer...)
		}
	}
	b := newBackend(t, byTitle(scripts))
	g := startGate(t, fmt.Sprintf(`
		admin_key {env.ADMIN_KEY}
		key alice {env.CALLER_KEY}
		dial_allow loopback
		backend openai %s/openai/v1 {
			api_key {env.BACKEND_KEY}
			rename public upstream
		}
		backend claude %s {
			api anthropic
			api_key {env.BACKEND_KEY}
			rename public upstream
		}`, b.URL, b.URL))
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			before, seen := g.usageBy("endpoint"), len(b.seen())
			a := g.do("POST", "/v1"+c.path, callerKey, c.body, "Content-Type", c.contentType, "X-Title", c.name)
			if want := strings.Join(c.answer, ""); a.status != 200 || a.body != want {
				t.Fatalf("got %d\n%s\nwant\n%s", a.status, a.body, want)
			}
			if got := a.header.Get("Content-Type"); got != c.answerType {
				t.Errorf("the answer is %q, want %q", got, c.answerType)
			}
			if n := len(b.seen()) - seen; n != 1 {
				t.Fatalf("the backend saw %d requests", n)
			}
			checkSent(t, b.last(t), c)
			checkIDs(t, a, c)

			c.used.Requests = 1
			after := g.usageBy("endpoint")
			for endpoint := range after {
				got, want := after[endpoint].add(-1, before[endpoint]), sums{}
				if endpoint == c.label {
					want = c.used
				}
				if got != want {
					t.Errorf("usage of %s grew by %+v, want %+v", endpoint, got, want)
				}
			}
		})
	}
	for name, of := range map[string]string{"model": "public", "key": "alice"} {
		if got := g.usageBy(name)[of].Requests; got == 0 {
			t.Errorf("no usage of the %s %q", name, of)
		}
	}
}

// checkSent looks at what the backend got: path, body and credential.
func checkSent(t *testing.T, sent received, c endpointCase) {
	t.Helper()
	path, credential := "/openai/v1"+c.path, map[string]string{"Authorization": "Bearer " + backendKey, "X-Api-Key": "", "Anthropic-Version": ""}
	if strings.HasPrefix(c.path, "/messages") {
		path, credential = "/v1"+c.path, map[string]string{"Authorization": "", "X-Api-Key": backendKey, "Anthropic-Version": "2023-06-01"}
	}
	if sent.method != "POST" || sent.path != path || sent.query != "" {
		t.Errorf("the backend saw %s %s?%s, want POST %s", sent.method, sent.path, sent.query, path)
	}
	for name, want := range credential {
		if got := sent.header.Get(name); got != want {
			t.Errorf("the backend saw %s: %q, want %q", name, got, want)
		}
	}
	if got := sent.header.Get("Content-Type"); got != c.contentType {
		t.Errorf("the backend saw the content type %q, want %q", got, c.contentType)
	}
	if want := strings.Replace(c.body, "public", "upstream", 1); sent.body != want {
		t.Errorf("the backend saw the body\n%.2000q\nwant\n%.2000q", sent.body, want)
	}
}

// checkIDs looks at the id of the answer.
func checkIDs(t *testing.T, a answer, c endpointCase) {
	t.Helper()
	id := a.header.Get("X-Request-Id")
	if len(id) < 20 {
		t.Errorf("x-request-id is %q", id)
	}
	want := ""
	if strings.HasPrefix(c.path, "/messages") {
		want = id
	}
	if got := a.header.Get("Request-Id"); got != want {
		t.Errorf("request-id is %q, want %q", got, want)
	}
}

func TestEveryEndpointIsForwardedAndMetered(t *testing.T) { tryEndpoints(t, jsonEndpoints) }
