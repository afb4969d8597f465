package integration

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// net/http's transport may read the body of a request while the answer comes and
// when it has come, and its server closes the body of a request once an answer
// begins. A proxy that passes on the body it was given can lose streams by that: of
// backends that answer before they have read all, and of others when the machine is
// busy. How often is a matter of luck, so that httputil.ReverseProxy passes this test
// at times. The gate sends bodies of its own.
func TestNoStreamIsCutByTheBodyOfItsRequest(t *testing.T) {
	eachWay(t, testNoStreamIsCutByTheBodyOfItsRequest)
}

func testNoStreamIsCutByTheBodyOfItsRequest(t *testing.T, way func(string) string) {
	b := newEarlyBackend(t)
	g := startGate(t, way(fmt.Sprintf("key alice {env.CALLER_KEY}\nbackend mock %s {\napi_key {env.BACKEND_KEY}\n}", b.URL)))
	readStreamsUnderLoad(t, g.url)
}

const earlyEvents = 20

// newEarlyBackend starts a model server that answers with events, and with the
// length of the request between two of them: before it has read the request, where
// that says `early`.
func newEarlyBackend(t *testing.T) *httptest.Server {
	t.Helper()
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		controller := http.NewResponseController(w)
		var body []byte
		read := sync.OnceValue(func() (err error) {
			body, err = io.ReadAll(r.Body)
			return err
		})
		if r.Header.Get("X-Title") == "early" {
			if err := controller.EnableFullDuplex(); err != nil {
				t.Error(err)
			}
		} else if err := read(); err != nil {
			return // the caller sees a cut stream
		}
		w.Header().Set("Content-Type", streamType)
		for i := range earlyEvents {
			if i == earlyEvents/2 {
				if err := read(); err != nil {
					panic(http.ErrAbortHandler)
				}
				_, _ = io.WriteString(w, chunk(fmt.Sprintf("read %d", len(body))))
			}
			_, _ = io.WriteString(w, chunk("word"))
			_ = controller.Flush()
		}
		_, _ = io.WriteString(w, usageChunk(1, earlyEvents)+done)
	}))
	t.Cleanup(b.Close)
	return b
}

// readStreamsUnderLoad has many callers read streams, one after the other, all of
// which must be whole.
func readStreamsUnderLoad(t *testing.T, url string) {
	const callers, early, each = 36, 4, 8
	var sent atomic.Int64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	defer client.CloseIdleConnections()
	var cut atomic.Int64
	var first sync.Once
	storm(callers, func(caller int) {
		when, size, turns := "read", 1500, each
		if caller < early {
			when, size, turns = "early", 6<<20, 2 // more than lies in buffers on the way
		}
		for range turns {
			sent.Add(1)
			if err := readWhole(client, url, when, size); err != nil {
				cut.Add(1)
				first.Do(func() { t.Errorf("%s: %v", when, err) })
			}
		}
	})
	if n := cut.Load(); n > 0 {
		t.Errorf("%d of %d streams were cut", n, sent.Load())
	}
}

func readWhole(client *http.Client, url, when string, size int) error {
	body := chatBody("m", strings.Repeat("x", size), `"stream":true,"stream_options":{"include_usage":true}`)
	req, err := http.NewRequest("POST", url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", jsonType)
	req.Header.Set("Authorization", "Bearer "+callerKey)
	req.Header.Set("X-Title", when)
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != 200 || !bytes.Contains(text, []byte(fmt.Sprintf(`"read %d"`, len(body)))) ||
		bytes.Count(text, []byte(`"word"`)) != earlyEvents || !bytes.HasSuffix(text, []byte(done)) {
		return errors.New("it ends early: " + res.Status + " " + string(text[max(0, len(text)-300):]))
	}
	return nil
}
