package main

import (
	"slices"
	"time"
)

// target is where requests are sent to, and what came of them.
type target struct {
	name    string
	url     string
	process *gateway // nil: no process of its own, so no CPU to measure

	requests []sample // of each round
	streams  []sample
}

// sample is what one round showed.
type sample struct {
	n          int           // requests or events
	cpu        time.Duration // of the gateway's process, for all of them
	p50, p99   time.Duration // of a request, or until a stream's first event
	throughput float64       // of requests or events, a second
	memory     int64         // bytes that the process grew by while streams were open, a stream
}

// measureRequests sends one round of requests and returns the CPU of one.
func (t *target) measureRequests(load *load, requests int) (time.Duration, error) {
	s, err := t.measure(requests, func() ([]time.Duration, error) { return load.run(t.url, requests) })
	t.requests = append(t.requests, s)
	return s.each(), err
}

// measureStreams reads one round of streams and returns the CPU of one event.
func (t *target) measureStreams(load *load, set settings) (time.Duration, error) {
	before, err := t.process.memory()
	if err != nil {
		return 0, err
	}
	var open int64
	s, err := t.measure(set.streams*set.events, func() ([]time.Duration, error) {
		return load.runStreams(t.url, set, func() (err error) {
			open, err = t.process.memory()
			return err
		})
	})
	s.memory = (open - before) / int64(set.streams)
	t.streams = append(t.streams, s)
	return s.each(), err
}

// measure takes the time and the CPU of work on n requests or events, which
// returns how long callers waited.
func (t *target) measure(n int, work func() ([]time.Duration, error)) (sample, error) {
	s := sample{n: n}
	before, err := t.process.cpu()
	if err != nil {
		return s, err
	}
	start := time.Now()
	waits, err := work()
	if err != nil {
		return s, err
	}
	s.throughput = float64(n) / time.Since(start).Seconds()
	after, err := t.process.cpu()
	s.cpu = after - before
	slices.Sort(waits)
	s.p50, s.p99 = waits[len(waits)/2], waits[len(waits)*99/100]
	return s, err
}

// each is the CPU of one request or event.
func (s sample) each() time.Duration { return s.cpu / time.Duration(max(s.n, 1)) }

// total is the CPU of one request or event over all rounds: what a round is off
// by, one round being little, the next makes good.
func total(samples []sample) time.Duration {
	var all sample
	for _, s := range samples {
		all.n += s.n
		all.cpu += s.cpu
	}
	return all.each()
}
