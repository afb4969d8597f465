// Command bench measures what the gate adds to a request: the CPU seconds of its
// process for each request and for each event of a stream, next to those of
// Caddy's bare reverse_proxy out of the same binary, in the same run. Throughput
// on a shared machine is noise; CPU seconds are far less so, and what noise they
// have meets all alike: many short rounds, in which each target has its turn.
//
// It also checks that no event of a stream is held back.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

// settings are the flags.
type settings struct {
	caddy            string
	rounds, requests int
	callers          int
	streamRounds     int
	streams, events  int
	every            time.Duration
	json             string
}

func main() {
	var s settings
	flag.StringVar(&s.caddy, "caddy", "bin/caddy", "the `binary` to measure")
	flag.IntVar(&s.rounds, "rounds", 30, "measured `rounds` of requests, each of all targets")
	flag.IntVar(&s.requests, "requests", 2000, "`requests` of one round to one target")
	flag.IntVar(&s.callers, "callers", 64, "`callers` at a time")
	flag.IntVar(&s.streamRounds, "stream-rounds", 3, "measured `rounds` of streams; 0: none")
	flag.IntVar(&s.streams, "streams", 500, "`streams` at a time")
	flag.IntVar(&s.events, "events", 100, "`events` of a stream")
	flag.DurationVar(&s.every, "every", 20*time.Millisecond, "the `time` between two events; 0: at full rate")
	flag.StringVar(&s.json, "json", "", "the `file` to write the results to, as JSON")
	flag.Parse()
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(s settings) (err error) {
	if s.rounds < 1 || s.requests < 1 || s.callers < 1 || s.streams < 1 || s.events < 1 || s.streamRounds < 0 || s.every < 0 {
		return errors.New("rounds, requests, callers, streams and events start at 1, stream-rounds and every at 0")
	}
	mock := newMock()
	defer mock.Close()

	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	targets := []*target{{name: "direct", url: mock.URL}}
	for _, g := range gateways {
		process, err := startGateway(s.caddy, dir, g.name, g.caddyfile, mock.Listener.Addr().String())
		if err != nil {
			return err
		}
		defer process.stop()
		targets = append(targets, &target{name: g.name, url: process.url, process: process})
	}
	if err := measureRequests(targets, s); err != nil {
		return err
	}
	if err := measureStreams(targets, s); err != nil {
		return err
	}
	report(os.Stdout, targets)
	if s.json != "" {
		if err := writeJSON(s, targets); err != nil {
			return err
		}
	}
	return checkStream(targets[2].url)
}

// measureRequests sends requests to all targets in turn, after a round to warm up.
func measureRequests(targets []*target, s settings) error {
	load := newLoad(s.callers)
	fmt.Printf("%d callers, %d requests a round, %d rounds after one to warm up\n", s.callers, s.requests, s.rounds)
	return inTurn(targets, s.rounds, "of CPU a request", func(t *target) (time.Duration, error) {
		return t.measureRequests(load, s.requests)
	}, func(t *target) *[]sample { return &t.requests })
}

// measureStreams has all targets stream in turn, after a round to warm up.
func measureStreams(targets []*target, s settings) error {
	if s.streamRounds == 0 {
		return nil
	}
	load := newLoad(s.streams)
	fmt.Printf("\n%d streams at a time of %d events %s apart, %d rounds after one to warm up\n", s.streams, s.events, s.every, s.streamRounds)
	return inTurn(targets[1:], s.streamRounds, "of CPU an event", func(t *target) (time.Duration, error) {
		return t.measureStreams(load, s)
	}, func(t *target) *[]sample { return &t.streams })
}

// inTurn measures all targets in each round, and tells of their CPU. The first
// round warms up: its samples go. The order turns around from round to round, so
// that what drifts over time meets all alike.
func inTurn(targets []*target, rounds int, unit string, measure func(*target) (time.Duration, error), samples func(*target) *[]sample) error {
	for round := range rounds + 1 {
		order := slices.Clone(targets)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		cpu := make(map[*target]time.Duration)
		for _, t := range order {
			var err error
			if cpu[t], err = measure(t); err != nil {
				return fmt.Errorf("round %d, %s: %w", round, t.name, err)
			}
		}
		if round == 0 {
			for _, t := range targets {
				*samples(t) = nil
			}
			continue
		}
		fmt.Printf("round %2d:", round)
		for _, t := range targets {
			if t.process != nil {
				fmt.Printf(" %s %s,", t.name, cpu[t].Round(10*time.Nanosecond))
			}
		}
		fmt.Printf(" %s\n", unit)
	}
	return nil
}
