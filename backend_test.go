package pinegate

import (
	"strings"
	"testing"
)

// What a Caddyfile can't say, JSON can.
func TestBackendsRefuseNumbersThatMakeNoSense(t *testing.T) {
	for name, config := range map[string]BackendConfig{
		"drain is":               {Drain: -1},
		"first_token_timeout is": {FirstTokenTimeout: -1},
		"idle_timeout is":        {IdleTimeout: -1},
		"queue_timeout is":       {QueueTimeout: -1},
		"max_inflight is":        {MaxInflight: -1},
		"queue is":               {Queue: -1},
		"queue is 100001":        {Queue: maxQueue + 1, MaxInflight: 1},
		"queue without":          {Queue: 1},
		"queue_timeout without":  {QueueTimeout: 1, MaxInflight: 1},
	} {
		if err := config.checkNumbers(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(BackendConfig).checkNumbers(); err != nil {
		t.Errorf("nothing said: %v", err)
	}
}

func TestWhatWaitsMayHoldATenthOfTheLargestBodyEach(t *testing.T) {
	for queue, want := range map[int64]int64{0: 10_000_000, 1: 10_000_000, 10: 10_000_000, 200: 200_000_000} {
		if got := (&BackendConfig{Queue: queue}).capacity(10_000_000).Bytes; got != want {
			t.Errorf("a queue of %d: %d bytes, want %d", queue, got, want)
		}
	}
}
