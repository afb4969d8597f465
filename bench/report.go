package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// ratio compares the CPU of a target with that of another one over the rounds
// that they had together.
type ratio struct {
	Median  float64 `json:"median"` // over the rounds, as those below
	Lower   float64 `json:"lower_quartile"`
	Upper   float64 `json:"upper_quartile"`
	Lowest  float64 `json:"lowest"`
	Highest float64 `json:"highest"`
	// All is that of all rounds together.
	All float64 `json:"all_rounds"`
}

func compare(of, to []sample) *ratio {
	if len(of) == 0 || len(to) == 0 || total(of) == 0 || total(to) == 0 {
		return nil
	}
	each := make([]float64, len(of))
	for i := range of {
		each[i] = float64(of[i].each()) / float64(max(to[i].each(), 1))
	}
	slices.Sort(each)
	return &ratio{
		Median: median(each), Lower: each[len(each)/4], Upper: each[len(each)*3/4], Lowest: each[0], Highest: each[len(each)-1],
		All: float64(total(of)) / float64(total(to)),
	}
}

// each is the CPU of one request or event.
func (s sample) each() time.Duration { return s.cpu / time.Duration(max(s.n, 1)) }

// total is the CPU of one request or event over all rounds.
func total(samples []sample) time.Duration {
	var all sample
	for _, s := range samples {
		all.n += s.n
		all.cpu += s.cpu
	}
	return all.each()
}

// results are what was measured.
type results struct {
	Machine string       `json:"machine"`
	Go      string       `json:"go"`
	Works   []workResult `json:"works"`
}

type workResult struct {
	Work    string   `json:"work"`
	Unit    string   `json:"unit"`
	Rounds  int      `json:"rounds"`
	Targets []result `json:"targets"`
}

// result is what a kind of work cost on a target: medians over the rounds.
type result struct {
	Name      string        `json:"name"`
	ToBare    *ratio        `json:"cpu_ratio_to_bare,omitempty"`
	ToBareLog *ratio        `json:"cpu_ratio_to_bare_log,omitempty"`
	CPU       time.Duration `json:"cpu_ns,omitempty"` // for each request or event
	PerSecond float64       `json:"per_second"`
	P50       time.Duration `json:"p50_ns"` // of a request, or of a whole stream
	P99       time.Duration `json:"p99_ns"`
	P999      time.Duration `json:"p99_9_ns"`
	FirstByte time.Duration `json:"first_byte_p50_ns"`
	// Added is what the first byte takes longer than without a gateway, and
	// AddedToBare compares that with bare's.
	Added       time.Duration `json:"first_byte_added_ns"`
	AddedToBare float64       `json:"first_byte_added_ratio_to_bare,omitempty"`
	Peak        int64         `json:"peak_memory_bytes,omitempty"`
	Heap        int64         `json:"stream_heap_bytes,omitempty"`
	Stacks      int64         `json:"stream_stack_bytes,omitempty"`
	Resident    int64         `json:"stream_resident_bytes,omitempty"`
	Redis       *redisWork    `json:"redis,omitempty"` // for each request or event
}

// add sums up what targets have shown, of whom the first has no gateway.
func (r *results) add(w work, targets []*target) {
	named := make(map[string]*target)
	for _, t := range targets {
		named[t.name] = t
	}
	first := func(t *target) time.Duration {
		return medianOf(t.samples, func(s sample) time.Duration { return s.firstByte })
	}
	direct, ofBare := first(targets[0]), first(named[bare])
	sum := workResult{Work: w.name, Unit: w.unit, Rounds: w.rounds}
	for _, t := range targets {
		one := result{
			Name:      t.name,
			ToBare:    compare(t.samples, named[bare].samples),
			CPU:       medianOf(t.samples, sample.each),
			PerSecond: medianOf(t.samples, func(s sample) float64 { return s.throughput }),
			P50:       medianOf(t.samples, func(s sample) time.Duration { return s.p50 }),
			P99:       medianOf(t.samples, func(s sample) time.Duration { return s.p99 }),
			P999:      medianOf(t.samples, func(s sample) time.Duration { return s.p999 }),
			FirstByte: first(t), Added: first(t) - direct,
			Peak: t.memory.peak, Heap: t.memory.stream.heap, Stacks: t.memory.stream.stacks, Resident: t.memory.resident,
		}
		if ofBare > direct {
			one.AddedToBare = float64(one.Added) / float64(ofBare-direct)
		}
		if logging := named[bareLog]; logging != nil {
			one.ToBareLog = compare(t.samples, logging.samples)
		}
		if t.redis != nil {
			one.Redis = &redisWork{
				Scripts:  medianOf(t.samples, func(s sample) float64 { return s.redis.Scripts }),
				Commands: medianOf(t.samples, func(s sample) float64 { return s.redis.Commands }),
				Reads:    medianOf(t.samples, func(s sample) float64 { return s.redis.Reads }),
				CPU:      medianOf(t.samples, func(s sample) float64 { return s.redis.CPU }),
			}
		}
		sum.Targets = append(sum.Targets, one)
	}
	r.Works = append(r.Works, sum)
}

