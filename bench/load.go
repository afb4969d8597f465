package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// chatRequest is a chat of 1.5 kB.
func chatRequest(model string) string {
	head := fmt.Sprintf(`{"model":%q,"messages":[{"role":"system","content":"You answer in few words."},{"role":"user","content":"`, model)
	tail := `"}],"temperature":0.7,"max_tokens":256}`
	return head + strings.Repeat("words ", 250)[:1500-len(head)-len(tail)] + tail
}

// caller sends one request after the other over a connection of its own. It is no
// http.Client, whose goroutines would take more of the machine's CPU than the
// gateways have.
type caller struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
	buf     []byte
}

// timing is how long a caller waited.
type timing struct{ first, last time.Duration } // to the first and the last byte of the body

// patience is how long an answer may take.
const patience = 2 * time.Minute

// ask sends a request and reads its answer, each piece of which read is given. A
// connection that the server has closed while it idled is dialled anew, once.
func (c *caller) ask(request []byte, read func(piece []byte)) (timing, error) {
	idled := c.conn != nil
	start := time.Now()
	res, err := c.send(request)
	if err != nil && idled {
		res, err = c.send(request)
	}
	if err != nil {
		return timing{}, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		c.close()
		return timing{}, fmt.Errorf("%s: %s", res.Status, text)
	}
	var took timing
	for {
		n, err := res.Body.Read(c.buf)
		if n > 0 {
			if took.first == 0 {
				took.first = time.Since(start)
			}
			read(c.buf[:n])
		}
		if err == nil {
			continue
		}
		took.last = time.Since(start)
		if err != io.EOF || res.Close {
			c.close()
		}
		if err != io.EOF {
			return took, fmt.Errorf("reading an answer: %w", err)
		}
		return took, nil
	}
}

// send writes a request and reads the header of its answer.
func (c *caller) send(request []byte) (*http.Response, error) {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			return nil, err
		}
		c.conn, c.in, c.buf = conn, bufio.NewReader(conn), make([]byte, 8<<10)
	}
	_ = c.conn.SetDeadline(time.Now().Add(patience)) // fails only where the connection does
	_, err := c.conn.Write(request)
	if err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(c.in, nil); err == nil {
			return res, nil
		}
	}
	c.close()
	return nil, err
}

func (c *caller) close() {
	_ = c.conn.Close()
	c.conn = nil
}

// timings collects what callers report, who are many.
type timings struct {
	mu     sync.Mutex
	all    []timing
	failed error
}

// add reports whether to go on.
func (t *timings) add(took timing, err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		t.all = append(t.all, took)
	} else if t.failed == nil {
		t.failed = err
	}
	return t.failed == nil
}

// chats has callers send chats for a time.
func chats(callers []*caller, t *target, turn time.Duration) ([]timing, error) {
	var took timings
	var waiting sync.WaitGroup
	end := time.Now().Add(turn)
	for i, c := range callers {
		waiting.Go(func() {
			for turn := i; time.Now().Before(end); turn += len(callers) {
				size := 0
				one, err := c.ask(t.chat(turn), func(piece []byte) { size += len(piece) })
				if err == nil && size == 0 {
					err = errors.New("an empty answer")
				}
				if !took.add(one, err) {
					return
				}
			}
		})
	}
	waiting.Wait()
	return took.all, took.failed
}

// readStreams has each caller read one stream; they begin over the time of ramp.
// Once all have begun it calls open.
func readStreams(callers []*caller, t *target, s stream, ramp time.Duration, open func() error) ([]timing, error) {
	var took timings
	var begun, waiting sync.WaitGroup
	begun.Add(len(callers))
	start := time.Now()
	for i, c := range callers {
		waiting.Go(func() {
			begin := sync.OnceFunc(begun.Done)
			defer begin()
			time.Sleep(time.Until(start.Add(ramp * time.Duration(i) / time.Duration(len(callers)))))
			took.add(readStream(c, t.stream(i, s), s, begin))
		})
	}
	begun.Wait()
	err := open()
	waiting.Wait()
	return took.all, errors.Join(err, took.failed)
}

// readStream reads a stream, of which all must come. begin is called at its first
// event.
func readStream(c *caller, request []byte, s stream, begin func()) (timing, error) {
	lines := 0
	var tail []byte
	took, err := c.ask(request, func(piece []byte) {
		begin()
		lines += bytes.Count(piece, []byte{'\n'})
		tail = append(tail, piece[max(0, len(piece)-len(doneEvent)):]...)
		tail = tail[max(0, len(tail)-len(doneEvent)):]
	})
	if err == nil && (lines < 2*(s.events+1) || string(tail) != doneEvent) {
		err = fmt.Errorf("%d lines of a stream of %d events came, the last ones %q", lines, s.events, tail)
	}
	return took, err
}
