package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// secure is a gate that serves HTTPS by Caddy's own authority, and what a client
// of it has to know.
type secure struct {
	*target
	port int
	tls  *tls.Config
}

func startSecure(t *testing.T, s setup) *secure {
	t.Helper()
	v := &target{gate: newGate(t), backend: newBackend(t, s.answer)}
	v.control = fmt.Sprintf("http://127.0.0.1:%d", gatetest.FreePort())
	port := gatetest.FreePort()
	config := v.config(s)
	config = strings.Replace(config, "{", "{\nskip_install_trust\nlocal_certs\nauto_https disable_redirects", 1)
	plain := fmt.Sprintf("http://:%d {", v.gate.port)
	config = strings.Replace(config, plain, fmt.Sprintf("%s\nbind 127.0.0.1\nrespond /readyz ok\n}\nhttps://localhost:%d {", plain, port), 1)
	v.start(config)
	t.Cleanup(v.audit)
	root, err := os.ReadFile(filepath.Join(v.dir, "caddy", "pki", "authorities", "local", "root.crt"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(root) {
		t.Fatal("the authority's certificate is none")
	}
	client := &tls.Config{RootCAs: pool, ServerName: "localhost"}
	eventually(t, "the certificate is issued", func() bool {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), client)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	return &secure{v, port, client}
}

// clients are one for each version of HTTP.
func (s *secure) clients(t *testing.T) map[string]http.RoundTripper {
	one, two := new(http.Protocols), new(http.Protocols)
	one.SetHTTP1(true)
	two.SetHTTP2(true)
	h1 := &http.Transport{TLSClientConfig: s.tls.Clone(), Protocols: one}
	h2 := &http.Transport{TLSClientConfig: s.tls.Clone(), Protocols: two}
	h3 := &http3.Transport{TLSClientConfig: s.tls.Clone()}
	t.Cleanup(func() {
		h1.CloseIdleConnections()
		h2.CloseIdleConnections()
		_ = h3.Close()
	})
	return map[string]http.RoundTripper{"HTTP/1.1": h1, "HTTP/2.0": h2, "HTTP/3.0": h3}
}

func TestHTTPS(t *testing.T) {
	next := make(chan struct{})
	s := startSecure(t, setup{answer: streams(func(r *http.Request) {
		select {
		case <-next: // sent by a caller who has seen the event before
		case <-r.Context().Done():
		}
	}, chunk("one"), chunk("two"), chunk("three"), usageChunk(3, 2)+done)})
	post := func(t *testing.T, client http.RoundTripper, key, body string) *http.Response {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		t.Cleanup(cancel)
		req, err := http.NewRequestWithContext(ctx, "POST", fmt.Sprintf("https://localhost:%d/v1/chat/completions", s.port), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	for version, client := range s.clients(t) {
		t.Run(version, func(t *testing.T) {
			t.Run("streams event by event", func(t *testing.T) {
				res := post(t, client, callerKey, chatBody("m", promptCanary, `"stream":true`, `"stream_options":{"include_usage":true}`))
				if res.StatusCode != 200 || res.Proto != version || res.Header.Get("X-Request-Id") == "" {
					t.Fatalf("got %s %d %v", res.Proto, res.StatusCode, res.Header)
				}
				in := bufio.NewReader(res.Body)
				for i := range 3 { // each comes while the backend waits for the word to go on
					line, err := in.ReadString('\n')
					if err != nil || !strings.Contains(line, []string{"one", "two", "three"}[i]) {
						t.Fatalf("event %d is %q %v", i+1, line, err)
					}
					if _, err := in.ReadString('\n'); err != nil {
						t.Fatal(err)
					}
					next <- struct{}{}
				}
				rest, err := io.ReadAll(in)
				if err != nil || string(rest) != usageChunk(3, 2)+done {
					t.Errorf("the end is %q %v", rest, err)
				}
			})
			t.Run("refuses a bad key", func(t *testing.T) {
				s.unseen(t, func() {
					res := post(t, client, "sk-000000000000000000000000", chatBody("m", promptCanary))
					body, err := io.ReadAll(res.Body)
					if err != nil || refusal(t, answer{res.StatusCode, res.Header, string(body)}) != invalidKey {
						t.Errorf("got %d %s %v", res.StatusCode, body, err)
					}
				})
			})
			t.Run("cancels with its caller", func(t *testing.T) {
				res := post(t, client, callerKey, chatBody("m", promptCanary, `"stream":true`))
				if _, err := io.ReadFull(res.Body, make([]byte, 10)); err != nil {
					t.Fatal(err)
				}
				before := strings.Count(s.Logs.String(), `"outcome":"client_closed"`)
				res.Body.Close()
				eventually(t, "the request ends as one whose caller left", func() bool {
					return strings.Count(s.Logs.String(), `"outcome":"client_closed"`) > before
				})
			})
		})
	}
	t.Run("plain HTTP is not spoken", func(t *testing.T) {
		res, err := http.Post(fmt.Sprintf("http://localhost:%d/v1/chat/completions", s.port), "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 400 {
			t.Errorf("plain HTTP on the port of HTTPS: %d", res.StatusCode)
		}
	})
	t.Run("extended CONNECT", func(t *testing.T) {
		s.unseen(t, func() {
			config := s.tls.Clone()
			config.NextProtos = []string{"h2"}
			conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(s.port)), config)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			refusesExtendedConnect(t, conn)
		})
	})
	t.Run("extended CONNECT over HTTP/3", func(t *testing.T) {
		s.unseen(t, func() {
			req, err := http.NewRequestWithContext(t.Context(), "CONNECT", fmt.Sprintf("https://localhost:%d/v1/chat/completions", s.port), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Proto = "websocket"
			req.Header.Set("Authorization", "Bearer "+callerKey)
			res, err := s.clients(t)["HTTP/3.0"].RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 405 {
				t.Errorf("answered with %d", res.StatusCode)
			}
		})
	})
}
