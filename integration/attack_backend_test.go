package integration

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// byModel answers as the handler that a request's model names.
func byModel(handlers map[string]http.HandlerFunc, body func(r *http.Request) string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Model string }
		_ = json.Unmarshal([]byte(body(r)), &asked)
		handlers[asked.Model](w, r)
	}
}

// wire answers with bytes as they are and hangs up.
func wire(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, text)
	}
}

func status(code int, header map[string]string, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

const (
	upstreamError = "502 server_error upstream_error null"
	internalError = "500 server_error upstream_error null"
)

func TestBackendsCanNotReachTheCaller(t *testing.T) {
	t.Run("direct", func(t *testing.T) { testBackendsCanNotReachTheCaller(t, "") })
	t.Run("through reverse_proxy", func(t *testing.T) { testBackendsCanNotReachTheCaller(t, onlyProxied) })
}

func testBackendsCanNotReachTheCaller(t *testing.T, way string) {
	elsewhere := newBackend(t, answers(200, chatAnswer("elsewhere", 1, 1)))
	quoted := strings.ReplaceAll(backendKey, "-", `\u002d`)
	jsonType := map[string]string{"Content-Type": "application/json"}
	var v *target
	cases := map[string]struct {
		answer http.HandlerFunc
		want   string
		flag   string // in the log
	}{
		"redirect-301":       {status(301, map[string]string{"Location": elsewhere.URL + "/v1/chat/completions"}, ""), upstreamError, "redirect"},
		"redirect-307":       {status(307, map[string]string{"Location": elsewhere.URL + "/v1/chat/completions"}, ""), upstreamError, "redirect"},
		"redirect-308":       {status(308, map[string]string{"Location": "/v1/other"}, ""), upstreamError, "redirect"},
		"redirect-300":       {status(300, map[string]string{"Location": elsewhere.URL}, ""), upstreamError, "redirect"},
		"not-modified":       {status(304, nil, ""), upstreamError, "redirect"},
		"switching":          {wire("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello"), upstreamError, "upgrade"},
		"early-hints":        {wire("HTTP/1.1 103 Early Hints\r\nLink: <http://x>\r\nSet-Cookie: a=b\r\nX-Key: " + backendKey + "\r\n\r\nHTTP/1.1 500 X\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), internalError, ""},
		"401":                {status(401, jsonType, `{"error":{"message":"Incorrect API key provided: `+backendKey+`","code":"invalid_api_key"}}`), upstreamError, "credential_refused"},
		"403":                {status(403, jsonType, `{"error":{"message":"project proj-1 has no access"}}`), upstreamError, "credential_refused"},
		"402":                {status(402, jsonType, `{"error":{"message":"account acct-1 is out of credits"}}`), upstreamError, ""},
		"500":                {status(500, jsonType, `{"error":{"message":"Traceback at /srv/`+promptCanary+`"}}`), internalError, ""},
		"400-key":            {status(400, jsonType, `{"error":{"message":"bad header Authorization: Bearer `+backendKey+`","type":"x","param":"p","code":"c"}}`), upstreamError, ""},
		"400-key-escaped":    {status(400, jsonType, `{"error":{"message":"`+quoted+`"}}`), upstreamError, ""},
		"400-key-in-code":    {status(400, jsonType, `{"error":{"message":"x","code":"`+backendKey+`"}}`), upstreamError, ""},
		"400-key-plain":      {status(400, map[string]string{"Content-Type": "text/plain"}, backendKey), upstreamError, ""},
		"400-prompt":         {status(400, jsonType, `{"error":{"message":"can't read `+promptCanary+`","type":"invalid_request_error","param":"messages","code":null}}`), "400 invalid_request_error null messages", ""},
		"400-number":         {status(400, jsonType, `{"object":"error","message":"too long","type":"BadRequestError","param":null,"code":400}`), "400 invalid_request_error null null", ""},
		"400-html":           {status(400, map[string]string{"Content-Type": "text/html"}, "<script>"), "400 invalid_request_error null null", ""},
		"404":                {status(404, jsonType, `{"error":"model not found"}`), "404 invalid_request_error null null", ""},
		"429":                {status(429, map[string]string{"Content-Type": "application/json", "Retry-After": "7", "Set-Cookie": "a=b"}, `{"error":{"message":"slow","type":"tokens","code":"rate_limit_exceeded"}}`), "429 tokens rate_limit_exceeded null", ""},
		"429-html":           {status(429, map[string]string{"Retry-After": "7"}, "<html>"), "429 requests rate_limit_exceeded null", ""},
		"503":                {status(503, map[string]string{"Retry-After": "7"}, "secret-host-17 is down"), "503 service_unavailable_error server_is_overloaded null", ""},
		"529":                {status(529, nil, "{}"), "503 service_unavailable_error server_is_overloaded null", ""},
		"hangs-up":           {wire(""), upstreamError, ""},
		"garbage":            {wire("SSH-2.0-" + backendKey + "\r\n"), upstreamError, ""},
		"garbage-header":     {wire("HTTP/1.1 200 OK\r\nX " + backendKey + "\r\n\r\n"), upstreamError, ""},
		"garbage-status":     {wire("HTTP/1.1 " + backendKey + "\r\n\r\n"), upstreamError, ""},
		"split-header":       {wire("HTTP/1.1 200 OK\nSet-Cookie: a=b\nContent-Length: x\n\n"), upstreamError, ""},
		"two-lengths":        {wire("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"), upstreamError, ""},
		"header-of-megabyte": {wire("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"), upstreamError, ""},
	}
	handlers := make(map[string]http.HandlerFunc, len(cases))
	for name, c := range cases {
		handlers[name] = c.answer
	}
	v = attack(t, setup{backend: way, answer: byModel(handlers, func(*http.Request) string { return v.backend.last(t).body })})
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := v.ask("POST", "/v1/chat/completions", callerKey, chatBody(name, promptCanary))
			if got := refusal(t, a); got != c.want {
				t.Errorf("got %s %s", got, a.body)
			}
			for _, header := range []string{"Set-Cookie", "Location", "Link", "Upgrade"} {
				if a.header.Get(header) != "" {
					t.Errorf("%s: %s reached the caller", header, a.header.Get(header))
				}
			}
			if a.status == 429 || a.status == 503 {
				if wait := a.header.Get("Retry-After"); wait != "7" && name != "529" {
					t.Errorf("Retry-After is %q", wait)
				}
			}
			search(t, "the answer", a.body+fmt.Sprint(a.header), []string{"proj-1", "acct-1", "Traceback", "secret-host", "<script", "<html", strings.TrimPrefix(v.backend.URL, "http://")})
			if c.flag != "" {
				v.logged(t, `"flag":"`+c.flag+`"`)
			}
		})
	}
	if n := len(elsewhere.seen()); n != 0 {
		t.Errorf("a redirect was followed: %d requests", n)
	}
	t.Run("in Anthropic's dialect there is nobody to ask", func(t *testing.T) {
		a := v.ask("POST", "/v1/messages", callerKey, chatBody("500", "x"))
		if got := refusal(t, a); got != "anthropic 404 not_found_error" {
			t.Error(got)
		}
	})
}

