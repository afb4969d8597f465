package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// A backend bypasses reverse_proxy only if its config contains nothing that
// reverse_proxy would do, known or not.
func TestOnlyPlainBackendsAreDirect(t *testing.T) {
	const one = "127.0.0.1:8000"
	for _, c := range []struct {
		transport, proxy string
		dials            []string
		direct           bool
	}{
		{"", "", []string{one}, true},
		{"", "", []string{one, "127.0.0.1:8001", "models.example:443"}, true},
		{"", "", []string{"tcp/models.example:80"}, true},
		{keyed + `,"tls":{"server_name":"models.example"},"versions":["h2c"],"read_timeout":"1m","pass_headers":["x-tenant"]`, "", []string{one}, true},
		{`"api":"echo"`, "", []string{"echo.invalid:80"}, true},

		{"", "", []string{"unix//run/model.sock"}, false},
		{"", "", []string{"tcp4/" + one}, false},
		{"", "", []string{one, "{env.MODEL_HOST}:8000"}, false},
		{`"proxy_protocol":"v2"`, "", []string{one}, false},
		{`"tls":{"server_name":"{env.MODEL_HOST}"}`, "", []string{one}, false},
		{`"pass_headers":["via"]`, "", []string{one}, false},
		{`"pass_headers":["x-forwarded-for"]`, "", []string{one}, false},

		{"", onlyProxied, []string{one}, false},
		{"", `"load_balancing":{}`, []string{one}, false},
		{"", `"load_balancing":{"selection_policy":{"policy":"random"}}`, []string{one}, false},
		{"", `"health_checks":{"passive":{"fail_duration":"1m"}}`, []string{one}, false},
		{"", `"headers":{"request":{"set":{"X-Tenant":["t"]}}}`, []string{one}, false},
		{"", `"headers":{"response":{"delete":["X-Tenant"]}}`, []string{one}, false},
		{"", `"rewrite":{"strip_path_prefix":"/v1"}`, []string{one}, false},
		{"", `"handle_response":[{}]`, []string{one}, false},
		{"", `"trusted_proxies":["10.0.0.0/8"]`, []string{one}, false},
		{"", `"response_buffers":1000`, []string{one}, false},
		{"", `"stream_timeout":"1m"`, []string{one}, false},
		{"", `"flush_interval":"1s"`, []string{one}, false},
	} {
		p := newProxied(t, c.transport, c.proxy, c.dials...)
		direct, ok := p.way.(*Direct)
		if ok != c.direct {
			t.Errorf("%q %q %q: direct is %v", c.transport, c.proxy, c.dials, ok)
		}
		if _, err := NewForwarder(p.handler, p.config, ForwardDirect); (err == nil) != c.direct {
			t.Errorf("%q %q %q: proxy direct: %v", c.transport, c.proxy, c.dials, err)
		}
		forced, err := NewForwarder(p.handler, p.config, ForwardProxied)
		if err != nil || forced.Way != ForwardProxied || forced.Reason == "" {
			t.Errorf("%q %q %q: proxy reverse_proxy: %+v, %v", c.transport, c.proxy, c.dials, forced, err)
		}
		if ok && len(direct.to) != len(c.dials) {
			t.Errorf("%q: %d upstreams", c.dials, len(direct.to))
		}
	}
	config := []byte(`{"upstreams":[{"dial":"127.0.0.1:8000","max_requests":4}],"transport":{"protocol":"pinegate"}}`)
	if _, needs := plain(config, provision(t, "")); needs != "upstreams.max_requests" {
		t.Errorf("an upstream with max_requests needs %q", needs)
	}
	config = []byte(`{"upstreams":[{"dial":"127.0.0.1:8000"}],"yet_unknown":{}}`)
	if _, needs := plain(config, provision(t, "")); needs != "yet_unknown" {
		t.Errorf("a field that nobody knows needs %q", needs)
	}
}

