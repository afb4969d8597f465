package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// heldBack is how much later than it was sent an event may arrive. The gate takes
// about a millisecond; the rest is for a busy machine. Whoever waits for the next
// event is late by a whole interval.
const heldBack = streamInterval / 2

// checkStream reads a stream through the gate and fails if an event is late.
func checkStream(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	res, err := post(ctx, new(http.Client), url, streamRequest)
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
	gaps := make([]string, 0, streamChunks)
	for i := range sent {
		late = max(late, arrived[i].Sub(sent[i]))
		if i > 0 {
			gaps = append(gaps, arrived[i].Sub(arrived[i-1]).Round(time.Millisecond).String())
		}
	}
	fmt.Printf("a stream of %d events %s apart arrives %s apart, at most %s late\n",
		streamChunks, streamInterval, strings.Join(gaps, ", "), late.Round(10*time.Microsecond))
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
