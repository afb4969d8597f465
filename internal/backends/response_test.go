package backends

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

func TestErrorsOfABackend(t *testing.T) { eachWay(t, testErrorsOfABackend) }

func testErrorsOfABackend(t *testing.T, proxy string) {
	limits := []string{"Retry-After: 7", "Retry-After-Ms: 6500", "X-Should-Retry: true", "X-Ratelimit-Remaining-Requests: 0"}
	for _, c := range []struct {
		name, path         string
		status             int
		body               string
		header             []string
		own                bool
		want               int
		contains, lacks    []string
		headers            []string // "Name: value", or "Name" for its absence
		flag               Flag
		falls              bool
		wait               time.Duration
		withoutCaller      bool
		upstreamID, answer string
	}{
		{name: "400 is the caller's business", path: "/v1/chat/completions", status: 400,
			body:   `{"error":{"message":"max_tokens is too large","type":"invalid_request_error","param":"max_tokens","code":400}}`,
			header: []string{"X-Request-Id: up-1", "X-Ratelimit-Remaining-Requests: 5", "Retry-After: 9", "X-Should-Retry: true", "Server: uvicorn"},
			want:   400, contains: []string{"max_tokens is too large", `"param":"max_tokens"`}, lacks: []string{`"code":400`},
			headers: []string{"X-Ratelimit-Remaining-Requests: 5", "Retry-After", "X-Should-Retry", "X-Request-Id", "Server", "X-Content-Type-Options: nosniff", "Content-Type: application/json"},
			wait:    9 * time.Second, upstreamID: "up-1"},
		{name: "401 says nothing", path: "/v1/chat/completions", status: 401, body: `{"error":{"message":"Incorrect API key provided: ` + canary + `"}}`,
			header: append(limits, `Www-Authenticate: Bearer realm="internal"`), want: 502, contains: []string{"upstream_error"}, lacks: []string{"Incorrect", "401", "realm"},
			headers: []string{"Retry-After", "X-Should-Retry", "X-Ratelimit-Remaining-Requests", "Www-Authenticate"}, flag: FlagCredential,
			falls: true, wait: 6500 * time.Millisecond},
		{name: "403 says nothing", path: "/v1/messages", status: 403, body: `{"error":{"message":"organization disabled"}}`,
			want: 502, contains: []string{`"type":"api_error"`, `"request_id":"req-1"`}, lacks: []string{"organization"}, flag: FlagCredential, falls: true},
		{name: "429", path: "/v1/chat/completions", status: 429, body: `{"error":{"message":"slow down","type":"rate_limit_error"}}`, header: limits, want: 429,
			contains: []string{"slow down"}, headers: []string{"Retry-After: 7", "Retry-After-Ms: 6500", "X-Should-Retry: true", "X-Ratelimit-Remaining-Requests: 0"},
			falls: true, wait: 6500 * time.Millisecond},
		{name: "429 with limits of the gate's own", path: "/v1/chat/completions", status: 429, header: limits, own: true, want: 429,
			headers: []string{"Retry-After: 7", "X-Ratelimit-Remaining-Requests"}, falls: true, wait: 6500 * time.Millisecond},
		{name: "400 that is not worth a retry", path: "/v1/chat/completions", status: 400, header: []string{"X-Should-Retry: false"}, want: 400, headers: []string{"X-Should-Retry: false"}},
		{name: "409 that is worth a retry", path: "/v1/chat/completions", status: 409, header: []string{"X-Should-Retry: true"}, want: 409, headers: []string{"X-Should-Retry: true"}},
		{name: "500 that is not worth a retry", path: "/v1/chat/completions", status: 500, header: []string{"X-Should-Retry: false"}, want: 500, headers: []string{"X-Should-Retry: false"}, falls: true},
		{name: "500", path: "/v1/chat/completions", status: 500, body: "panic at /srv/app.py", want: 500, lacks: []string{"panic", "srv"}, falls: true},
		{name: "500 of llama.cpp", path: "/v1/chat/completions", status: 500, body: `{"error":{"code":500,"message":"Missing 'role' in message","type":"server_error"}}`,
			want: 500, contains: []string{"Missing 'role'", `"type":"server_error"`}, falls: true},
		{name: "402 about the account", path: "/v1/chat/completions", status: 402, body: `{"error":{"message":"Insufficient Balance"}}`, want: 502, lacks: []string{"Balance"}, falls: true},
		{name: "500 with a trace", path: "/v1/chat/completions", status: 500, body: `{"error":{"message":"Traceback at /srv/app.py"}}`, want: 500, lacks: []string{"srv"}, falls: true},
		{name: "500 with a host", path: "/v1/chat/completions", status: 500, body: `{"error":{"message":"gpu 3 on host model-7 fell over"}}`, want: 500, lacks: []string{"model-7"}, falls: true},
		{name: "500 with an address", path: "/v1/chat/completions", status: 500, body: `{"error":{"message":"10.0.0.9 refused"}}`, want: 500, lacks: []string{"10.0"}, falls: true},
		{name: "402", path: "/v1/chat/completions", status: 402, body: `{"error":{"message":"requires fewer max_tokens"}}`, want: 402, contains: []string{"fewer"}, falls: true},
		{name: "403, flagged", path: "/v1/messages", status: 403, body: `{"error":{"message":"Your input was flagged"}}`,
			want: 403, contains: []string{"flagged", `"type":"permission_error"`}},
		{name: "404 without the model", path: "/v1/chat/completions", status: 404, body: `{"error":{"message":"m","code":"model_not_found"}}`,
			want: 404, contains: []string{"model_not_found"}, falls: true},
		{name: "408", path: "/v1/chat/completions", status: 408, want: 408, falls: true},
		{name: "410", path: "/v1/chat/completions", status: 410, body: `{"error":{"message":"gone"}}`, want: 410, contains: []string{"gone"}},
		{name: "451", path: "/v1/chat/completions", status: 451, body: `{"error":{"message":"by law"}}`, want: 451, contains: []string{"by law"}},
		{name: "498 of Groq", path: "/v1/chat/completions", status: 498, body: `{"error":{"message":"capacity"}}`, want: 498, contains: []string{"capacity"}, falls: true},
		{name: "524 of a proxy in front", path: "/v1/chat/completions", status: 524, body: "<html>", want: 504, falls: true},
		{name: "503", path: "/v1/chat/completions", status: 503, header: []string{"Retry-After: 2"}, want: 503, headers: []string{"Retry-After: 2"}, falls: true, wait: 2 * time.Second},
		{name: "504", path: "/v1/chat/completions", status: 504, want: 504, contains: []string{"upstream_timeout"}, falls: true},
		{name: "529 of Anthropic", path: "/v1/messages", status: 529, want: 529, header: []string{"Retry-After: 2"}, headers: []string{"Retry-After: 2"}, wait: 2 * time.Second, contains: []string{"overloaded_error"}, falls: true},
		{name: "529 to a caller of OpenAI's", path: "/v1/chat/completions", status: 529, want: 503, falls: true},
		{name: "a redirect", path: "/v1/chat/completions", status: 307, header: []string{"Location: http://other.example/" + canary, "Set-Cookie: a=b"},
			want: 502, lacks: []string{"other"}, headers: []string{"Location", "Set-Cookie"}, flag: FlagRedirect, falls: true},
		{name: "304", path: "/v1/chat/completions", status: 304, want: 502, flag: FlagRedirect, falls: true},
		{name: "an error that is no JSON", path: "/v1/chat/completions", status: 404, body: "<html>nginx/1.2</html>", want: 404, lacks: []string{"nginx"}},
		{name: "a compressed error", path: "/v1/chat/completions", status: 400, body: zipped(`{"error":{"message":"bad tool"}}`), header: []string{"Content-Encoding: gzip"},
			want: 400, contains: []string{"bad tool"}, headers: []string{"Content-Encoding"}},
		{name: "an endless error", path: "/v1/chat/completions", status: 400, body: strings.Repeat("x", 1<<20), want: 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
				maps.Copy(w.Header(), header(c.header...))
				if r.Header.Get("X-Drop") == "" && c.body != "" {
					w.Header()["Content-Type"] = []string{"application/json"}
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.body)
			})
			p := newProxied(t, keyed, proxy, upstream.URL)
			var refused int
			p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
				ex.OwnLimits = c.own
				ex.Refused = func() {
					refused++
					if ex.CallerStatus != c.want {
						t.Errorf("when refused the status is %d", ex.CallerStatus)
					}
				}
				return r
			}
			res, body, out := p.do("POST", c.path, `{}`)
			if out.err != nil {
				t.Fatal(out.err)
			}
			if res.StatusCode != c.want || out.attempt.Status != c.status || out.attempt.CallerStatus != c.want || refused != 1 {
				t.Errorf("answered %d, refused %d times, attempt %+v", res.StatusCode, refused, out.attempt)
			}
			if out.attempt.Flag != c.flag || out.attempt.UpstreamRequestID != c.upstreamID {
				t.Errorf("attempt %+v", out.attempt)
			}
			for _, s := range c.contains {
				if !strings.Contains(body, s) {
					t.Errorf("no %q in %s", s, body)
				}
			}
			for _, s := range append(c.lacks, canary) {
				if strings.Contains(body, s) || strings.Contains(fmt.Sprint(res.Header), s) {
					t.Errorf("%q in %v %s", s, res.Header, body)
				}
			}
			for _, h := range c.headers {
				name, want, _ := strings.Cut(h, ": ")
				if got := strings.Join(res.Header[name], "|"); got != want {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
			if len(body) > 80<<10 {
				t.Errorf("%d bytes of error", len(body))
			}

			// The same with another candidate left.
			p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
				ex.Fallback, ex.Refused = true, func() { refused++ }
				return r
			}
			refused = 0
			_, _, out = p.do("POST", c.path, `{}`)
			var attempt *AttemptError
			if errors.As(out.err, &attempt) != c.falls {
				t.Fatalf("fell back: %v", out.err)
			}
			if c.falls && (attempt.Status != c.status || attempt.RetryAfter != c.wait || attempt.Timeout() != (c.status == 504) || refused != 0 || out.attempt.Err == nil || out.attempt.CallerStatus != 0) {
				t.Errorf("attempt %+v, attempt %+v", attempt, out.attempt)
			}
		})
	}
}

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

