package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// shipped are the options of servers in the Caddyfile that the gate comes with, some
// of whose times are others, so that a test need not wait for them.
func shipped(t *testing.T, times ...string) string {
	t.Helper()
	file, err := os.ReadFile("../Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(file), "\n\tservers {\n")
	options, _, found := strings.Cut(rest, "\n\t}\n")
	for i := 0; i+1 < len(times); i += 2 {
		found = found && strings.Contains(options, times[i]+"\n")
		options = strings.Replace(options, times[i]+"\n", times[i+1]+"\n", 1)
	}
	if !found {
		t.Fatalf("the Caddyfile has no servers with %v", times)
	}
	return "servers {\nprotocols h1 h2c\n" + options + "\n}"
}

// number reads one of the gate's own metrics.
func (g *gate) number(name string) (n float64) {
	g.t.Helper()
	if text := g.metric(name); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			g.t.Fatal(err)
		}
	}
	return n
}

// live is how many bytes of the gate's heap are in use behind a collection.
func (g *gate) live() (n int64) {
	g.t.Helper()
	res, err := http.Get("http://" + g.admin + "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "\n# HeapAlloc = ")
	if _, err := fmt.Sscan(after, &n); err != nil || !found {
		g.t.Fatalf("the profile has nothing of the heap: %v", err)
	}
	return n
}

// freePlaces are how many requests a key may have at once, beside those it has.
func (g *gate) freePlaces(id string) float64 {
	g.t.Helper()
	return g.keyInfo(secretOf(id)).limit("concurrent", "").Remaining
}

// h2 is a connection that speaks HTTP/2 frame by frame. What is written goes out
// with flush. What comes is read and forgotten, and no window is opened for more.
type h2 struct {
	*http2.Framer
	conn  net.Conn
	out   *bufio.Writer
	ended chan struct{} // the gate has closed it
}

func (v *target) speakH2(conn net.Conn) (*h2, error) {
	c := &h2{conn: conn, out: bufio.NewWriter(conn), ended: make(chan struct{})}
	c.Framer = http2.NewFramer(c.out, conn)
	_, _ = c.out.WriteString(http2.ClientPreface)
	_ = c.WriteSettings()
	if err := c.out.Flush(); err != nil {
		return nil, err
	}
	go func() {
		defer close(c.ended)
		for {
			if _, err := c.ReadFrame(); err != nil && !errors.As(err, new(http2.StreamError)) {
				return
			}
		}
	}()
	return c, nil
}

// flush reports whether the gate still takes what is written.
func (c *h2) flush() bool {
	select {
	case <-c.ended:
		return false
	default:
		return c.out.Flush() == nil
	}
}

// fields encodes a header without the tables of a connection.
func fields(list ...string) []byte {
	var block strings.Builder
	encoder := hpack.NewEncoder(&block)
	for i := 0; i+1 < len(list); i += 2 {
		_ = encoder.WriteField(hpack.HeaderField{Name: list[i], Value: list[i+1], Sensitive: true})
	}
	return []byte(block.String())
}

// chatFields are the header of a chat request.
func chatFields(key, title string) []byte {
	return fields(":method", "POST", ":scheme", "http", ":authority", "gate.test", ":path", "/v1/chat/completions",
		"content-type", jsonType, "authorization", "Bearer "+key, "x-title", title)
}

// holding is a backend that answers, but for requests with the title `held`: to
// those it sends what pour does, and then waits until they are cancelled.
type holding struct {
	inside, came atomic.Int64 // of those that are held
}

func (h *holding) answer(pour func(w http.ResponseWriter)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Title") != "held" {
			answers(200, chatAnswer("hi", 3, 2))(w, r)
			return
		}
		h.came.Add(1)
		h.inside.Add(1)
		defer h.inside.Add(-1)
		pour(w)
		<-r.Context().Done()
	}
}

// answersWhile has a good caller ask, again and again, until what goes on is done.
func (v *target) answersWhile(t *testing.T, busy <-chan struct{}) {
	t.Helper()
	for n := 0; ; n++ {
		if a := v.ask("POST", "/v1/chat/completions", callerKey, chatBody("m", promptCanary)); a.status != 200 {
			t.Fatalf("a good caller is answered %d %s after %d answers", a.status, a.body, n)
		}
		select {
		case <-busy:
			return
		default:
		}
	}
}

// quietAgain waits until nothing is left of what connections and requests took.
func (v *target) quietAgain(t *testing.T, goroutines int) {
	t.Helper()
	v.backend.CloseClientConnections()
	http.DefaultClient.CloseIdleConnections()
	eventually(t, "no goroutine is left", func() bool { return v.goroutines() < goroutines+15 })
	if n := v.number("pinegate_inflight_requests"); n != 0 {
		t.Errorf("%v requests are in flight", n)
	}
}

