package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// ratio compares the CPU of a target with that of another one over the rounds
// that they had together.
type ratio struct {
	// Sums is that of all rounds together, which says most: the ticks in which
	// Linux counts CPU are long for one round.
	Sums    float64 `json:"all_rounds"`
	Median  float64 `json:"median"` // over the rounds, as those below
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
}

func compare(of, to []sample) ratio {
	var each []float64
	for i := range of {
		each = append(each, float64(of[i].each())/float64(max(to[i].each(), 1)))
	}
	return ratio{float64(total(of)) / float64(max(total(to), 1)), median(each), slices.Min(each), slices.Max(each)}
}

// work is what one kind of work cost on a target.
type work struct {
	CPU         time.Duration `json:"cpu_ns"` // for each request or event, over all rounds
	Ratio       ratio         `json:"cpu_ratio_to_bare"`
	P50         time.Duration `json:"p50_ns"` // medians over the rounds, as all below
	P99         time.Duration `json:"p99_ns"`
	Throughput  float64       `json:"per_second"`
	MemoryBytes int64         `json:"memory_bytes_a_stream,omitempty"`
}

func summarise(samples, bare []sample) *work {
	if len(samples) == 0 {
		return nil
	}
	w := &work{
		CPU:         total(samples),
		P50:         medianOf(samples, func(s sample) time.Duration { return s.p50 }),
		P99:         medianOf(samples, func(s sample) time.Duration { return s.p99 }),
		Throughput:  medianOf(samples, func(s sample) float64 { return s.throughput }),
		MemoryBytes: medianOf(samples, func(s sample) int64 { return s.memory }),
	}
	if w.CPU > 0 {
		w.Ratio = compare(samples, bare)
	}
	return w
}

// report prints what was measured, the ratios to the bare proxy first.
func report(to io.Writer, targets []*target) {
	bare := targets[1]
	for _, kind := range []struct {
		title   string
		samples func(*target) []sample
		memory  bool
	}{
		{"request", func(t *target) []sample { return t.requests }, false},
		{"event", func(t *target) []sample { return t.streams }, true},
	} {
		if len(kind.samples(bare)) == 0 {
			continue
		}
		fmt.Fprintln(to)
		for _, t := range targets[2:] {
			r := summarise(kind.samples(t), kind.samples(bare)).Ratio
			fmt.Fprintf(to, "CPU of %s to that of the bare proxy, a%s: %.3f (all rounds together; median %.3f, %.3f to %.3f)\n",
				t.name, vowel(kind.title), r.Sums, r.Median, r.Lowest, r.Highest)
		}
		table := tabwriter.NewWriter(to, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintf(table, "\n\tCPU/%s\tp50\tp99\t%ss/s\t", kind.title, kind.title)
		if kind.memory {
			fmt.Fprint(table, "memory/stream\t")
		}
		fmt.Fprintln(table)
		for _, t := range targets {
			w := summarise(kind.samples(t), kind.samples(bare))
			if w == nil {
				continue
			}
			cpu := "-"
			if t.process != nil {
				cpu = w.CPU.Round(10 * time.Nanosecond).String()
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.0f\t", t.name, cpu, w.P50.Round(time.Microsecond), w.P99.Round(time.Microsecond), w.Throughput)
			if kind.memory {
				fmt.Fprintf(table, "%.1f KiB\t", float64(w.MemoryBytes)/1024)
			}
			fmt.Fprintln(table)
		}
		_ = table.Flush()
	}
	fmt.Fprintln(to)
}

// vowel puts the article's n before a word that wants it.
func vowel(word string) string {
	if word == "event" {
		return "n " + word
	}
	return " " + word
}

// writeJSON writes what was measured, on what and how.
func writeJSON(s settings, targets []*target) error {
	type result struct {
		Name     string `json:"name"`
		Requests *work  `json:"requests,omitempty"`
		Streams  *work  `json:"streams,omitempty"`
	}
	var out struct {
		Go       string        `json:"go"`
		CPUs     int           `json:"cpus"`
		Callers  int           `json:"callers"`
		Requests int           `json:"requests_a_round"`
		Rounds   int           `json:"rounds"`
		Streams  int           `json:"streams"`
		Events   int           `json:"events"`
		Every    time.Duration `json:"event_interval_ns"`
		Results  []result      `json:"results"`
	}
	out.Go, out.CPUs = runtime.Version(), runtime.NumCPU()
	out.Callers, out.Requests, out.Rounds = s.callers, s.requests, s.rounds
	out.Streams, out.Events, out.Every = s.streams, s.events, s.every
	for _, t := range targets {
		out.Results = append(out.Results, result{t.name, summarise(t.requests, targets[1].requests), summarise(t.streams, targets[1].streams)})
	}
	text, err := json.MarshalIndent(out, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(s.json, append(text, '\n'), 0o600)
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