func TestUpgradeIsNoTunnel(t *testing.T) { eachWay(t, testUpgradeIsNoTunnel) }

func testUpgradeIsNoTunnel(t *testing.T, proxy string) {
	closed := make(chan struct{})
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		_ = rw.Flush()
		_, _ = io.Copy(io.Discard, conn) // until the gate closes it
		conn.Close()
		close(closed)
	})
	p := newProxied(t, "", proxy, upstream.URL)
	res, _, out := p.do("POST", "/v1/chat/completions", `{}`)
	if res.StatusCode != 502 || out.attempt.Flag != FlagUpgrade || out.attempt.Status != 101 {
		t.Errorf("answered %d, attempt %+v", res.StatusCode, out.attempt)
	}
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Error("the tunnel is still open")
	}
}

func TestWhatReachesTheCaller(t *testing.T) {
	t.Run("direct", func(t *testing.T) { testWhatReachesTheCaller(t, "") })
	t.Run("through reverse_proxy", func(t *testing.T) {
		testWhatReachesTheCaller(t, `"headers":{"response":{"set":{"X-Operator":["down"]}}}`)
	})
}

func testWhatReachesTheCaller(t *testing.T, proxy string) {
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), header(
			"Content-Type: application/json", "Openai-Processing-Ms: 12", "Openai-Version: 2020-10-01", "X-Ratelimit-Limit-Requests: 60",
			"Anthropic-Ratelimit-Requests-Limit: 60", "Cache-Control: no-cache", "X-Should-Retry: false", "X-Internal-Kept: 1",

			"Openai-Organization: org-operator", "Openai-Project: proj", "Anthropic-Organization-Id: org", "Set-Cookie: a=b", "Location: /x",
			"Www-Authenticate: Bearer", "Authorization: "+r.Header.Get("Authorization"), "Server: vllm", "Alt-Svc: h3=\":443\"",
			"Strict-Transport-Security: max-age=1", "Access-Control-Allow-Origin: *", "Access-Control-Allow-Credentials: true", "X-Request-Id: up-42",
			"Request-Id: up-43", "Cf-Ray: 1", "X-Internal-Host: gpu-7", "Via: 1.1 internal", "Openai-Echo: "+r.Header.Get("Authorization"),
			"X-Debug: "+r.Header.Get("Authorization"), "X-Robots-Tag: none", "Clear-Site-Data: *", "Incremental: ?1", "Refresh: 0; url=http://evil",
			"Trailer: Authorization, X-Usage",
		))
		_, _ = io.WriteString(w, `{}`)
		w.Header().Set("Authorization", canary)
		w.Header().Set("X-Usage", "1")
		w.Header().Set(http.TrailerPrefix+"X-Late", canary)
	})
	for _, own := range []bool{false, true} {
		p := newProxied(t, keyed+`,"pass_headers":["x-internal-kept","x-debug","x-request-id","x-ratelimit-limit-requests"]`, proxy, upstream.URL)
		p.prepare = func(ex *Attempt, r *http.Request) *http.Request { ex.OwnLimits = own; return r }
		res, _, out := p.do("POST", "/v1/chat/completions", `{}`)
		want := []string{"Cache-Control", "Content-Type", "Date", "Openai-Processing-Ms", "Openai-Version", "Via", "X-Internal-Kept", "X-Should-Retry"}
		if proxy != "" {
			want = append(want, "X-Operator")
		}
		if !own {
			want = append(want, "Anthropic-Ratelimit-Requests-Limit", "X-Ratelimit-Limit-Requests")
		}
		slices.Sort(want)
		got := slices.Sorted(maps.Keys(res.Header))
		got = slices.DeleteFunc(got, func(s string) bool { return s == "Content-Length" })
		if !slices.Equal(got, want) {
			t.Errorf("own limits %v:\n got %v\nwant %v", own, got, want)
		}
		if via := res.Header["Via"]; len(via) != 1 || strings.Contains(via[0], "internal") {
			t.Errorf("Via %v", via)
		}
		if len(res.Trailer) > 0 {
			t.Errorf("trailers %v", res.Trailer)
		}
		if out.attempt.UpstreamRequestID != "up-42" || out.attempt.Flag != FlagEcho {
			t.Errorf("attempt %+v", out.attempt)
		}
	}
}

