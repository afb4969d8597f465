package backends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
)

func TestAWatchdogTellsWhatHasTakenTooLong(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	const first, idle = 30 * time.Second, 10 * time.Second
	for name, c := range map[string]struct {
		wait        uint64
		first, idle time.Duration
		after       time.Duration // since Expired first read it
		want        error
	}{
		"nothing is waited for":         {waitNone, first, idle, time.Hour, nil},
		"the beginning, in time":        {waitFirst, first, idle, first - 1, nil},
		"the beginning, late":           {waitFirst, first, idle, first, ErrFirstTokenTimeout},
		"the beginning, without bound":  {waitFirst, 0, idle, time.Hour, nil},
		"the next chunk, in time":       {waitNext, first, idle, idle - 1, nil},
		"the next chunk, late":          {waitNext, first, idle, idle, ErrIdleTimeout},
		"the next chunk, without bound": {waitNext, first, 0, time.Hour, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := new(Watchdog)
			w.expect(c.wait)
			if err := w.Expired(start, c.first, c.idle); err != nil {
				t.Errorf("at first sight: %v", err)
			}
			if err := w.Expired(at(c.after), c.first, c.idle); err != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}

	// Each chunk starts a new wait, even if Expired was not called in between.
	w := new(Watchdog)
	for i := range 5 {
		w.expect(waitNext)
		for _, d := range []time.Duration{0, idle - 1} {
			if err := w.Expired(at(time.Duration(i)*idle+d), first, idle); err != nil {
				t.Fatalf("chunk %d: %v", i, err)
			}
		}
		w.expect(waitNone)
	}
}

// watched calls Expired for each attempt and cancels it as the gate does.
func watched(firstToken, idle time.Duration) func(*Attempt, *http.Request) *http.Request {
	return func(ex *Attempt, r *http.Request) *http.Request {
		ctx, cancel := context.WithCancelCause(r.Context())
		go func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				if err := ex.Watchdog.Expired(<-tick.C, firstToken, idle); err != nil {
					cancel(err)
				}
			}
		}()
		ex.Meter = meter.New(meter.Config{Endpoint: ex.Endpoint, Fail: func(error) *wire.Error {
			if !errors.Is(context.Cause(ctx), ErrIdleTimeout) {
				return wire.Errorf(wire.KindInternal, "")
			}
			return wire.Errorf(wire.KindUpstreamTimeout, "")
		}})
		return r.WithContext(ctx)
	}
}

const chatEvent = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n"

// hangs is a backend that writes these chunks and then nothing until it is
// cancelled.
func hangs(t *testing.T, contentType, body string) (url string, cancelled <-chan struct{}) {
	gone := make(chan struct{})
	upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else net/http does not see who leaves
		if contentType != "" {
			w.Header().Set("Content-Type", contentType)
			_, _ = io.WriteString(w, body)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		close(gone)
	})
	return upstream.URL, gone
}

// Until the first byte another backend may be tried: nothing has been written.
func TestABackendThatDoesNotBeginIsGivenUp(t *testing.T) {
	for name, contentType := range map[string]string{
		"before the headers":              "",
		"behind the headers of a stream":  "text/event-stream",
		"with parameters, in other cases": "Text/Event-Stream; charset=utf-8",
	} {
		t.Run(name, func(t *testing.T) {
			url, cancelled := hangs(t, contentType, "")
			p := newProxied(t, "", "", url)
			p.prepare = watched(50*time.Millisecond, time.Hour)
			res, _, out := p.do("POST", "/v1/chat/completions", `{}`)
			var attempt *AttemptError
			if res.StatusCode != http.StatusTeapot || !errors.As(out.err, &attempt) || !attempt.Timeout() ||
				!errors.Is(out.err, ErrFirstTokenTimeout) || out.attempt.Status != 0 {
				t.Errorf("the caller got %d, the handler %v of status %d", res.StatusCode, out.err, out.attempt.Status)
			}
			<-cancelled
		})
	}
}

// A model that takes too long to begin has failed; other models may be faster.
// While another backend can answer, comments do not count as a beginning.
func TestABackendThatDoesNotBeginIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct{ contentType, body string }{
		"before the headers":             {"", ""},
		"behind the headers of a stream": {"text/event-stream", ""},
		"behind comments":                {"text/event-stream", ": PROCESSING\n\n"},
		"within the first event":         {"text/event-stream", "data: {\"cho"},
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, proxy string) {
				upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body) // else net/http does not see who leaves
					if c.contentType != "" {
						w.Header().Set("Content-Type", c.contentType)
						_, _ = io.WriteString(w, c.body)
						w.(http.Flusher).Flush()
					}
					<-r.Context().Done()
				})
				const failuresAllowed = 3
				live, began := new(health.BackendState), time.Now()
				p := newProxied(t, "", proxy, upstream.URL)
				p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
					return watched(50*time.Millisecond, time.Hour)(ex, alternative(live)(ex, r))
				}
				for i := range failuresAllowed {
					if got := live.Backoff("m", "alice", time.Now()); got.Wait > 0 {
						t.Fatalf("cooling down after %d failures: %+v", i, got)
					}
					if _, _, out := p.do("POST", "/v1/chat/completions", `{}`); !errors.Is(out.err, ErrFirstTokenTimeout) {
						t.Fatalf("the handler got %v", out.err)
					}
				}
				// Measured from the start, since a short backoff may be over by
				// now.
				s := live.Snapshot(began)
				if s.Failures != failuresAllowed || len(s.Cooldowns) != 1 || s.Cooldowns[0].Model != "m" {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}

