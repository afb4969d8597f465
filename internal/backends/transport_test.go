package backends

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// seen is a request as the backend received it.
type seen struct {
	method, uri, host, body string
	header                  http.Header
	length                  int64
	trailer                 http.Header
}

// recorder starts a backend that records the requests it receives.
func recorder(t *testing.T) (*httptest.Server, <-chan seen) {
	ch := make(chan seen, 10)
	s := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		ch <- seen{r.Method, r.RequestURI, r.Host, string(body), r.Header.Clone(), r.ContentLength, r.Trailer}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{}`)
	})
	return s, ch
}

var callerHeaders = []string{
	"Authorization: Bearer caller-key", "X-Api-Key: caller-key", "Api-Key: caller-key", "X-Goog-Api-Key: caller-key",
	"Cookie: session=1", "X-Forwarded-For: 9.9.9.9", "X-Forwarded-Host: evil.example", "Forwarded: for=9.9.9.9", "Via: 1.1 evil",
	"X-Original-Url: /admin", "Connection: Authorization, X-Api-Key", "Te: trailers", "Early-Data: 1", "Accept-Encoding: br",
	"Content-Type: application/json", "User-Agent: agent/1", "Anthropic-Beta: beta",
}

// azured is a transport for Azure's classic API.
const azured = keyed + `,"base_path":"/openai","api_version":"2024-10-21"`

// asks sets the model of an attempt, and its query.
func asks(model, query string) func(*Attempt, *http.Request) *http.Request {
	return func(ex *Attempt, r *http.Request) *http.Request {
		ex.Model, ex.Query = model, query
		return r
	}
}

func TestWhatReachesTheBackend(t *testing.T) { eachWay(t, testWhatReachesTheBackend) }

func testWhatReachesTheBackend(t *testing.T, proxy string) {
	const chat = `{"model":"m","messages":[]}`
	for _, c := range []struct {
		name, transport, proxy     string
		method, path, body         string
		uri                        string
		header                     []string // in addition to those below
		host                       string   // "": the upstream's
		prepare                    func(*Attempt, *http.Request) *http.Request
		length                     int64
		withoutContent, withoutKey bool
	}{
		{name: "openai", transport: keyed, method: "POST", path: "/v1/chat/completions?api_key=1&a=b", body: chat,
			uri: "/v1/chat/completions", header: []string{"Authorization: Bearer " + canary}},
		{name: "anthropic", transport: keyed + `,"api":"anthropic"`, method: "POST", path: "/v1/messages", body: chat,
			uri: "/v1/messages", header: []string{"X-Api-Key: " + canary, "Anthropic-Version: 2023-06-01"}},
		{name: "base path", transport: keyed + `,"base_path":"/openai/v1/"`, method: "POST", path: "/v1/embeddings", body: chat,
			uri: "/openai/v1/embeddings", header: []string{"Authorization: Bearer " + canary}},
		{name: "Anthropic's version is the caller's", transport: keyed + `,"api":"anthropic"`, method: "POST", path: "/v1/messages", body: chat,
			uri: "/v1/messages", header: []string{"X-Api-Key: " + canary, "Anthropic-Version: 2099-01-01"},
			prepare: func(_ *Attempt, r *http.Request) *http.Request {
				r.Header.Set("Anthropic-Version", "2099-01-01")
				return r
			}},
		{name: "Azure's API v1", transport: keyed + `,"base_path":"/openai/v1","key_header":"api-key"`, method: "POST", path: "/v1/chat/completions", body: chat,
			uri: "/openai/v1/chat/completions", header: []string{"Api-Key: " + canary}},
		{name: "a deployment of Azure by its model's name", transport: azured, method: "POST", path: "/v1/chat/completions?api-version=1", body: chat,
			uri: "/openai/deployments/gpt-4o.eu_1/chat/completions?api-version=2024-10-21", header: []string{"Api-Key: " + canary}, prepare: asks("gpt-4o.eu_1", "")},
		{name: "a deployment of Azure in the URL", transport: keyed + `,"base_path":"/openai/deployments/fixed","api_version":"2024-10-21"`, method: "POST", path: "/v1/embeddings", body: chat,
			uri: "/openai/deployments/fixed/embeddings?api-version=2024-10-21", header: []string{"Api-Key: " + canary}, prepare: asks("gpt-4o", "")},
		{name: "what Azure has outside of deployments", transport: azured, method: "POST", path: "/v1/responses", body: chat,
			uri: "/openai/responses?api-version=2024-10-21", header: []string{"Api-Key: " + canary}, prepare: asks("gpt-4o", "")},
		{name: "a query of the gate's own", transport: azured, method: "GET", path: "/v1/models?a=b",
			uri: "/openai/models?limit=9&api-version=2024-10-21", header: []string{"Api-Key: " + canary}, prepare: asks("", "limit=9")},
		{name: "at the root, without a key", transport: `"base_path":"/"`, method: "POST", path: "/v1/embeddings", body: chat, uri: "/embeddings"},
		{name: "an id", method: "GET", path: "/v1/responses/resp_1?stream=true", uri: "/v1/responses/resp_1"},
		{name: "an id that needs escapes", method: "GET", path: "/v1/models/a", uri: "/v1/models/a%20b%3Fc",
			prepare: func(ex *Attempt, r *http.Request) *http.Request { ex.Path = "/models/a b?c"; return r }},
		{name: "header_up", transport: `"pass_headers":["x-forwarded-for"]`, method: "POST", path: "/v1/embeddings", body: chat, uri: "/v1/embeddings",
			proxy:  `"headers":{"request":{"set":{"Api-Key":["operator"],"X-Tenant":["t"],"Host":["models.example"]}}}`,
			header: []string{"Api-Key: operator", "X-Tenant: t", "X-Forwarded-For: 127.0.0.1"}, host: "models.example"},
		{name: "header_up and api_key", transport: keyed, method: "POST", path: "/v1/embeddings", body: chat, uri: "/v1/embeddings",
			proxy:  `"headers":{"request":{"set":{"Api-Key":["operator"],"Authorization":["Bearer other"]}}}`,
			header: []string{"Api-Key: operator", "Authorization: Bearer " + canary}},
	} {
		t.Run(c.name, func(t *testing.T) {
			upstream, asked := recorder(t)
			p := newProxied(t, c.transport, cmp.Or(c.proxy, proxy), upstream.URL)
			p.prepare = c.prepare
			_, _, out := p.do(c.method, c.path, c.body, callerHeaders...)
			if out.err != nil {
				t.Fatal(out.err)
			}
			got := <-asked
			want := header(append(c.header, "Accept-Encoding: identity", "User-Agent: agent/1", "Anthropic-Beta: beta")...)
			if c.body != "" {
				want.Set("Content-Type", "application/json")
				want.Set("Content-Length", "27")
			}
			if !maps.EqualFunc(got.header, want, slices.Equal) {
				t.Errorf("header\n got %v\nwant %v", got.header, want)
			}
			if c.host == "" {
				c.host = strings.TrimPrefix(upstream.URL, "http://")
			}
			if got.method != c.method || got.uri != c.uri || got.body != c.body || got.host != c.host || len(got.trailer) > 0 {
				t.Errorf("got %s %s at %s: %q, trailer %v", got.method, got.uri, got.host, got.body, got.trailer)
			}
			ex := out.attempt
			if ex.Status != 200 || ex.CallerStatus != 200 || !ex.Dispatched || ex.RoundTrips != 1 || ex.Err != nil || ex.Latency <= 0 || ex.Flag != "" {
				t.Errorf("attempt %+v", ex)
			}
		})
	}
}

// TestModelIsNoPath: callers choose the model, and it becomes part of the path.
func TestModelIsNoPath(t *testing.T) {
	upstream := backend(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the backend was asked %s", r.RequestURI) })
	p := newProxied(t, azured, "", upstream.URL)
	for _, model := range []string{"", ".", "..", "../../admin", "a/b", "a%2fb", "a?b", "a b", "a\\b", "é", strings.Repeat("a", 65)} {
		p.prepare = asks(model, "")
		res, body, out := p.do("POST", "/v1/chat/completions", `{}`)
		if res.StatusCode != 404 || !strings.Contains(body, `"code":"model_not_found"`) || out.attempt.Dispatched {
			t.Errorf("%q: %d %s, attempt %+v", model, res.StatusCode, body, out.attempt)
		}
	}
}

func TestRequestIsNotChanged(t *testing.T) {
	upstream, _ := recorder(t)
	t.Setenv("PINEGATE_TEST_KEY", canary)
	tr := provision(t, keyed)
	for _, ex := range []*Attempt{nil, {HasBody: true, Body: rawBody([]byte("x"))}} {
		req := httptest.NewRequest("POST", upstream.URL+"/health?x=1", strings.NewReader("body"))
		req.RequestURI = ""
		req.Header = header("Via: 1.1 Caddy", "X-Forwarded-For: 1.2.3.4")
		if ex != nil {
			req = req.WithContext(WithAttempt(req.Context(), ex))
		}
		before := *req
		url, headers := *req.URL, req.Header.Clone()
		res, err := tr.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if *req.URL != url || !maps.EqualFunc(req.Header, headers, slices.Equal) || req.Body != before.Body || req.ContentLength != before.ContentLength || req.Host != before.Host {
			t.Errorf("with attempt %v the request became %+v", ex != nil, req)
		}
	}
}

func TestHealthCheckHasTheCredentialAndItsOwnPath(t *testing.T) {
	upstream, asked := recorder(t)
	newProxied(t, keyed+`,"base_path":"/openai/v1"`, `"health_checks":{"active":{"uri":"/health?deep=1","interval":"1h"}}`, upstream.URL)
	got := <-asked // the first check runs at once
	if got.uri != "/health?deep=1" || got.header.Get("Authorization") != "Bearer "+canary {
		t.Errorf("asked %s with %v", got.uri, got.header)
	}
}

func TestRetryOfReverseProxyRepeatsTheRequest(t *testing.T) {
	upstream, asked := recorder(t)
	gone := httptest.NewServer(nil)
	gone.Close()
	p := newProxied(t, keyed, `"load_balancing":{"retries":1,"selection_policy":{"policy":"first"}},"health_checks":{"passive":{"fail_duration":"1m"}}`, gone.URL, upstream.URL)
	_, _, out := p.do("POST", "/v1/chat/completions", `{"a":1}`, "Content-Type: application/json")
	if got := <-asked; got.uri != "/v1/chat/completions" || got.body != `{"a":1}` || got.length != 7 {
		t.Errorf("got %+v", got)
	}
	if ex := out.attempt; ex.RoundTrips != 2 || !ex.Dispatched || ex.Err != nil {
		t.Errorf("attempt %+v", ex)
	}
}

func TestDispatchedOnlyWhenConnected(t *testing.T) { eachWay(t, testDispatchedOnlyWhenConnected) }

func testDispatchedOnlyWhenConnected(t *testing.T, proxy string) {
	gone := httptest.NewServer(nil)
	gone.Close()
	resets := backend(t, func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	for name, c := range map[string]struct {
		transport, upstream string
		dispatched          bool
	}{
		"refused":          {"", gone.URL, false},
		"outside":          {`"dial_allow":["public"]`, resets.URL, false},
		"no TLS there":     {`"tls":{}`, resets.URL, false},
		"reset by backend": {"", resets.URL, true},
	} {
		p := newProxied(t, c.transport, proxy, c.upstream)
		res, _, out := p.do("POST", "/v1/chat/completions", `{}`)
		var attempt *AttemptError
		if !errors.As(out.err, &attempt) || attempt.Status != 0 || attempt.Timeout() || out.attempt.Err == nil {
			t.Errorf("%s: %v", name, out.err)
		}
		if out.attempt.Dispatched != c.dispatched || out.attempt.Status != 0 || res.StatusCode != http.StatusTeapot {
			t.Errorf("%s: answered %d, attempt %+v", name, res.StatusCode, out.attempt)
		}
		var dial reverseproxy.DialError
		if name != "no TLS there" && errors.As(out.err, &dial) == c.dispatched {
			t.Errorf("%s: dial error: %v, %v", name, !c.dispatched, out.err)
		}
	}
}

// TestDialPolicyHoldsWhenDialled connects to a real listener: the backend must
// see no byte, whichever way reverse_proxy dials.
func TestDialPolicyHoldsWhenDialled(t *testing.T) { eachWay(t, testDialPolicyHoldsWhenDialled) }

func testDialPolicyHoldsWhenDialled(t *testing.T, proxy string) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	read := make(chan int, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, _ := conn.Read(make([]byte, 1))
			conn.Close()
			read <- n
		}
	}()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	for _, c := range []struct{ name, transport, dial string }{
		{"http", `"dial_allow":["public"]`, "127.0.0.1:" + port},
		{"a name", `"dial_allow":["10.0.0.0/8","public"]`, "localhost:" + port},
		{"https", `"dial_allow":["private"],"tls":{}`, "127.0.0.1:" + port},
		{"h2c", `"dial_allow":["public"],"versions":["h2c"]`, "127.0.0.1:" + port},
		{"unspecified", `"dial_allow":["public"]`, "0.0.0.0:" + port},
		{"mapped", `"dial_allow":["public"]`, "[::ffff:127.0.0.1]:" + port},
		{"decimal", `"dial_allow":["public"]`, "2130706433:" + port},
	} {
		p := newProxied(t, c.transport, proxy, c.dial)
		_, _, out := p.do("POST", "/v1/chat/completions", `{}`)
		var refused *DialRefusedError
		if !errors.As(out.err, &refused) {
			// Unless the C library resolves it, the odd spelling is a name that
			// does not exist, which is refused as well.
			if c.name != "decimal" || !strings.Contains(out.err.Error(), "no such host") {
				t.Errorf("%s: %v", c.name, out.err)
			}
			continue
		}
		if n := <-read; n != 0 {
			t.Errorf("%s: the backend got a byte", c.name)
		}
		if strings.Contains(refused.Error(), "127") || !refused.Addr.IsLoopback() {
			t.Errorf("%s: %v of %v", c.name, refused, refused.Addr)
		}
	}
	// With a policy that allows the address, the backend is reached.
	p := newProxied(t, `"dial_allow":["loopback"]`, proxy, "127.0.0.1:"+port)
	p.do("POST", "/v1/chat/completions", `{}`)
	if n := <-read; n != 1 {
		t.Error("an allowed backend was not reached")
	}
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	host := make(chan string, 1)
	s := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { host <- r.Host })}
	go func() { _ = s.Serve(listener) }()
	defer s.Close()
	p := newProxied(t, `"dial_allow":["public"]`, "", "unix/"+socket)
	if _, _, out := p.do("POST", "/v1/chat/completions", `{}`); out.err != nil {
		t.Fatal(out.err)
	}
	if got := <-host; got != "localhost" {
		t.Errorf("Host %q", got)
	}
}

func TestHostIsWithoutTheSchemesPort(t *testing.T) {
	for _, c := range []struct {
		dial, want string
		tls        bool
	}{
		{"api.example:443", "api.example", true},
		{"api.example:80", "api.example:80", true},
		{"api.example:80", "api.example", false},
		{"[::1]:80", "[::1]", false},
		{"api.example:8000", "api.example:8000", false},
	} {
		tr := &Transport{HTTPTransport: new(reverseproxy.HTTPTransport)}
		if c.tls {
			tr.TLS = new(reverseproxy.TLSConfig)
		}
		_, port, _ := net.SplitHostPort(c.dial)
		if got := tr.host("tcp", c.dial, port); got != c.want {
			t.Errorf("%s: %q, want %q", c.dial, got, c.want)
		}
	}
}

func TestTLSBackend(t *testing.T) { eachWay(t, testTLSBackend) }

func testTLSBackend(t *testing.T, proxy string) {
	asked := make(chan string, 1)
	upstream := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.Proto + " " + r.Host }))
	upstream.EnableHTTP2 = true
	upstream.TLS = new(tls.Config)
	upstream.StartTLS()
	defer upstream.Close()
	p := newProxied(t, keyed+`,"tls":{"insecure_skip_verify":true}`, proxy, upstream.URL)
	if _, _, out := p.do("POST", "/v1/chat/completions", `{}`); out.err != nil || !out.attempt.Dispatched {
		t.Fatalf("%v, %+v", out.err, out.attempt)
	}
	if got, want := <-asked, "HTTP/2.0 "+strings.TrimPrefix(upstream.URL, "https://"); got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
}

// TestCallerWhoLeavesIsNoFailure: otherwise a caller could remove a backend from
// its pool by leaving.
func TestCallerWhoLeavesIsNoFailure(t *testing.T) { eachWay(t, testCallerWhoLeavesIsNoFailure) }

func testCallerWhoLeavesIsNoFailure(t *testing.T, proxy string) {
	arrived, release := make(chan struct{}), make(chan struct{})
	upstream := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		close(arrived)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	if proxy != "" {
		proxy = `"health_checks":{"passive":{"fail_duration":"1m"}}`
	}
	p := newProxied(t, "", proxy, upstream.URL)
	ctx, cancel := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, "POST", p.server.URL+"/v1/chat/completions", strings.NewReader(`{}`))
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := http.DefaultClient.Do(req); err == nil {
		t.Fatal("answered")
	}
	out := <-p.done
	if out.err != nil || !errors.Is(out.attempt.Err, context.Canceled) || !out.attempt.Dispatched || out.attempt.Status != 0 {
		t.Errorf("error %v, attempt %+v", out.err, out.attempt)
	}
	if fails := p.handler.Upstreams[0].Host.Fails(); fails != 0 {
		t.Errorf("%d failures", fails)
	}
}

type lateError struct{ error }

func (lateError) Timeout() bool { return true }

func TestGatesOwnCauseComesBack(t *testing.T) { eachWay(t, testGatesOwnCauseComesBack) }

func testGatesOwnCauseComesBack(t *testing.T, proxy string) {
	upstream := backend(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a server only notices that its client has gone after reading the body
		<-r.Context().Done()
	})
	cause := lateError{errors.New("no first token in time")}
	p := newProxied(t, "", proxy, upstream.URL)
	p.prepare = func(_ *Attempt, r *http.Request) *http.Request {
		ctx, cancel := context.WithCancelCause(r.Context())
		time.AfterFunc(20*time.Millisecond, func() { cancel(cause) })
		return r.WithContext(ctx)
	}
	_, _, out := p.do("POST", "/v1/chat/completions", `{}`)
	var attempt *AttemptError
	if !errors.As(out.err, &attempt) || !errors.Is(out.err, cause) || !attempt.Timeout() || errors.Is(out.err, context.Canceled) {
		t.Errorf("got %v", out.err)
	}
}

func TestAttemptErrorTimeout(t *testing.T) {
	for _, c := range []struct {
		err  AttemptError
		want bool
	}{
		{AttemptError{Status: 504}, true},
		{AttemptError{Status: 503, Err: context.DeadlineExceeded}, false},
		{AttemptError{Err: context.DeadlineExceeded}, true},
		{AttemptError{Err: errors.New("reset")}, false},
	} {
		if got := c.err.Timeout(); got != c.want {
			t.Errorf("%v: %v", &c.err, got)
		}
		if c.err.Error() == "" || strings.Contains(c.err.Error(), "nil") {
			t.Errorf("text %q", c.err.Error())
		}
	}
}

func TestProvisionSetsDefaults(t *testing.T) {
	tr := provision(t, "")
	if tr.API != "openai" || tr.BasePath != "/v1" || tr.Transport.MaxIdleConnsPerHost != 1024 || !tr.Transport.DisableCompression ||
		tr.Transport.TLSHandshakeTimeout != 10*time.Second || tr.Transport.MaxResponseHeaderBytes != 256<<10 {
		t.Errorf("%+v, %+v", tr, tr.Transport)
	}
	tr = provision(t, `"keep_alive":{"max_idle_conns_per_host":7},"max_response_header_size":4096,"tls":{"handshake_timeout":"3s"}`)
	if tr.Transport.MaxIdleConnsPerHost != 7 || tr.Transport.MaxResponseHeaderBytes != 4096 || tr.Transport.TLSHandshakeTimeout != 3*time.Second {
		t.Errorf("%+v", tr.Transport)
	}
}

func TestProvisionRefuses(t *testing.T) {
	for config, want := range map[string]string{
		`"key_header":"cookie"`:                               `"cookie" is none of authorization, x-api-key and api-key`,
		`"api_version":"2024&a=b"`:                            "write it like 2024-10-21",
		`"api":"gemini"`:                                      `"gemini" is none of openai, anthropic and echo`,
		`"api":"echo","api_keys":["{env.PATH}"]`:              "echo takes no credential",
		`"api_keys":["sk-live-1"]`:                            "write {env.NAME}",
		`"versions":["3"]`:                                    "HTTP/3",
		`"versions":["1.1","3"]`:                              "HTTP/3",
		`"compression":true`:                                  "compression",
		`"dial_allow":["internet"]`:                           `"internet" is none of`,
		`"pass_headers":["Cookie"]`:                           "Cookie is never passed on",
		`"base_path":"v1"`:                                    "no plain path",
		`"base_path":"/v1?x=1"`:                               "no plain path",
		`"base_path":"/a/../b"`:                               "no plain path",
		`"base_path":"//evil.example/v1"`:                     "no plain path",
		`"base_path":"/%2e%2e"`:                               "no plain path",
		`"base_path":"/{http.request.uri}"`:                   "no plain path",
		`"base_path":"http://other.example/v1"`:               "no plain path",
		`"keep_alive":{"idle_timeout":"1m"},"versions":["9"]`: "unsupported HTTP version",
	} {
		tr := Transport{}.CaddyModule().New().(*Transport)
		if err := json.Unmarshal([]byte("{"+config+"}"), tr); err != nil {
			t.Fatal(err)
		}
		err := tr.Provision(provisionContext(t, filepath.Join(t.TempDir(), "log")))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
		if err := tr.Cleanup(); err != nil { // Caddy calls it after a failure, too
			t.Errorf("%s: %v", config, err)
		}
	}
}

// TestBodyCanBeSentAgain: net/http calls GetBody if an idle connection turns out
// to be closed.
func TestBodyCanBeSentAgain(t *testing.T) {
	ex := &Attempt{HasBody: true, Body: rawBody([]byte("hello"))}
	req := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	tr := provision(t, "")
	o := tr.proxied(req)
	out, _ := tr.request(&o, ex, nil)
	for range 2 {
		body, err := out.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(body); string(b) != "hello" || out.ContentLength != 5 {
			t.Errorf("body %q of length %d", b, out.ContentLength)
		}
	}
}

// provision returns a transport without a reverse_proxy.
func provision(t *testing.T, config string) *Transport {
	t.Helper()
	tr := Transport{}.CaddyModule().New().(*Transport)
	if err := json.Unmarshal([]byte("{"+config+"}"), tr); err != nil {
		t.Fatal(err)
	}
	if err := tr.Provision(provisionContext(t, filepath.Join(t.TempDir(), "log"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.Cleanup() })
	return tr
}
