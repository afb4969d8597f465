// Command bench measures what the gate adds to a request: the CPU seconds of its
// process for each request, next to those of Caddy's bare reverse_proxy out of the
// same binary, in the same run. Throughput on a shared machine is noise; CPU
// seconds are not.
//
// It also checks that no event of a stream is held back.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"
)

func main() {
	caddy := flag.String("caddy", "bin/caddy", "the `binary` to measure")
	rounds := flag.Int("rounds", 10, "measured `rounds`, each of all targets")
	requests := flag.Int("requests", 6000, "`requests` of one round to one target")
	callers := flag.Int("callers", 64, "`callers` at a time")
	flag.Parse()
	if err := run(*caddy, *rounds, *requests, *callers); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(caddy string, rounds, requests, callers int) (err error) {
	if rounds < 1 || requests < 1 || callers < 1 {
		return errors.New("rounds, requests and callers start at 1")
	}
	mock := newMock()
	defer mock.Close()

	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	bare, err := startGateway(caddy, dir, "bare", bareCaddyfile, mock.Listener.Addr().String())
	if err != nil {
		return err
	}
	defer bare.stop()
	gate, err := startGateway(caddy, dir, "gate", gateCaddyfile, mock.Listener.Addr().String())
	if err != nil {
		return err
	}
	defer gate.stop()
	targets := []*target{{name: "direct", url: mock.URL}, {name: "bare", url: bare.url, process: bare}, {name: "gate", url: gate.url, process: gate}}

	load := newLoad(callers)
	fmt.Printf("%d callers, %d requests a round, %d rounds after one to warm up\n", callers, requests, rounds)
	for round := range rounds + 1 {
		// The order turns around from round to round, so that what drifts over time
		// meets both gateways alike.
		order := slices.Clone(targets)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, t := range order {
			if err := t.measure(load, requests, round > 0); err != nil {
				return fmt.Errorf("round %d, %s: %w", round, t.name, err)
			}
		}
		if round > 0 {
			b, g := targets[1].last(), targets[2].last()
			fmt.Printf("round %2d: bare %s, gate %s of CPU a request, ratio %.3f\n", round, b.cpu, g.cpu, ratio(g, b))
		}
	}
	report(targets)
	return checkStream(gate.url)
}

// target is where requests are sent to, and what came of them.
type target struct {
	name    string
	url     string
	process *gateway // nil: no process of its own, so no CPU to measure
	samples []sample
}

// sample is what one round showed.
type sample struct {
	cpu        time.Duration // of the gateway's process, a request
	p50, p99   time.Duration
	throughput float64 // requests a second
}

// measure sends one round of requests, and keeps what it shows if told so.
func (t *target) measure(load *load, requests int, keep bool) error {
	var before time.Duration
	var err error
	if t.process != nil {
		if before, err = t.process.cpu(); err != nil {
			return err
		}
	}
	start := time.Now()
	latencies, err := load.run(t.url, requests)
	if err != nil {
		return err
	}
	s := sample{throughput: float64(requests) / time.Since(start).Seconds()}
	if t.process != nil {
		after, err := t.process.cpu()
		if err != nil {
			return err
		}
		s.cpu = (after - before) / time.Duration(requests)
	}
	slices.Sort(latencies)
	s.p50, s.p99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
	if keep {
		t.samples = append(t.samples, s)
	}
	return nil
}

func (t *target) last() sample { return t.samples[len(t.samples)-1] }

func ratio(gate, bare sample) float64 { return float64(gate.cpu) / float64(bare.cpu) }

// report prints the medians over the rounds.
func report(targets []*target) {
	fmt.Printf("\n%-8s %12s %10s %10s %12s\n", "", "CPU/request", "p50", "p99", "requests/s")
	for _, t := range targets {
		cpu := "-"
		if t.process != nil {
			cpu = medianOf(t.samples, func(s sample) time.Duration { return s.cpu }).String()
		}
		fmt.Printf("%-8s %12s %10s %10s %12.0f\n", t.name, cpu,
			medianOf(t.samples, func(s sample) time.Duration { return s.p50 }).Round(time.Microsecond),
			medianOf(t.samples, func(s sample) time.Duration { return s.p99 }).Round(time.Microsecond),
			medianOf(t.samples, func(s sample) float64 { return s.throughput }))
	}
	var ratios []float64
	for i, g := range targets[2].samples {
		ratios = append(ratios, ratio(g, targets[1].samples[i]))
	}
	fmt.Printf("\nCPU of the gate to that of the bare proxy: %.3f (median of %d rounds, %.3f to %.3f)\n",
		median(ratios), len(ratios), slices.Min(ratios), slices.Max(ratios))
}

func medianOf[T any, V cmp.Ordered](from []T, value func(T) V) V {
	values := make([]V, len(from))
	for i, v := range from {
		values[i] = value(v)
	}
	return median(values)
}

// median returns the middle value, the upper one of two.
func median[V cmp.Ordered](values []V) V {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