func TestHeadersOfAnswersAreAnAllowList(t *testing.T) {
	header := map[string]string{
		"Content-Type": "application/json", "Set-Cookie": "session=1", "Www-Authenticate": "Basic", "Location": "http://x", "Server": "vllm", "Via": "1.1 host-17",
		"X-Echo": "Bearer " + backendKey, "Openai-Version": "Bearer " + backendKey, "X-Request-Id": "the-backends-own", "Openai-Organization": "org-1",
		"Openai-Processing-Ms": "12", "Strict-Transport-Security": "max-age=1", "Access-Control-Allow-Origin": "*", "Alt-Svc": `h3=":443"`, "X-Powered-By": "x",
		"Refresh": "0; url=http://x", "Trailer": "X-Usage", "X-Internal-Host": "host-17",
	}
	v := attack(t, setup{answer: func(w http.ResponseWriter, r *http.Request) {
		status(200, header, chatAnswer("hi", 3, 2))(w, r)
		w.Header().Set("X-Usage", "secret-usage")
		w.Header().Set(http.TrailerPrefix+"Authorization", "Bearer "+backendKey)
	}})
	for _, extra := range []string{`"stream":false`, `"stream":true`} {
		res := v.open(t.Context(), "POST", "/v1/chat/completions", callerKey, chatBody("m", promptCanary, extra))
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		v.keep(answer{res.StatusCode, res.Header, string(body)})
		if err != nil || res.StatusCode != 200 || len(res.Trailer) != 0 {
			t.Fatalf("got %d %v, trailers %v", res.StatusCode, err, res.Trailer)
		}
		for name := range res.Header {
			switch name {
			case "Content-Type", "Content-Length", "Date", "Via", "Server", "X-Request-Id", "Openai-Processing-Ms":
			default:
				t.Errorf("%s: %q reached the caller", name, res.Header[name])
			}
		}
		if id := res.Header["X-Request-Id"]; len(id) != 1 || !strings.HasPrefix(id[0], "req_") {
			t.Errorf("X-Request-Id %v", id)
		}
		if text := fmt.Sprint(res.Header); strings.Contains(text, "host-17") || strings.Contains(text, "vllm") || res.Header.Get("Openai-Processing-Ms") != "12" {
			t.Errorf("headers %s", text)
		}
		v.logged(t, `"flag":"credential_in_headers"`)
	}
}

func TestHTMLIsNoAnswer(t *testing.T) {
	v := attack(t, setup{answer: status(200, map[string]string{"Content-Type": "text/html"}, "<html>captive portal</html>")})
	a := v.ask("POST", "/v1/chat/completions", callerKey, chatBody("m", promptCanary))
	if got := refusal(t, a); got != upstreamError {
		t.Errorf("got %s %s", got, a.body)
	}
	v.logged(t, `"flag":"html"`)
	if used := v.usageOf("alice"); used.Requests != 1 || used.Errors != 1 || used.Input != 0 {
		t.Errorf("usage %+v", used)
	}
}

// The name is looked up when it is dialled, and the address judged then.
func TestNamesAreJudgedWhenDialled(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("hi", 3, 2)))
	_, port, err := net.SplitHostPort(strings.TrimPrefix(b.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	for allow, want := range map[string]int{"private": 502, "public": 502, "10.0.0.0/8 192.0.2.0/24": 502, "loopback": 200} {
		t.Run(allow, func(t *testing.T) {
			v := attack(t, setup{allow: allow, address: "localhost:" + port})
			before := len(b.seen())
			a := v.ask("POST", "/v1/chat/completions", callerKey, chatBody("m", promptCanary))
			if a.status != want {
				t.Errorf("got %d %s", a.status, a.body)
			}
			if want == 502 {
				if got := refusal(t, a); got != upstreamError || len(b.seen()) != before {
					t.Errorf("got %s; the backend was sent %d", got, len(b.seen())-before)
				}
				v.logged(t, "outside dial_allow")
			}
		})
	}
}