// Rapid reset (CVE-2023-44487): requests that are cancelled as soon as they are sent
// cost the caller nothing, and a server that forgets them by then much.
func TestRapidResetLeavesNothingBehind(t *testing.T) {
	const places, resets = 4, 3000
	held := new(holding)
	v := attack(t, setup{
		answer: held.answer(func(http.ResponseWriter) {}),
		global: shipped(t),
		gate:   keyWith("carol", fmt.Sprintf("limit %d concurrent", places)),
	})
	v.answersWhile(t, closed)
	goroutines := v.goroutines()

	header, body := chatFields(secretOf("carol"), "held"), []byte(chatBody("m", promptCanary))
	open := func(c *h2, stream uint32, whole bool) {
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: header, EndHeaders: true})
		if whole {
			_ = c.WriteData(stream, true, body)
		}
	}
	attacked := make(chan struct{})
	go func() {
		defer close(attacked)
		// The gate may end a connection for this, and then comes another.
		for sent, connections := 0, 0; sent < resets; connections++ {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", v.port))
			if err != nil {
				t.Error(err)
				return
			}
			c, err := v.speakH2(conn)
			for batch, stream := 0, uint32(1); err == nil && sent < resets && c.flush(); batch++ {
				// One at a time, or some at once: without a body, or whole.
				at := []int{1, 20}[batch%2]
				for i := range at {
					open(c, stream+2*uint32(i), batch%4 > 1)
				}
				if at > 1 && !c.flush() {
					break
				}
				for range at {
					_ = c.WriteRSTStream(stream, http2.ErrCodeCancel)
					stream += 2
				}
				sent += at
			}
			conn.Close()
			if connections == resets {
				t.Errorf("%d requests were sent over %d connections", sent, connections)
				return
			}
		}
	}()
	v.answersWhile(t, attacked)
	eventually(t, "all places are free", func() bool { return v.freePlaces("carol") == places && held.inside.Load() == 0 })

	v.quietAgain(t, goroutines)

	// The same with requests that have all reached the backend.
	c, err := v.speakH2(v.dial(t))
	if err != nil {
		t.Fatal(err)
	}
	for round := range uint32(10) {
		first := 1 + 2*places*round
		for i := range uint32(places) {
			open(c, first+2*i, true)
		}
		c.flush()
		eventually(t, "all places are taken", func() bool { return held.inside.Load() == places })
		if n := v.freePlaces("carol"); n != 0 {
			t.Errorf("%v places are free while they are taken", n)
		}
		for i := range uint32(places) {
			_ = c.WriteRSTStream(first+2*i, http2.ErrCodeCancel)
		}
		c.flush()
		eventually(t, "all places are free again", func() bool { return v.freePlaces("carol") == places && held.inside.Load() == 0 })
	}
	c.conn.Close()
	v.quietAgain(t, goroutines)
}

// closed is done already.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// CONTINUATION flood (CVE-2023-45288): headers that never end.
func TestHeadersWithoutEndAreCutOff(t *testing.T) {
	const connections, frames, frame = 20, 400, 16 << 10 // 128 MB in all, but for the empty ones
	v := attack(t, setup{global: shipped(t, "idle 5m", "idle 3s")})
	v.answersWhile(t, closed)
	goroutines, before := v.goroutines(), v.heap()
	start := chatFields(callerKey, "")
	filled := func(field []byte) []byte { return bytes.Repeat(field, frame/len(field)) }
	floods := []struct {
		name     string
		fragment []byte
	}{
		{"large fields", filled(fields("x-flood", strings.Repeat("~", 1000)))},
		{"small fields", filled(fields("x", ""))},
		{"indexed fields", filled([]byte{0x90})}, // accept-encoding: gzip, deflate, of a byte each
		{"one endless field", append([]byte("\x10\x01x\x7f\xff\xff\xff\x7f"), strings.Repeat("~", frame-8)...)},
		{"empty frames", nil}, // which take no memory: the time that a connection may idle ends them
	}
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		storm(connections, func(i int) {
			flood := floods[i%len(floods)]
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", v.port))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
			c, err := v.speakH2(conn)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: start})
			for n := 0; n < frames && c.flush(); n++ {
				_ = c.WriteContinuation(1, false, flood.fragment)
			}
			<-c.ended
			if !isClosed(conn) {
				t.Errorf("the connection is open behind a flood of %s", flood.name)
			}
		})
	}()
	v.answersWhile(t, flooded)
	// What was taken from the system is not given back in this time.
	if grown := v.heap() - before; grown > connections*frames*frame/4 {
		t.Errorf("the heap grew by %.0f MB for a flood of %.0f", grown/1e6, connections*frames*frame/1e6)
	} else {
		t.Logf("the heap grew by %.0f MB", grown/1e6)
	}
	v.quietAgain(t, goroutines)
}