// TestCredentialIsNowhere has a backend reveal the credential in every possible
// way, and searches the caller's response and the logs at DEBUG for it.
func TestCredentialIsNowhere(t *testing.T) { eachWay(t, testCredentialIsNowhere) }

func testCredentialIsNowhere(t *testing.T, proxy string) {
	raw := func(answer string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, strings.ReplaceAll(answer, "CANARY", strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")))
			conn.Close()
		}
	}
	const length = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
	for name, answer := range map[string]string{
		"header":              length + "Openai-Debug: key=CANARY\r\n\r\n{}",
		"name of a header":    length + "Openai-CANARY: 1\r\n\r\n{}",
		"request id":          length + "X-Request-Id: CANARY\r\n\r\n{}",
		"early hints":         "HTTP/1.1 103 Early Hints\r\nLink: </CANARY>\r\nSet-Cookie: k=CANARY\r\n\r\n" + length + "\r\n{}",
		"trailer":             "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-K\r\n\r\n2\r\n{}\r\n0\r\nX-K: CANARY\r\n\r\n",
		"status line":         "HTTP/1.1 CANARY\r\n\r\n",
		"no HTTP":             "CANARY\r\n\r\n",
		"broken header":       "HTTP/1.1 200 OK\r\nCANARY\r\n\r\n",
		"reason":              "HTTP/1.1 200 CANARY\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
		"error body":          "HTTP/1.1 400 Bad\r\nContent-Type: application/json\r\nContent-Length: 74\r\n\r\n" + `{"error":{"message":"your key is CANARY","type":"invalid_request_error"}}  `,
		"unauthorized":        "HTTP/1.1 401 No\r\nWWW-Authenticate: CANARY\r\nContent-Length: 18\r\n\r\nCANARY",
		"redirect":            "HTTP/1.1 302 Found\r\nLocation: http://x.example/?k=CANARY\r\nContent-Length: 0\r\n\r\n",
		"length":              "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: CANARY\r\n\r\n{}",
		"transfer encoding":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: CANARY\r\n\r\n{}",
		"chunk size":          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nCANARY\r\n",
		"trailer of a broken": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nCANARY\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			upstream := backend(t, raw(answer))
			p := newProxied(t, keyed, proxy, upstream.URL)
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
				t.Errorf("told to the caller ahead of the answer: %d %v", code, h)
				return nil
			}})
			req, _ := http.NewRequestWithContext(ctx, "POST", p.server.URL+"/v1/chat/completions", strings.NewReader(`{}`))
			res, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body) // broken bodies end in an error
			res.Body.Close()
			out := <-p.done
			told := fmt.Sprint(res.StatusCode, res.Status, res.Header, res.Trailer, string(body))
			if strings.Contains(strings.ToLower(told), canary) {
				t.Errorf("told to the caller: %s", told)
			}
			if s := fmt.Sprint(out.err, out.attempt.Err, out.attempt.UpstreamRequestID); strings.Contains(s, canary) {
				t.Errorf("in the outcome: %s", s)
			}
			log := p.log()
			if strings.Contains(strings.ToLower(log), canary) {
				t.Errorf("logged: %s", log)
			}
			if proxy != "" && !strings.Contains(log, "upstream roundtrip") {
				t.Error("the log holds nothing to look into")
			}
		})
	}
}