func TestABackendThatStallsMidwayIsGivenUp(t *testing.T) {
	url, cancelled := hangs(t, "text/event-stream", chatEvent)
	p := newProxied(t, "", "", url)
	p.prepare = watched(time.Hour, 50*time.Millisecond)
	_, body, out := p.do("POST", "/v1/chat/completions", `{}`)
	want := chatEvent + string(wire.Errorf(wire.KindUpstreamTimeout, "").Event(wire.Chat, 0))
	if body != want || out.panicked != nil {
		t.Errorf("got\n%s\nwant\n%s (panic %v)", body, want, out.panicked)
	}
	<-cancelled
}

// A backend that sends only comments is alive, and its caller sees that once it
// has waited long enough; the answer still has to begin in time.
func TestCommentsAreNoBeginning(t *testing.T) {
	for name, answers := range map[string]bool{"of nothing": false, "of an answer": true} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, proxy string) {
				shown := make(chan struct{})
				upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					w.Header().Set("Content-Type", "text/event-stream")
					for r.Context().Err() == nil {
						_, _ = io.WriteString(w, ":\n\n")
						w.(http.Flusher).Flush()
						select {
						case <-shown:
							if answers {
								_, _ = io.WriteString(w, chatEvent)
								return
							}
						case <-time.After(time.Millisecond):
						}
					}
				})
				p := newProxied(t, "", proxy, upstream.URL)
				firstToken := 300 * time.Millisecond
				if answers {
					firstToken = time.Minute
				}
				p.prepare = func(ex *Attempt, r *http.Request) *http.Request {
					ex.Patience = 20 * time.Millisecond
					return watched(firstToken, time.Hour)(ex, r)
				}
				res, err := http.Post(p.server.URL+"/v1/chat/completions", "application/json", strings.NewReader(`{"stream":true}`))
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if begin := make([]byte, 3); res.StatusCode != 200 {
					t.Fatalf("answered %d", res.StatusCode)
				} else if _, err := io.ReadFull(res.Body, begin); err != nil || string(begin) != ":\n\n" {
					t.Fatalf("the caller got %q, %v", begin, err)
				}
				close(shown)
				rest, err := io.ReadAll(res.Body)
				if out := <-p.done; err != nil || out.panicked != nil {
					t.Errorf("%v, panic %v", err, out.panicked)
				}
				if got := string(rest); strings.HasSuffix(got, chatEvent) != answers || strings.Contains(got, `"error"`) == answers {
					t.Errorf("the caller got %q", got)
				}
			})
		})
	}
}

func TestAStreamThatBreaksOffBeforeItsFirstByteIsNoAnswer(t *testing.T) {
	upstream := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Content-Length", "100")
		w.(http.Flusher).Flush()
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		conn.Close()
	})
	p := newProxied(t, "", "", upstream.URL)
	res, _, out := p.do("POST", "/v1/chat/completions", `{}`)
	var attempt *AttemptError
	if res.StatusCode != http.StatusTeapot || !errors.As(out.err, &attempt) || attempt.Timeout() || out.attempt.Status != 0 {
		t.Errorf("the caller got %d, the handler %v of status %d", res.StatusCode, out.err, out.attempt.Status)
	}
}

// A caller that reads slowly is not a backend that stalls.
func TestTimeInWhichNobodyReadsDoesNotCount(t *testing.T) {
	b := &watchedBody{ReadCloser: io.NopCloser(strings.NewReader("abc")), watchdog: new(Watchdog)}
	for i := range 3 {
		if _, err := b.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		for _, later := range []time.Duration{0, time.Hour} {
			if err := b.watchdog.Expired(time.Unix(1000, 0).Add(later), time.Second, time.Second); err != nil {
				t.Errorf("behind byte %d: %v", i, err)
			}
		}
	}
}

func TestAHeadIsPassedOnWhole(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), headSize/5) // two heads
	for name, c := range map[string]struct {
		src  func() io.Reader
		want []byte
		err  error
	}{
		"short":        {func() io.Reader { return strings.NewReader("x") }, []byte("x"), nil},
		"with its end": {func() io.Reader { return iotest.DataErrReader(strings.NewReader("x")) }, []byte("x"), nil},
		"with an error behind it": {func() io.Reader {
			return iotest.DataErrReader(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF)))
		}, []byte("x"), io.ErrUnexpectedEOF},
		"long": {func() io.Reader { return bytes.NewReader(long) }, long, nil},
	} {
		for _, size := range []int{1, 7, headSize, 3 * headSize} {
			t.Run(fmt.Sprint(name, " by ", size), func(t *testing.T) {
				b := &watchedBody{ReadCloser: io.NopCloser(c.src()), watchdog: new(Watchdog)}
				if _, err := b.awaitHead(&judge{text: true}, -1, time.Hour); err != nil {
					t.Fatal(err)
				}
				var got []byte
				var err error
				for p := make([]byte, size); err == nil; {
					var n int
					n, err = b.Read(p)
					got = append(got, p[:n]...)
				}
				if want := c.err; want == nil && err != io.EOF || want != nil && !errors.Is(err, want) || !bytes.Equal(got, c.want) {
					t.Errorf("%d bytes and %v, want %d and %v", len(got), err, len(c.want), c.err)
				}
			})
		}
	}
}
