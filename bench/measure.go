package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// work is one kind of work that all targets are given.
type work struct {
	name   string
	unit   string // request or event
	rounds int
	// callers at a time, each of whom has a connection.
	callers int
	// warmUp is a first turn, which is not measured.
	warmUp func(*target) error
	// turn does the work once and returns how many requests or events it was.
	turn func(*target) (n int, waits []timing, err error)
}

// sample is what one turn showed.
type sample struct {
	n   int // requests or events
	cpu time.Duration
	// Of requests; a stream is one. The first byte is that of the body, in the median.
	p50, p99, p999, firstByte time.Duration

	throughput float64   // of requests or events, a second
	redis      redisWork // for each of them
}

// memory is what a target held, in bytes.
type memory struct {
	peak     int64 // in RAM, at any time
	stream   held  // for each open stream
	resident int64 // likewise, by what the process grew
}

func chatWork(callers, rounds int, turn time.Duration) work {
	return work{
		name: fmt.Sprintf("chats of 1.5 kB, %d at a time", callers), unit: "request", rounds: rounds, callers: callers,
		warmUp: func(t *target) error {
			_, err := chats(t.callers, t, turn)
			return err
		},
		turn: func(t *target) (int, []timing, error) {
			waits, err := chats(t.callers, t, turn)
			return len(waits), waits, err
		},
	}
}

// ramp is the time over which streams begin: as many at once as never come would
// show how fast connections are made.
const ramp = time.Second

func streamWork(streams, rounds, events int, every time.Duration) work {
	return work{
		name: fmt.Sprintf("%d streams of %d events %s apart", streams, events, every), unit: "event", rounds: rounds, callers: streams,
		warmUp: func(t *target) error { return t.measureMemory(streams) },
		turn: func(t *target) (int, []timing, error) {
			waits, err := readStreams(t.callers, t, stream{events: events, every: every}, ramp, func() error { return nil })
			return streams * events, waits, err
		},
	}
}

// Streams at full rate: so many at a time, of so many events.
const (
	fullRateStreams = 64
	fullRateEvents  = 1000
)

func fullRateWork(rounds int) work {
	do := func(t *target) (int, []timing, error) {
		waits, err := readStreams(t.callers, t, stream{events: fullRateEvents}, 0, func() error { return nil })
		return fullRateStreams * fullRateEvents, waits, err
	}
	return work{
		name: fmt.Sprintf("%d streams of %d events at full rate", fullRateStreams, fullRateEvents), unit: "event", rounds: rounds, callers: fullRateStreams,
		warmUp: func(t *target) error { _, _, err := do(t); return err },
		turn:   do,
	}
}

// measureMemory measures what a stream holds while it is open, by the difference to
// when none is: with slow ones, all of which are open at once for certain.
func (t *target) measureMemory(streams int) error {
	const events, every = 50, 100 * time.Millisecond
	if t.process == nil {
		return nil
	}
	read := func() (h held, resident int64, err error) {
		if t.own != nil {
			if h, err = readHeld(t.own.admin); err != nil {
				return h, 0, err
			}
		}
		resident, err = t.process.resident()
		return h, resident, err
	}
	// One stream makes what is made once.
	if _, err := readStreams(t.callers[:1], t, stream{events: 1}, 0, func() error { return nil }); err != nil {
		return err
	}
	closed, closedResident, err := read()
	if err != nil {
		return err
	}
	_, err = readStreams(t.callers, t, stream{events: events, every: every}, ramp, func() error {
		open, resident, err := read()
		n := int64(streams)
		t.memory.stream = held{(open.heap - closed.heap) / n, (open.stacks - closed.stacks) / n}
		t.memory.resident = (resident - closedResident) / n
		return err
	})
	return err
}

// counters are what is counted of a target all the time.
type counters struct {
	cpu   time.Duration
	redis redisWork
}

func (t *target) count() (c counters, err error) {
	if t.process == nil {
		return c, nil
	}
	if c.cpu, err = t.process.cpu(); err != nil {
		return c, err
	}
	c.redis, err = t.redis.done()
	return c, err
}

// settle is how long a target may take to do what it does behind the last answers.
const settle = time.Second

// measure gives all targets their turn in each round, after a turn to warm up. The
// order turns around from round to round, so that what drifts over time meets all
// alike. A turn is charged with the CPU until the target's next one begins: what it
// does later, and what it does each second, counts.
func (w work) measure(ctx context.Context, targets []*target) error {
	fmt.Printf("%s: %d rounds of %d targets\n", w.name, w.rounds, len(targets))
	for _, t := range targets {
		if err := t.connect(w.callers); err != nil {
			return err
		}
		if err := w.warmUp(t); err != nil {
			return fmt.Errorf("warming up, %s: %w", t.name, err)
		}
		if t.process != nil {
			t.process.forgetPeak()
		}
	}
	began := time.Now()
	for round := range w.rounds {
		order := slices.Clone(targets)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, t := range order {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := w.takeTurn(t); err != nil {
				return fmt.Errorf("round %d, %s: %w", round+1, t.name, err)
			}
		}
		left := time.Since(began) / time.Duration(round+1) * time.Duration(w.rounds-round-1)
		fmt.Printf("  round %2d of %d, %s left:%s\n", round+1, w.rounds, left.Round(time.Second), w.progress(targets))
	}
	time.Sleep(settle)
	for _, t := range targets {
		if err := t.charge(); err != nil {
			return err
		}
		if t.process == nil {
			continue
		}
		var err error
		if t.memory.peak, err = t.process.peak(); err != nil {
			return err
		}
	}
	return nil
}

// takeTurn measures one turn, but for its CPU, which the next one adds.
func (w work) takeTurn(t *target) error {
	if err := t.charge(); err != nil {
		return err
	}
	start := time.Now()
	n, waits, err := w.turn(t)
	if err != nil {
		return err
	}
	s := sample{n: n, throughput: float64(n) / time.Since(start).Seconds()}
	last := func(t timing) time.Duration { return t.last }
	s.p50, s.p99, s.p999 = percentile(waits, 500, last), percentile(waits, 990, last), percentile(waits, 999, last)
	s.firstByte = percentile(waits, 500, func(t timing) time.Duration { return t.first })
	t.samples = append(t.samples, s)
	return nil
}

// charge ends the target's last turn, and begins the next.
func (t *target) charge() error {
	now, err := t.count()
	if err != nil {
		return err
	}
	if len(t.samples) > 0 {
		s := &t.samples[len(t.samples)-1]
		s.cpu, s.redis = now.cpu-t.since.cpu, now.redis.less(t.since.redis, s.n)
	}
	t.since = now
	return nil
}

// progress prints the CPU of each target in the round, as far as it is known.
func (w work) progress(targets []*target) string {
	var text strings.Builder
	for _, t := range targets {
		if t.process == nil {
			continue
		}
		if now, err := t.process.cpu(); err == nil {
			s := t.samples[len(t.samples)-1]
			fmt.Fprintf(&text, " %s %s,", t.name, short((now-t.since.cpu)/time.Duration(max(s.n, 1))))
		}
	}
	return text.String() + " of CPU a" + vowel(w.unit)
}

// percentile returns the value that so many of 1000 are not above.
func percentile(of []timing, thousandths int, value func(timing) time.Duration) time.Duration {
	if len(of) == 0 {
		return 0
	}
	values := make([]time.Duration, len(of))
	for i, v := range of {
		values[i] = value(v)
	}
	slices.Sort(values)
	return values[min(len(values)*thousandths/1000, len(values)-1)]
}