// TestEventsAreNotHeldBack: the backend sends an event only when the caller has
// received the one before.
func TestEventsAreNotHeldBack(t *testing.T) { eachWay(t, testEventsAreNotHeldBack) }

func testEventsAreNotHeldBack(t *testing.T, proxy string) {
	next := make(chan struct{})
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"}}]}\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
				return
			}
		}
		_, _ = io.WriteString(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5,\"total_tokens\":8}}\n\ndata: [DONE]\n\n")
	})
	for _, hide := range []bool{false, true} {
		p := newProxied(t, keyed, proxy, upstream.URL)
		p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
			ex.Meter = meter.New(meter.Config{Endpoint: ex.Endpoint, HideUsage: hide})
			return r
		}
		req, _ := http.NewRequestWithContext(t.Context(), "POST", p.server.URL+"/v1/chat/completions", strings.NewReader(`{}`))
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(res.Body)
		for i := range 5 {
			if !lines.Scan() || !strings.Contains(lines.Text(), fmt.Sprintf(`"content":"%d"`, i)) || !lines.Scan() {
				t.Fatalf("event %d: %q", i, lines.Text())
			}
			next <- struct{}{}
		}
		var rest []string
		for lines.Scan() {
			rest = append(rest, lines.Text())
		}
		res.Body.Close()
		if hidden := !strings.Contains(strings.Join(rest, "\n"), "usage"); hidden != hide || !slices.Contains(rest, "data: [DONE]") {
			t.Errorf("hide %v: the end is %q", hide, rest)
		}
		out := <-p.done
		if r := out.attempt.Meter.Result(); r.Input != 3 || r.Output != 5 || !r.Reported {
			t.Errorf("metered %+v", r)
		}
	}
}

