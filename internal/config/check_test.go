package config

import (
	"strings"
	"testing"
)

// What a Caddyfile can't say, JSON can.
func TestBackendsRefuseNumbersThatMakeNoSense(t *testing.T) {
	for name, b := range map[string]Backend{
		"drain is":               {Drain: -1},
		"first_token_timeout is": {FirstTokenTimeout: -1},
		"idle_timeout is":        {IdleTimeout: -1},
		"queue_timeout is":       {QueueTimeout: -1},
		"max_inflight is":        {MaxInflight: -1},
		"queue is":               {Queue: -1},
		"queue is 100001":        {Queue: MaxQueue + 1, MaxInflight: 1},
		"queue without":          {Queue: 1},
		"queue_timeout without":  {QueueTimeout: 1, MaxInflight: 1},
	} {
		if err := b.Check(); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := new(Backend).Check(); err != nil {
		t.Errorf("nothing said: %v", err)
	}
}
