package backends

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// closing is a server that answers the first requests of a connection and closes
// it when the next one arrives, as servers do whose keep-alive timeout has
// expired.
type closing struct {
	serves  int                // how many requests of a connection are answered
	leave   func(*net.TCPConn) // closes a connection with an unread request
	answer  string             // the response to each request
	opened  atomic.Int32       // connections
	began   atomic.Int32       // requests of which a byte arrived
	whole   atomic.Int32       // requests that were answered
	lengths chan int64         // of the bodies of those
}

func (s *closing) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	s.lengths = make(chan int64, 100)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.opened.Add(1)
			go s.serve(conn.(*net.TCPConn))
		}
	}()
	return "http://" + l.Addr().String()
}

func (s *closing) serve(conn *net.TCPConn) {
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 16)
	for n := 0; ; n++ {
		if _, err := r.Peek(1); err != nil {
			return
		}
		s.began.Add(1)
		if n == s.serves {
			s.leave(conn)
			return
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		length, _ := io.Copy(io.Discard, req.Body)
		s.whole.Add(1)
		s.lengths <- length
		if _, err := io.WriteString(conn, s.answer); err != nil {
			return
		}
	}
}

const (
	wholeAnswer    = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
	streamedAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nKeep-Alive: timeout=5, max=100\r\nTransfer-Encoding: chunked\r\n\r\n" +
		"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
)

// hangUp closes a connection with a FIN; reset closes it with a RST, as a closed
// one responds to late data.
func hangUp(conn *net.TCPConn) { _, _ = io.Copy(io.Discard, io.LimitReader(conn, 1)) }
func reset(conn *net.TCPConn)  { _ = conn.SetLinger(0) }

func TestARequestOnAConnectionThatTheBackendClosesIsSentAgain(t *testing.T) {
	eachWay(t, func(t *testing.T, proxy string) {
		for _, c := range []struct {
			name, answer string
			leave        func(*net.TCPConn)
			body         int
		}{
			{"closed", wholeAnswer, hangUp, 100},
			{"reset", wholeAnswer, reset, 100},
			{"closed behind a stream", streamedAnswer, hangUp, 100},
			{"closed under a long body", wholeAnswer, hangUp, 8 << 20},
			{"reset under a long body", wholeAnswer, reset, 8 << 20},
		} {
			t.Run(c.name, func(t *testing.T) {
				const requests = 10
				s := &closing{serves: 1, leave: c.leave, answer: c.answer}
				p := newProxied(t, "", proxy, s.start(t))
				body := `{"prompt":"` + strings.Repeat("x", c.body) + `"}`
				for i := range requests {
					if _, _, out := p.do("POST", "/v1/chat/completions", body); out.err != nil {
						t.Fatalf("request %d: %v", i, out.err)
					}
					if length := <-s.lengths; length != int64(len(body)) {
						t.Errorf("request %d: %d of %d bytes came", i, length, len(body))
					}
				}
				if n := s.whole.Load(); n != requests {
					t.Errorf("%d requests were answered, %d asked", n, requests)
				}
				if s.began.Load() <= requests {
					t.Error("no connection was used again, so nothing was tried")
				}
			})
		}
	})
}

// A new connection that the backend closes was not idle, so the request is not
// retried.
func TestARequestOnANewConnectionIsNotSentAgain(t *testing.T) {
	s := &closing{serves: 0, leave: hangUp}
	p := newProxied(t, "", "", s.start(t))
	if _, _, out := p.do("POST", "/v1/chat/completions", `{}`); out.err == nil {
		t.Error("no error")
	}
	if n := s.began.Load(); n != 1 {
		t.Errorf("the request was sent %d times", n)
	}
}

func TestAConnectionIsNotUsedWhenItsKeepAliveIsNearlyOver(t *testing.T) {
	for _, c := range []struct {
		line string
		idle time.Duration
		used bool
	}{
		{"", time.Hour, true},
		{"max=100", time.Hour, true},
		{"timeout=soon", time.Hour, true},
		{"timeout=5, max=100", 3 * time.Second, true},
		{"timeout=5, max=100", 4 * time.Second, false},
		{"max=100, Timeout=60", 44 * time.Second, true},
		{"max=100, Timeout=60", 46 * time.Second, false},
		{"timeout=0", time.Millisecond, false},
	} {
		tr := Transport{keepAlive: new(keepAlive)}
		tr.keepAlive.heed(&http.Response{Header: http.Header{"Keep-Alive": {c.line}}})
		near, far := net.Pipe()
		defer far.Close()
		ex := new(Attempt)
		tr.gotConn(httptrace.GotConnInfo{Conn: near, Reused: true, WasIdle: true, IdleTime: c.idle}, ex)
		if ex.Dispatched != c.used || ex.reused != c.used {
			t.Errorf("%q after %v: dispatched %v, reused %v", c.line, c.idle, ex.Dispatched, ex.reused)
		}
		if err := near.SetDeadline(time.Now()); (err == nil) != c.used {
			t.Errorf("%q after %v: open is %v", c.line, c.idle, err == nil)
		}
	}
}

// Closing a connection because of its age costs the request nothing: it is sent
// once, on a new connection.
func TestARequestTakesAnotherConnectionForOneThatIsTooOld(t *testing.T) {
	s := &closing{serves: 100, answer: strings.Replace(wholeAnswer, "\r\n\r\n", "\r\nKeep-Alive: timeout=0\r\n\r\n", 1)}
	p := newProxied(t, "", "", s.start(t))
	for i := range 3 {
		if _, _, out := p.do("POST", "/v1/chat/completions", `{}`); out.err != nil || !out.attempt.Dispatched {
			t.Fatalf("request %d: %v, dispatched %v", i, out.err, out.attempt.Dispatched)
		}
	}
	if opened, whole := s.opened.Load(), s.whole.Load(); opened != 3 || whole != 3 {
		t.Errorf("%d connections for %d requests", opened, whole)
	}
}