func TestOddAnswersAreFlagged(t *testing.T) { eachWay(t, testOddAnswersAreFlagged) }

func testOddAnswersAreFlagged(t *testing.T, proxy string) {
	for _, c := range []struct {
		header []string
		body   string
		flag   Flag
		want   string
	}{
		{[]string{"Content-Type: application/json", "Content-Encoding: br"}, "xx", FlagEncoding, "xx"},
		{[]string{"Content-Type: application/json", "Content-Encoding: identity"}, "{}", "", "{}"},
		{[]string{"Content-Type: application/json", "Content-Encoding: gzip"}, zipped(`{"a":1}`), "", `{"a":1}`},
	} {
		upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			maps.Copy(w.Header(), header(c.header...))
			_, _ = io.WriteString(w, c.body)
		})
		p := newProxied(t, "", proxy, upstream.URL)
		for _, endpoint := range []string{"POST /v1/chat/completions", "GET /v1/responses/a"} {
			method, path, _ := strings.Cut(endpoint, " ")
			res, body, out := p.do(method, path, "")
			if res.StatusCode != 200 || body != c.want || out.attempt.Flag != c.flag {
				t.Errorf("%s, %v: answered %d %q, flag %q", endpoint, c.header, res.StatusCode, body, out.attempt.Flag)
			}
			if c.flag != FlagEncoding && res.Header.Get("Content-Encoding") != "" {
				t.Errorf("%v: encoded", c.header)
			}
		}
	}
}