// isClosed reports whether the other end closes a connection before its deadline.
func isClosed(conn net.Conn) bool {
	_, err := io.Copy(io.Discard, conn)
	return !isTimeout(err)
}

func TestAThousandSlowHeadersAreCutOffAndKeepNobodyWaiting(t *testing.T) {
	const connections = 1000
	v := attack(t, setup{global: shipped(t, "read_header 10s", "read_header 4s")})
	v.answersWhile(t, closed)
	goroutines := v.goroutines()

	cut := make(chan struct{})
	var slow sync.WaitGroup
	open := make([]net.Conn, connections)
	for i := range open {
		conn := v.dial(t)
		open[i] = conn
		if _, err := io.WriteString(conn, chatLine+" HTTP/1.1\r\nHost: gate.test\r\n"+bearerKey+"\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
		slow.Go(func() {
			_ = conn.SetReadDeadline(time.Now().Add(45 * time.Second)) // less than Caddy's own minute
			if !isClosed(conn) {
				t.Error("a header may take as long as it likes")
			}
		})
	}
	go func() {
		slow.Wait()
		close(cut)
	}()
	trickled := make(chan struct{})
	go func() { // each sends a byte twice a second
		defer close(trickled)
		tick := time.NewTicker(time.Second / 2)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				for _, conn := range open {
					_, _ = io.WriteString(conn, "x")
				}
			case <-cut:
				return
			}
		}
	}()
	v.answersWhile(t, cut)
	<-trickled
	v.quietAgain(t, goroutines)
}

// Callers who do not read what they asked for: the gate keeps no more than a little of
// each stream and makes the backend wait, until they leave, or for as long as writing
// may take.
func TestSlowReadersAreBounded(t *testing.T) {
	t.Run("who leave", func(t *testing.T) { testSlowReaders(t, "write_idle 1m", true) })
	t.Run("who stay", func(t *testing.T) { testSlowReaders(t, "write_idle 3s", false) })
}

func testSlowReaders(t *testing.T, patience string, leave bool) {
	const readers, offered, most = 6, 32 << 20, 1 << 20 // bytes a stream
	held := new(holding)
	var poured, whole atomic.Int64
	event := []byte(chunk(strings.Repeat("word ", 6000)))
	v := attack(t, setup{
		answer: held.answer(func(w http.ResponseWriter) {
			w.Header().Set("Content-Type", streamType)
			for n := 0; n < offered; n += len(event) {
				if _, err := w.Write(event); err != nil {
					return
				}
				poured.Add(1)
			}
			whole.Add(1)
		}),
		global: shipped(t, "write_idle 1m", patience),
		gate:   keyWith("carol", fmt.Sprintf("limit %d concurrent", readers)),
	})
	v.answersWhile(t, closed)
	goroutines, before := v.goroutines(), v.live()

	body := chatBody("m", promptCanary, `"stream":true`)
	var callers []net.Conn
	for i := range readers {
		conn := v.dial(t)
		callers = append(callers, conn)
		_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		if i%2 == 0 {
			if _, err := io.WriteString(conn, request(chatLine, body, "Authorization: Bearer "+secretOf("carol"), "X-Title: held")); err != nil {
				t.Fatal(err)
			}
			continue
		}
		c, err := v.speakH2(conn)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: chatFields(secretOf("carol"), "held"), EndHeaders: true})
		_ = c.WriteData(1, true, []byte(body))
		c.flush()
	}
	// Calm for half a second is enough: a gate that keeps what comes never makes the
	// backend wait, and is seen by that.
	calm, last := 0, int64(-1)
	eventually(t, "the backend waits", func() bool {
		if n := poured.Load(); n != last {
			calm, last = 0, n
		}
		calm++
		return calm > 50 && held.came.Load() == readers
	})
	grown := v.live() - before
	if grown > readers*most || whole.Load() > 0 {
		t.Errorf("the heap grew by %d kB for %d streams that nobody reads; %d were read off the backend to the end", grown>>10, readers, whole.Load())
	}
	t.Logf("%d kB of heap for %d streams, of which %d kB were read", grown>>10, readers, last*int64(len(event))>>10)
	if leave {
		if n := v.freePlaces("carol"); n != 0 {
			t.Errorf("%v places are free", n)
		}
		for _, conn := range callers {
			conn.Close()
		}
	}
	eventually(t, "all places are free", func() bool { return v.freePlaces("carol") == readers && held.inside.Load() == 0 })
	eventually(t, "each is recorded once", func() bool { return v.usageOf("carol").Requests == readers })
	v.quietAgain(t, goroutines)
}
