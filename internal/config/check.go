package config

import (
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/limiter"
)

// Bounds of configured values.
const (
	MinDiscover = time.Second // between two requests for a backend's models
	MaxQueue    = 100_000     // requests that wait at a backend
	MaxWeight   = 1_000_000   // of a backend in a weighted route
	MaxAttempts = 1000        // of a request, each at another backend
)

// Check refuses gates without keys or backends, and numbers out of range, as the
// Caddyfile parser does: a JSON configuration has not passed it.
func (c *Gate) Check() error {
	if len(c.Keys) == 0 && len(c.KeyFiles) == 0 && !c.KeyStore {
		return errors.New("a gate needs a source of keys: a key block, a keys file or keys store; it is never open")
	}
	if len(c.Backends) == 0 {
		return errors.New("a gate needs a backend")
	}
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"max_body", c.MaxBody},
		{"max_stream", int64(c.MaxStream)},
		{"max_output_tokens", c.MaxOutputTokens},
		{"reserve_output_tokens", c.ReserveOutputTokens},
	} {
		if n.value < 0 {
			return fmt.Errorf("%s is %d: expected a positive number", n.name, n.value)
		}
	}
	switch c.Estimate {
	case "", "characters", "tokens":
	default:
		return fmt.Errorf("estimate: unknown word %q: expected characters or tokens", c.Estimate)
	}
	if err := checkPercents(c.Alert); err != nil {
		return fmt.Errorf("alert: %w", err)
	}
	return CheckLimits(c.Limits)
}

// CheckLimits refuses invalid limits, and two of one unit and window: they would
// share a counter.
func CheckLimits(limits []limiter.Limit) error {
	type counter struct {
		unit   limiter.Unit
		window limiter.Window
	}
	seen := make(map[counter]bool, len(limits))
	for _, limit := range limits {
		if err := limit.Validate(); err != nil {
			return err
		}
		c := counter{limit.Unit, limit.Window}
		if seen[c] {
			return fmt.Errorf("limit %s: there is one of this unit and window already", limit)
		}
		seen[c] = true
	}
	return nil
}

// Check refuses numbers out of range.
func (b *Backend) Check() error {
	for _, d := range []struct {
		name  string
		value caddy.Duration
	}{
		{"drain", b.Drain},
		{"first_token_timeout", b.FirstTokenTimeout},
		{"idle_timeout", b.IdleTimeout},
		{"queue_timeout", b.QueueTimeout},
	} {
		if d.value < 0 {
			return fmt.Errorf("%s is %s: expected a positive duration", d.name, time.Duration(d.value))
		}
	}
	every := time.Duration(b.Discover)
	switch {
	case b.MaxInflight < 0:
		return fmt.Errorf("max_inflight is %d: expected a positive number", b.MaxInflight)
	case b.Queue < 0 || b.Queue > MaxQueue:
		return fmt.Errorf("queue is %d: expected a number from 0 to %d", b.Queue, MaxQueue)
	case b.Queue > 0 && b.MaxInflight == 0:
		return errors.New("queue without max_inflight: nobody would wait")
	case b.QueueTimeout > 0 && b.Queue == 0:
		return errors.New("queue_timeout without queue: nobody would wait")
	case every < 0 || every > 0 && every < MinDiscover:
		return fmt.Errorf("discover is %s: expected at least %s", every, MinDiscover)
	case every > 0 && b.DiscoverOff:
		return errors.New("discover and discover_off exclude each other")
	}
	switch b.Forward {
	case "", "direct", "reverse_proxy":
	default:
		return fmt.Errorf("forward: unknown word %q: expected direct or reverse_proxy", b.Forward)
	}
	for public, upstream := range b.Rename {
		if public == "" || upstream == "" {
			return errors.New("rename: a name is empty")
		}
	}
	return nil
}

// Check refuses negative numbers, and windows of quotas.
func (c *Throttle) Check() error {
	if c.Amount < 0 || c.Burst < 0 || c.Window.Quota() {
		return errors.New("throttle: expected positive numbers and a window of a second, minute or hour")
	}
	return nil
}

// ModelPatterns parses patterns of models. It returns nil, which matches every model,
// if there are none, and a list that matches nothing for `none`.
func ModelPatterns(texts []string) (pattern.List, error) {
	switch {
	case len(texts) == 0:
		return nil, nil
	case len(texts) == 1 && texts[0] == "none":
		return pattern.List{}, nil
	}
	return pattern.ParseList(texts)
}
