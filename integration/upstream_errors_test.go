package integration

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// refuses is a script of an error with headers, given as names and values.
func refuses(status int, contentType, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // the gate may be gone
	}
}

// reset breaks the connection to the gate as a crash does.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // then Close sends an RST
	}
	_ = conn.Close()
}

// bothDialects is the inside of a gate with a backend for each dialect.
func bothDialects(b *backend, extra string) string {
	return block(b, fmt.Sprintf("backend claude %s {\n api anthropic\n api_key {env.BACKEND_KEY}\n}\n%s", b.URL, extra))
}

// dialectBodies are requests by path.
var dialectBodies = map[string]string{
	"/v1/chat/completions": `{"model":"m","messages":[{"role":"user","content":"hi"}]}`,
	"/v1/completions":      `{"model":"m","prompt":"hi"}`,
	"/v1/responses":        `{"model":"m","input":"hi"}`,
	"/v1/messages":         `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`,
}

func TestErrorsOfBackendsAreToldInTheCallersDialect(t *testing.T) {
	const chat, messages = "/v1/chat/completions", "/v1/messages"
	const failed = `{"error":{"message":"The model server failed to answer.","type":"server_error","param":null,"code":"upstream_error"}}`
	anthropic := func(kind, message string) string {
		return fmt.Sprintf(`{"type":"error","error":{"type":%q,"message":%q},"request_id":"ID"}`, kind, message)
	}
	cases := map[string]struct {
		path   string
		script http.HandlerFunc
		status int
		body   string
		header map[string]string
	}{
		"vLLM's, whose code is a number": {chat, refuses(400, jsonType, `{"object":"error","message":"bad temperature","type":"BadRequestError","param":"temperature","code":400}`),
			400, `{"error":{"message":"bad temperature","type":"invalid_request_error","param":"temperature","code":null}}`, nil},
		"FastAPI's": {chat, refuses(422, jsonType, `{"detail":[{"loc":["body","n"],"msg":"too many","type":"value_error"}]}`),
			422, `{"error":{"message":"too many","type":"invalid_request_error","param":"n","code":null}}`, nil},
		"the backend's credential is bad": {chat, refuses(401, jsonType, `{"error":{"message":"Incorrect API key: `+backendKey+`"}}`, "X-Key", backendKey),
			502, failed, map[string]string{"X-Key": "", "Www-Authenticate": ""}},
		"the credential in a refusal": {chat, refuses(400, jsonType, `{"error":{"message":"key `+backendKey+` is of another project"}}`),
			502, failed, nil},
		"a page": {chat, refuses(500, "text/html", "<h1>nginx at 10.0.0.9</h1>", "Set-Cookie", "a=b"),
			500, failed, map[string]string{"Set-Cookie": "", "Content-Type": jsonType}},
		"a redirect": {chat, refuses(302, "text/html", "", "Location", "http://169.254.169.254/"),
			502, failed, map[string]string{"Location": ""}},
		"a rate": {chat, refuses(429, jsonType, `{"error":{"message":"slow","type":"tokens","code":"rate_limit_exceeded"}}`, "Retry-After", "7"),
			429, `{"error":{"message":"slow","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, map[string]string{"Retry-After": "7", "X-Should-Retry": ""}},
		"no money": {chat, refuses(429, jsonType, `{"error":{"message":"pay","type":"insufficient_quota","code":"insufficient_quota"}}`),
			429, `{"error":{"message":"pay","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, map[string]string{"X-Should-Retry": "false"}},
		"overload": {chat, refuses(503, jsonType, `{"error":{"message":"host 10.0.0.9 is down"}}`, "Retry-After", "3"),
			503, `{"error":{"message":"The service is overloaded. Please try again.","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`, map[string]string{"Retry-After": "3"}},
		"a timeout": {chat, refuses(504, "text/plain", "late"),
			504, `{"error":{"message":"The model server took too long to answer.","type":"server_error","param":null,"code":"upstream_timeout"}}`, nil},
		"no answer at all": {chat, func(w http.ResponseWriter, _ *http.Request) { reset(w) },
			502, failed, nil},
		"messages: a bad request": {messages, refuses(400, jsonType, `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: too large"},"request_id":"req_theirs"}`),
			400, anthropic("invalid_request_error", "max_tokens: too large"), nil},
		"messages: OpenAI's envelope": {messages, refuses(404, jsonType, `{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}`),
			404, anthropic("invalid_request_error", "no such model"), nil},
		"messages: a rate": {messages, refuses(429, jsonType, `{"type":"error","error":{"type":"rate_limit_error","message":"slow"}}`, "Retry-After", "9"),
			429, anthropic("rate_limit_error", "slow"), map[string]string{"Retry-After": "9"}},
		"messages: overload": {messages, refuses(529, jsonType, `{"type":"error","error":{"type":"overloaded_error","message":"x"}}`),
			529, anthropic("overloaded_error", "The service is overloaded. Please try again."), nil},
		"messages: a failure": {messages, refuses(500, "text/html", "<h1>trace</h1>"),
			500, anthropic("api_error", "The model server failed to answer."), nil},
	}
	scripts := make(map[string]http.HandlerFunc)
	for name, c := range cases {
		scripts[name] = c.script
	}
	b := newBackend(t, byTitle(scripts))
	g := startGate(t, bothDialects(b, "limit 10k tokens/hour\nreserve_output_tokens 900"))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			before, seen := g.usageOf("alice"), len(b.seen())
			a := g.do("POST", c.path, callerKey, dialectBodies[c.path], "X-Title", name)
			body := strings.TrimSuffix(strings.ReplaceAll(a.body, a.header.Get("X-Request-Id"), "ID"), "\n")
			if a.status != c.status || body != c.body {
				t.Errorf("got %d %s\nwant %d %s", a.status, body, c.status, c.body)
			}
			for header, want := range c.header {
				if got := a.header.Get(header); got != want {
					t.Errorf("%s is %q, want %q", header, got, want)
				}
			}
			most := 1
			if name == "no answer at all" {
				most = 2 // on a connection that had served another request
			}
			if n := len(b.seen()) - seen; n < 1 || n > most {
				t.Errorf("the backend was sent %d requests", n)
			}
			after := g.usageOf("alice")
			if after.Requests-before.Requests != 1 || after.Errors-before.Errors != 1 || after.Input != 0 || after.Output != 0 {
				t.Errorf("usage went from %+v to %+v, want one more error without tokens", before, after)
			}
		})
	}
	if got := g.keyInfo(callerKey).limit("tokens", "hour"); got.Remaining != 10_000 {
		t.Errorf("%v tokens are left of 10,000 after requests that all failed", got.Remaining)
	}
	if strings.Contains(g.Logs.String(), backendKey) {
		t.Error("the backend's credential stands in the log")
	}
}