func TestDirectGoesToAllUpstreams(t *testing.T) {
	var dials []string
	asked := make(chan int, 1)
	for i := range 3 {
		dials = append(dials, backend(t, func(http.ResponseWriter, *http.Request) { asked <- i }).URL)
	}
	p := newProxied(t, "", "", dials...)
	reached := make(map[int]bool)
	for range 1000 {
		if _, _, out := p.do("POST", "/v1/chat/completions", `{}`); out.err != nil {
			t.Fatal(out.err)
		}
		reached[<-asked] = true
		if len(reached) == len(dials) {
			return
		}
	}
	t.Errorf("of %d upstreams only %v were asked", len(dials), reached)
}

// poison is a caller's body that has been read: the server may close it and
// reuse its buffers at any time.
type poison struct{ t *testing.T }

func (p poison) Read([]byte) (int, error) {
	p.t.Error("the server's body was read")
	return 0, io.EOF
}

func (p poison) Close() error {
	p.t.Error("the server's body was closed")
	return nil
}

// net/http continues to read the request body when the backend has already
// answered.
func TestTheServersBodyNeverReachesTheTransport(t *testing.T) {
	eachWay(t, func(t *testing.T, proxy string) {
		answered := make(chan struct{})
		upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "2")
			_, _ = io.WriteString(w, "{}")
			_ = http.NewResponseController(w).Flush()
			<-answered
			n, _ := io.Copy(io.Discard, r.Body)
			if n != 1<<20 && n != 0 { // 0: the gate closed the connection
				t.Logf("%d bytes of the body came", n)
			}
		})
		p := newProxied(t, "", proxy, upstream.URL)
		p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
			ex.Body = rawBody([]byte(strings.Repeat("x", 1<<20)))
			r.Body = poison{t}
			return r
		}
		_, body, out := p.do("POST", "/v1/chat/completions", `{}`)
		close(answered)
		if body != "{}" || out.err != nil {
			t.Errorf("answered %q, %v", body, out.err)
		}
	})
}

// A response that the backend breaks off must not look complete, and the log
// must say why.
func TestABrokenAnswerCutsTheCaller(t *testing.T) {
	for name, answer := range map[string]string{
		"by length": "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"id\":",
		"chunked":   "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n{\"id\":\"" + strings.Repeat("x", 0x11000-7) + "\r\n",
		"of events": "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n2f\r\n" + chatEvent + "\r\n",
		"of chunks": "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nID3abc\r\nzz\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, proxy string) {
				p := newProxied(t, keyed, proxy, backend(t, hangsUp(answer)).URL)
				res, err := http.Post(p.server.URL+"/v1/chat/completions", "application/json", strings.NewReader("{}"))
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				out := <-p.done
				if err == nil || out.panicked != http.ErrAbortHandler {
					t.Errorf("the caller read %v; panicked with %v", err, out.panicked)
				}
				if out.attempt.Broken == nil || out.attempt.Left {
					t.Errorf("attempt %+v", out.attempt)
				}
			})
		})
	}
}

func hangsUp(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, text)
		conn.Close()
	}
}

// A caller to whom a write fails has left, even while its connection is open.
func TestACallerWhoTakesNothingHasLeft(t *testing.T) {
	upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") })
	p := newProxied(t, "", "", upstream.URL)
	ex := &Attempt{Endpoint: wire.Chat, HasBody: true, Body: rawBody([]byte("{}"))}
	func() {
		defer func() {
			if recover() != http.ErrAbortHandler {
				t.Error("no abort")
			}
		}()
		_ = p.way.Forward(t.Context(), full{httptest.NewRecorder()}, httptest.NewRequest("POST", "/v1/chat/completions", nil), ex)
	}()
	if !ex.Left || ex.Broken != nil {
		t.Errorf("attempt %+v", ex)
	}
}

// full fails to write a body.
type full struct{ *httptest.ResponseRecorder }

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }

func TestDirectTellsTheAccessLogOfACallerWhoLeft(t *testing.T) {
	eachWay(t, func(t *testing.T, proxy string) {
		arrived := make(chan struct{})
		upstream := backend(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			close(arrived)
			<-r.Context().Done()
		})
		p := newProxied(t, "", proxy, upstream.URL)
		status := make(chan int, 1)
		p.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			recorder := httptest.NewRecorder()
			p.ServeHTTP(recorder, r)
			status <- recorder.Code
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-arrived
			cancel()
		}()
		req, _ := http.NewRequestWithContext(ctx, "POST", p.server.URL+"/v1/chat/completions", strings.NewReader(`{}`))
		if _, err := http.DefaultTransport.RoundTrip(req); err == nil {
			t.Fatal("answered")
		}
		if out := <-p.done; out.err != nil || out.attempt.Err == nil {
			t.Errorf("%v, attempt %+v", out.err, out.attempt)
		}
		if got := <-status; got != statusClientClosed {
			t.Errorf("status %d", got)
		}
	})
}

// A stream's header is sent before its first event, and events are sent in the
// pieces in which they arrived: one flush for each read.
func TestOneFlushForEachRead(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		length int64
		reads  []string
		want   string
	}{
		"events":                  {"text/event-stream; charset=utf-8", -1, []string{"a", "bc", "d"}, "|a|bc|d|"},
		"events of known length":  {"Text/Event-Stream", 4, []string{"a", "bcd"}, "|a|bcd|"},
		"audio of unknown length": {"audio/mpeg", -1, []string{"ab", "cd"}, "|ab|cd|"},
		"a whole answer":          {"application/json", 4, []string{"ab", "cd"}, "abcd"},
		"no type":                 {"", 4, []string{"abcd"}, "abcd"},
	} {
		t.Run(name, func(t *testing.T) {
			res := &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, ContentLength: c.length, Body: &pieces{reads: c.reads}}
			if c.header != "" {
				res.Header.Set("Content-Type", c.header)
			}
			w := &flushes{header: make(http.Header)}
			if err := answer(w, res, new(Attempt)); err != nil {
				t.Fatal(err)
			}
			if got := w.text.String(); got != c.want {
				t.Errorf("left as %q, want %q", got, c.want)
			}
			if !res.Body.(*pieces).closed {
				t.Error("the body was left open")
			}
		})
	}
}

// pieces is a body that is read in these pieces.
type pieces struct {
	reads  []string
	closed bool
}

func (b *pieces) Read(p []byte) (int, error) {
	if len(b.reads) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.reads[0])
	b.reads = b.reads[1:]
	return n, nil
}

func (b *pieces) Close() error { b.closed = true; return nil }

// flushes records the body, with a | for each flush.
type flushes struct {
	header http.Header
	text   strings.Builder
}

func (f *flushes) Header() http.Header         { return f.header }
func (f *flushes) WriteHeader(int)             {}
func (f *flushes) Write(p []byte) (int, error) { return f.text.Write(p) }
func (f *flushes) Flush()                      { f.text.WriteByte('|') }

// Copy buffers are reused: each response must hold what its own backend sent,
// under any concurrency.
func TestBuffersAreNotShared(t *testing.T) {
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for range 20 {
			_, _ = w.Write(body)
			_ = http.NewResponseController(w).Flush()
		}
	})
	p := newProxied(t, "", "", upstream.URL)
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for n := range 20 {
				word := strings.Repeat(fmt.Sprintf("%d.%d ", i, n), 50+n)
				res, err := http.Post(p.server.URL+"/v1/audio/speech", "application/json", strings.NewReader(word))
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(res.Body)
				res.Body.Close()
				<-p.done
				if err != nil || string(text) != strings.Repeat(word, 20) {
					t.Errorf("a mixture of answers: %v", err)
				}
			}
		})
	}
	callers.Wait()
}
