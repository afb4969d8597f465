package backends

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	_ "github.com/caddyserver/caddy/v2/modules/logging"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/internal/wire/request"
)

// canary is the backend's credential in these tests.
const canary = "sk-canary-4f9d1c77"

// onlyProxied is a member of a reverse_proxy's config that does not change its
// behaviour but that only reverse_proxy supports.
const onlyProxied = `"verbose_logs":true`

// eachWay runs a test with both forwarders: proxy is what the reverse_proxy
// config must contain for each.
func eachWay(t *testing.T, test func(t *testing.T, proxy string)) {
	t.Helper()
	t.Run("direct", func(t *testing.T) { test(t, "") })
	t.Run("through reverse_proxy", func(t *testing.T) { test(t, onlyProxied) })
}

// proxied is a forwarder to a backend behind a real socket, with the parts of
// the gate around it.
type proxied struct {
	t       *testing.T
	handler *reverseproxy.Handler
	config  json.RawMessage
	way     Forwarder
	logFile string
	server  *httptest.Server

	// prepare modifies the attempt and the caller's request before each attempt.
	prepare func(*Attempt, *http.Request) *http.Request
	done    chan outcome // one for each request
}

type outcome struct {
	attempt  *Attempt
	err      error
	panicked any
}

// newProxied provisions a reverse_proxy. transport holds members of the
// transport's JSON, proxy those of the handler's.
func newProxied(t *testing.T, transport, proxy string, upstreams ...string) *proxied {
	t.Helper()
	t.Setenv("PINEGATE_TEST_KEY", canary)
	p := &proxied{t: t, logFile: filepath.Join(t.TempDir(), "log"), done: make(chan outcome, 100)}
	ctx := provisionContext(t, p.logFile)

	var dials []string
	for _, u := range upstreams {
		dials = append(dials, `{"dial":`+strconv.Quote(strings.TrimPrefix(strings.TrimPrefix(u, "https://"), "http://"))+`}`)
	}
	config := `{"upstreams":[` + strings.Join(dials, ",") + `],"transport":{"protocol":"pinegate"` + member(transport) + `}` + member(proxy) + `}`
	p.handler, p.config = new(reverseproxy.Handler), json.RawMessage(config)
	if err := json.Unmarshal([]byte(config), p.handler); err != nil {
		t.Fatalf("%v in %s", err, config)
	}
	if err := p.handler.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.handler.Cleanup() })
	forwarding, err := NewForwarder(p.handler, p.config, "")
	if err != nil {
		t.Fatal(err)
	}
	p.way = forwarding.Forwarder
	p.server = httptest.NewServer(p)
	t.Cleanup(p.server.Close)
	return p
}

// provisionContext returns a context that logs at DEBUG to a file.
func provisionContext(t *testing.T, logFile string) caddy.Context {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{"default": {
		BaseLog: caddy.BaseLog{
			WriterRaw: json.RawMessage(`{"output":"file","filename":` + strconv.Quote(logFile) + `}`),
			Level:     "DEBUG",
		},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func member(json string) string {
	if json == "" {
		return ""
	}
	return "," + json
}

func (p *proxied) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	endpoint, id := wire.Match(r.URL.Path)
	ex := &Attempt{Endpoint: endpoint, RequestID: "req-1"}
	if id != "" {
		ex.Path = endpoint.Path() + id
	}
	if endpoint.Metered() {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			p.t.Error(err)
		}
		ex.HasBody, ex.Body = true, rawBody(body)
		ex.Meter = meter.New(meter.Config{Endpoint: endpoint})
	}
	if p.prepare != nil {
		r = p.prepare(ex, r)
	}
	out := outcome{attempt: ex}
	defer func() {
		out.panicked = recover()
		p.done <- out
		if out.panicked != nil {
			panic(out.panicked)
		}
	}()
	out.err = p.way.Forward(r.Context(), w, r, ex)
	if out.err != nil {
		w.WriteHeader(http.StatusTeapot) // what a handler would map
	}
}

// rawBody is a body without edits.
func rawBody(b []byte) request.Body { return new(request.Request).Edit(b, request.Edit{Cap: -1}) }

// do sends a request and returns the answer, its body and the outcome.
func (p *proxied) do(method, path, body string, headers ...string) (*http.Response, string, outcome) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.server.URL+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	for name, values := range header(headers...) {
		req.Header[name] = values
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res, string(b), <-p.done
}

func (p *proxied) log() string {
	p.t.Helper()
	b, err := os.ReadFile(p.logFile)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// backend starts a model server.
func backend(t *testing.T, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handle)
	t.Cleanup(s.Close)
	return s
}

const keyed = `"api_keys":["{env.PINEGATE_TEST_KEY}"]`