func TestAPageOrNothingAtAllIsNoAnswer(t *testing.T) { eachWay(t, testAPageOrNothingAtAllIsNoAnswer) }

func testAPageOrNothingAtAllIsNoAnswer(t *testing.T, proxy string) {
	for contentType, c := range map[string]struct {
		body string
		flag Flag
	}{
		"Text/HTML; charset=utf-8": {"<html>log in</html>", FlagHTML},
		"text/event-stream":        {"", FlagNoAnswer},
		"application/json":         {"", FlagNoAnswer},
	} {
		upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, c.body)
		})
		for _, fallback := range []bool{false, true} {
			p := newProxied(t, "", proxy, upstream.URL)
			if fallback {
				p.prepare = alternative(new(health.BackendState))
			}
			res, body, out := p.do("POST", "/v1/chat/completions", "{}")
			var attempt *AttemptError
			if fell := errors.As(out.err, &attempt); fallback && !fell || out.attempt.Flag != c.flag {
				t.Errorf("%s: fell back %t (%v), flag %q", contentType, fell, out.err, out.attempt.Flag)
			}
			if !fallback && c.flag != "" && (res.StatusCode != 502 || !strings.Contains(body, "upstream_error")) {
				t.Errorf("%s: answered %d %q", contentType, res.StatusCode, body)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, c := range []struct {
		header []string
		want   time.Duration
	}{
		{nil, 0},
		{[]string{"Retry-After: 3"}, 3 * time.Second},
		{[]string{"Retry-After: 0.5"}, 500 * time.Millisecond},
		{[]string{"Retry-After: 3", "Retry-After-Ms: 2500"}, 2500 * time.Millisecond},
		{[]string{"Retry-After: Fri, 02 Jan 2026 03:05:05 GMT"}, time.Minute},
		{[]string{"Retry-After: Fri, 02 Jan 2026 03:00:00 GMT"}, 0},
		{[]string{"Retry-After: -1"}, 0},
		{[]string{"Retry-After: NaN"}, 0},
		{[]string{"Retry-After: soon"}, 0},
		{[]string{"Retry-After: 1e300"}, 24 * time.Hour},
		{[]string{"Retry-After: Inf"}, 24 * time.Hour},
	} {
		if got := retryAfter(header(c.header...), now); got != c.want {
			t.Errorf("%v: %v, want %v", c.header, got, c.want)
		}
	}
}

// TestBackendThatStopsWithinAnError: the caller must get the status all the
// same.
func TestBackendThatStopsWithinAnError(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a timeout of seconds")
	}
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(429)
		_, _ = io.WriteString(w, `{"error":`)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	p := newProxied(t, "", "", upstream.URL)
	start := time.Now()
	res, _, _ := p.do("POST", "/v1/chat/completions", `{}`)
	if took := time.Since(start); res.StatusCode != 429 || took > 2*errorBodyTimeout {
		t.Errorf("answered %d after %v", res.StatusCode, took)
	}
}
