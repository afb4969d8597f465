package backends

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestLongStreamsTakeNoMemory: a response of any length passes through a few
// buffers, metered or not.
func TestLongStreamsTakeNoMemory(t *testing.T) { eachWay(t, testLongStreams) }

func testLongStreams(t *testing.T, proxy string) {
	const size, most = 128 << 20, 48 << 20
	event := []byte(`data: {"id":"c","choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 60<<10) + "\"}}]}\n\n")
	for name, c := range map[string]struct {
		path, contentType string
		piece             []byte
	}{
		"events": {"/v1/chat/completions", "text/event-stream", event},
		"sound":  {"/v1/audio/speech", "audio/mpeg", bytes.Repeat([]byte{0xff}, 64<<10)},
	} {
		t.Run(name, func(t *testing.T) {
			upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", c.contentType)
				for sent := 0; sent < size; sent += len(c.piece) {
					if _, err := w.Write(c.piece); err != nil {
						t.Error(err)
						return
					}
				}
			})
			p := newProxied(t, "", proxy, upstream.URL)
			runtime.GC()
			var before, now runtime.MemStats
			runtime.ReadMemStats(&before)
			res, err := http.Post(p.server.URL+c.path, "application/json", strings.NewReader(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			var read int64
			for {
				n, err := io.CopyN(io.Discard, res.Body, 32<<20)
				read += n
				if runtime.ReadMemStats(&now); now.HeapInuse > before.HeapInuse+most {
					t.Fatalf("after %d MB the heap has grown by %d MB", read>>20, (now.HeapInuse-before.HeapInuse)>>20)
				}
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if out := <-p.done; read < size || out.err != nil || out.panicked != nil {
				t.Errorf("%d bytes came, %v %v", read, out.err, out.panicked)
			}
		})
	}
}

// counted starts a model server that counts its connections.
func counted(t *testing.T, configure func(*httptest.Server)) (s *httptest.Server, connections *atomic.Int64) {
	t.Helper()
	connections = new(atomic.Int64)
	s = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Request-Id", fmt.Sprint(r.ProtoMajor))
		_, _ = io.WriteString(w, `{}`)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	configure(s)
	t.Cleanup(s.Close)
	return s, connections
}

// TestConnectionsAreUsedAgain: a handshake for each request would cost more than
// the gate itself.
func TestConnectionsAreUsedAgain(t *testing.T) { eachWay(t, testConnections) }

func testConnections(t *testing.T, proxy string) {
	const rounds, callers = 10, 16
	for _, c := range []struct {
		name, transport string
		configure       func(*httptest.Server)
		protocol        string
		most            int64 // connections of all callers at once
	}{
		// net/http dials while it waits for a connection to become idle, so
		// there may be slightly more connections than callers.
		{"HTTP/1.1", "", (*httptest.Server).Start, "1", 3 * callers},
		{"HTTP/2", `"tls":{"insecure_skip_verify":true}`, func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, "2", callers},
		{"h2c", `"versions":["h2c"]`, func(s *httptest.Server) {
			s.Config.Protocols = new(http.Protocols)
			s.Config.Protocols.SetUnencryptedHTTP2(true)
			s.Start()
		}, "2", callers},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, connections := counted(t, c.configure)
			p := newProxied(t, c.transport, proxy, s.URL)
			for range rounds {
				_, _, out := p.do("POST", "/v1/chat/completions", `{}`)
				if out.err != nil || out.attempt.UpstreamRequestID != c.protocol {
					t.Fatalf("%v, by HTTP/%s", out.err, out.attempt.UpstreamRequestID)
				}
			}
			if n := connections.Load(); n != 1 {
				t.Errorf("%d requests in a row took %d connections", rounds, n)
			}
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for range rounds {
						if _, _, out := p.do("POST", "/v1/chat/completions", `{}`); out.err != nil {
							t.Error(out.err)
						}
					}
				})
			}
			all.Wait()
			if n := connections.Load(); n > c.most {
				t.Errorf("%d requests of %d callers took %d connections", rounds*callers, callers, n)
			}
		})
	}
}

// TestAnswerThatLiesAboutItsLength: a body shorter than its Content-Length has
// broken off, and bytes beyond it are not part of it.
func TestAnswerThatLiesAboutItsLength(t *testing.T) { eachWay(t, testLengths) }

func testLengths(t *testing.T, proxy string) {
	for length, cut := range map[int]bool{1: false, 2: false, 3: true} {
		upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: %d\r\n\r\n{}", length)
		})
		p := newProxied(t, "", proxy, upstream.URL)
		res, err := http.Post(p.server.URL+"/v1/audio/speech", "application/json", strings.NewReader(`{}`))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if out := <-p.done; (err != nil) != cut || (out.panicked != nil) != cut || len(body) > 2 || !cut && len(body) != length {
			t.Errorf("of a length of %d the caller got %q, %v; the gate saw %v", length, body, err, out.panicked)
		}
	}
}

// TestEndlessAnswerEndsWithItsCaller: nothing continues to read it.
func TestEndlessAnswerEndsWithItsCaller(t *testing.T) { eachWay(t, testEndless) }

func testEndless(t *testing.T, proxy string) {
	ended := make(chan struct{})
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Type", "application/json")
		for piece := bytes.Repeat([]byte(" "), 32<<10); ; {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	p := newProxied(t, "", proxy, upstream.URL)
	res, err := http.Post(p.server.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, res.Body, 8<<20); err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Error("the backend still sends")
	}
	<-p.done
}
