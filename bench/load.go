package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// chatRequest is a chat request of 1.5 kB.
var chatRequest = func() string {
	head := `{"model":"bench-model","messages":[{"role":"system","content":"You answer in few words."},{"role":"user","content":"`
	tail := `"}],"temperature":0.7,"max_tokens":256}`
	return head + strings.Repeat("words ", 250)[:1500-len(head)-len(tail)] + tail
}()

// load sends requests from a number of callers, each over a connection of its own.
type load struct {
	callers int
	client  *http.Client
}

func newLoad(callers int) *load {
	return &load{callers: callers, client: &http.Client{Transport: &http.Transport{
		MaxIdleConnsPerHost: callers,
		DisableCompression:  true,
	}}}
}

// run sends requests to url and returns how long each took. It fails with the
// first that was not answered.
func (l *load) run(url string, requests int) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	latencies := make([]time.Duration, requests)
	var next atomic.Int64
	var callers sync.WaitGroup
	for range l.callers {
		callers.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= requests || ctx.Err() != nil {
					return
				}
				start := time.Now()
				if err := ask(ctx, l.client, url); err != nil {
					cancel(err)
					return
				}
				latencies[i] = time.Since(start)
			}
		})
	}
	callers.Wait()
	return latencies, context.Cause(ctx)
}

// ask sends one request and reads the whole answer.
func ask(ctx context.Context, client *http.Client, url string) error {
	res, err := post(ctx, client, url, chatRequest)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return err
}

// runStreams reads streams at once and returns how long each took to its first
// event. Halfway it calls during, with all of them open.
func (l *load) runStreams(url string, s settings, during func() error) ([]time.Duration, error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	waits := make([]time.Duration, s.streams)
	var open, readers sync.WaitGroup
	open.Add(s.streams)
	for i := range s.streams {
		readers.Go(func() {
			opened := sync.OnceFunc(open.Done)
			defer opened()
			if err := l.readStream(ctx, url, s, &waits[i], opened); err != nil {
				cancel(err)
			}
		})
	}
	open.Wait()
	if err := during(); err != nil {
		cancel(err)
	}
	readers.Wait()
	return waits, context.Cause(ctx)
}

// readStream reads a stream to its end; all of its events must come. begun is
// called at its first.
func (l *load) readStream(ctx context.Context, url string, s settings, first *time.Duration, begun func()) error {
	start := time.Now()
	res, err := post(ctx, l.client, url, streamRequest, streamHeader, fmt.Sprintf("%d %s", s.events, s.every))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	buf := make([]byte, 4<<10)
	lines := 0
	for {
		n, err := res.Body.Read(buf)
		if n > 0 && *first == 0 {
			*first = time.Since(start)
			begun()
		}
		lines += bytes.Count(buf[:n], []byte{'\n'})
		switch {
		case err == io.EOF && lines != 2*(s.events+1): // [DONE] is one, too
			return fmt.Errorf("%d lines of a stream of %d events came", lines, s.events)
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		}
	}
}

// streamRequest asks for a stream.
const streamRequest = `{"model":"bench-model","stream":true,"messages":[{"role":"user","content":"count"}]}`

// post sends a chat request; every answer but 200 is an error. header are names and
// their values.
func post(ctx context.Context, client *http.Client, url, body string, header ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+benchKey)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 500))
		_ = res.Body.Close()
		return nil, fmt.Errorf("%s: %s", res.Status, text)
	}
	return res, nil
}