// print prints a table of the ratios to bare, and then one for each kind of work.
func (r *results) print(to io.Writer) {
	fmt.Fprintf(to, "\nCPU of the gateway's process to that of bare: the median over the rounds, and its quartiles.\n\n")
	table := tabwriter.NewWriter(to, 0, 0, 3, ' ', 0)
	fmt.Fprint(table, "work")
	for _, t := range r.Works[0].Targets[1:] {
		fmt.Fprint(table, "\t", t.Name)
	}
	fmt.Fprintln(table)
	for _, w := range r.Works {
		fmt.Fprint(table, w.Work)
		for _, t := range w.Targets[1:] {
			fmt.Fprint(table, "\t", t.ToBare)
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush()
	for _, w := range r.Works {
		w.print(to)
	}
}

func (w workResult) print(to io.Writer) {
	fmt.Fprintf(to, "\n%s, medians over %d rounds\n\n", w.Work, w.Rounds)
	streams := w.Unit == "event"
	table := tabwriter.NewWriter(to, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\tto %s\tto %s\tCPU/%s\t%ss/s\tp50\tp99\tp99.9\tfirst byte\tadded\tpeak\t", bare, bareLog, w.Unit, w.Unit)
	if streams {
		fmt.Fprint(table, "heap+stacks/stream\tgrowth/stream\t")
	}
	fmt.Fprintln(table)
	for _, t := range w.Targets {
		cpu := "-"
		if t.CPU > 0 {
			cpu = short(t.CPU)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t", t.Name, t.ToBare.middle(), t.ToBareLog.middle(), cpu, t.PerSecond,
			short(t.P50), short(t.P99), short(t.P999), short(t.FirstByte), short(t.Added), size(t.Peak))
		if streams {
			fmt.Fprintf(table, "%s\t%s\t", size(t.Heap+t.Stacks), size(t.Resident))
		}
		fmt.Fprintln(table)
	}
	_ = table.Flush()
	for _, t := range w.Targets {
		if t.Redis != nil {
			fmt.Fprintf(to, "%s: for a%s Redis ran %.3f scripts, read %.3f times from a connection, ran %.2f commands within scripts and outside, in %s of CPU\n",
				t.Name, vowel(w.Unit), t.Redis.Scripts, t.Redis.Reads, t.Redis.Commands, short(time.Duration(t.Redis.CPU)))
		}
	}
}

func (r *ratio) String() string {
	if r == nil {
		return "-"
	}
	return fmt.Sprintf("%.2f (%.2f to %.2f)", r.Median, r.Lower, r.Upper)
}

func (r *ratio) middle() string {
	if r == nil {
		return "-"
	}
	return strconv.FormatFloat(r.Median, 'f', 2, 64)
}

// short shows a time by three digits.
func short(d time.Duration) string {
	unit := time.Duration(1)
	for d.Abs()/unit >= 1000 {
		unit *= 10
	}
	return d.Round(unit).String()
}

// size shows bytes.
func size(n int64) string {
	switch {
	case n == 0:
		return "-"
	case n < 10<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
}

// vowel puts the article's n before a word that wants it.
func vowel(word string) string {
	if word == "event" {
		return "n " + word
	}
	return " " + word
}

// write writes all of it as JSON.
func (r *results) write(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
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
