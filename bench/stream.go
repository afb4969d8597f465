package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The stream that is looked at for delay.
const (
	streamChunks   = 5
	streamInterval = 500 * time.Millisecond
)

// heldBack is how much later than it was sent an event may arrive. The gate takes
// about a millisecond; the rest is for a busy machine. Whoever waits for the next
// event is late by a whole interval.
const heldBack = streamInterval / 2

// checkStreams reads a stream through each gateway of the bench's own and fails if
// an event is late.
func checkStreams(targets []*target) error {
	failed := make([]error, len(targets))
	var reading sync.WaitGroup
	for i, t := range targets {
		if t.own == nil {
			continue // others may send events of their own
		}
		reading.Go(func() {
			if err := checkStream(t); err != nil {
				failed[i] = fmt.Errorf("%s: %w", t.name, err)
			}
		})
	}
	reading.Wait()
	return errors.Join(failed...)
}

// checkStream reads a stream through the gate and fails if an event is late.
func checkStream(t *target) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := post(ctx, t, stream{events: streamChunks, every: streamInterval}.request(t.model(0)))
	if err != nil {
		return fmt.Errorf("asking for a stream: %w", err)
	}
	defer res.Body.Close()

	var sent, arrived []time.Time
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		now := time.Now()
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok || data == "[DONE]" {
			continue
		}
		at, err := sentAt(data)
		if err != nil {
			return err
		}
		sent, arrived = append(sent, at), append(arrived, now)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading a stream: %w", err)
	}
	if len(sent) != streamChunks {
		return fmt.Errorf("%d events of a stream arrived, %d were sent", len(sent), streamChunks)
	}

	var late time.Duration
	for i := range sent {
		late = max(late, arrived[i].Sub(sent[i]))
	}
	if late > heldBack {
		return fmt.Errorf("an event of a stream was held back for %s", late)
	}
	return nil
}

// sentAt reads the time that a chunk of the mock backend carries as its content.
func sentAt(data string) (time.Time, error) {
	var chunk struct {
		Choices []struct {
			Delta struct{ Content string }
		}
	}
	if err := json.Unmarshal([]byte(data), &chunk); err != nil || len(chunk.Choices) != 1 {
		return time.Time{}, fmt.Errorf("an event that was not sent: %s", data)
	}
	nano, err := strconv.ParseInt(chunk.Choices[0].Delta.Content, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("an event that was not sent: %s", data)
	}
	return time.Unix(0, nano), nil
}

// post sends a request by net/http; every answer but 200 is an error.
func post(ctx context.Context, t *target, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url+chatPath, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+t.key(0))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, errors.Join(errors.New(res.Status), res.Body.Close())
	}
	return res, nil
}
