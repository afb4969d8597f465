package backends

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// A connection may die silently, as in a NAT that dropped it: over HTTP/2 its
// request fails when a ping is not answered, long before first_token_timeout.
func TestADeadConnectionIsFoundByPings(t *testing.T) {
	asked := make(chan struct{}, 1)
	released := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("asked by %s", r.Proto)
		}
		asked <- struct{}{}
		<-released
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	defer close(released)

	tr := provision(t, `"tls":{"insecure_skip_verify":true}`)
	h2 := tr.Transport.HTTP2
	if h2 == nil || h2.SendPingTimeout != pingAfter || h2.PingTimeout != pingTimeout {
		t.Fatalf("pings: %+v", h2)
	}
	h2.SendPingTimeout, h2.PingTimeout = 50*time.Millisecond, 50*time.Millisecond
	dead, addr := relay(t, s.Listener.Addr().String())

	d := &Direct{transport: tr, to: []upstream{{server: url.URL{Scheme: "https", Host: addr}, host: addr}}}
	in := httptest.NewRequest("POST", "/v1/chat/completions", nil)
	failed := make(chan error, 1)
	go func() {
		ex := &Attempt{Endpoint: wire.Chat, HasBody: true, Body: rawBody([]byte(`{}`))}
		failed <- d.Forward(t.Context(), httptest.NewRecorder(), in, ex)
	}()
	<-asked
	dead.Store(true)
	select {
	case err := <-failed:
		if err == nil {
			t.Error("no error of a connection that is dead")
		}
	case <-time.After(time.Minute):
		t.Error("the request still waits")
	}
}

// relay forwards bytes between clients and a server. Once it is dead it drops
// them.
func relay(t *testing.T, server string) (dead *atomic.Bool, addr string) {
	t.Helper()
	dead = new(atomic.Bool)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	pass := func(to, from net.Conn) {
		defer to.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := from.Read(buf)
			if !dead.Load() {
				_, _ = to.Write(buf[:n])
			}
			if err != nil {
				return
			}
		}
	}
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", server)
			if err != nil {
				_ = from.Close()
				return
			}
			go pass(to, from)
			go pass(from, to)
		}
	}()
	return dead, l.Addr().String()
}
