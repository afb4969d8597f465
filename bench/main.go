// Command bench measures what the gate costs: the CPU time of its process for each
// request and for each event of a stream, next to that of Caddy's bare
// reverse_proxy out of the same binary, in the same run, and what callers wait and
// the process holds meanwhile. The model server and the callers are its own, in its
// own process. docs/performance.md says how to read what it prints.
//
// It also checks that no event of a stream is held back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	caddy   string
	work    []string
	callers []int
	only    []string
	others  []other
	mock    string
	json    string

	rounds, streamRounds int
	turn                 time.Duration
	streams, events      int
	every                time.Duration
}

// The kinds of work, as -work names them.
const (
	workChat     = "chat"
	workStreams  = "streams"
	workFullRate = "full-rate"
)

func main() {
	s := settings{work: []string{workChat, workStreams, workFullRate}, callers: []int{1, 16, 64, 256}}
	flag.StringVar(&s.caddy, "caddy", "bin/caddy", "the `binary` to measure")
	flag.Func("work", "the `kinds` of work: chat,streams,full-rate (default all)", list(&s.work, parseWork))
	flag.Func("callers", "the `numbers` of callers at a time of chats (default 1,16,64,256)", list(&s.callers, strconv.Atoi))
	flag.Func("only", "the `targets` to measure beside bare, of "+strings.Join(namesOfGateways(), ",")+" (default all; those of Redis where it is installed)", list(&s.only, parseName))
	flag.Func("other", "another gateway: `name=http://host:port,pid=123[,key=K][,model=M][,header=Name: value]...`; may be given again", func(text string) error {
		o, err := parseOther(text)
		s.others = append(s.others, o)
		return err
	})
	flag.StringVar(&s.mock, "mock", "127.0.0.1:0", "the `address` of the mock model server, for other gateways")
	flag.IntVar(&s.rounds, "rounds", 12, "`rounds` of chats and of streams at full rate, in each of which each target has its turn")
	flag.DurationVar(&s.turn, "turn", 200*time.Millisecond, "the `time` of a turn of chats")
	flag.IntVar(&s.streamRounds, "stream-rounds", 3, "`rounds` of streams")
	flag.IntVar(&s.streams, "streams", 1000, "`streams` at a time")
	flag.IntVar(&s.events, "events", 100, "`events` of a stream")
	flag.DurationVar(&s.every, "every", 20*time.Millisecond, "the `time` between two events")
	flag.StringVar(&s.json, "json", "", "the `file` to write the results to, as JSON")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// list makes the function of a flag that takes several values, with commas.
func list[T any](into *[]T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		*into = nil
		for part := range strings.SplitSeq(text, ",") {
			value, err := parse(part)
			if err != nil {
				return err
			}
			*into = append(*into, value)
		}
		return nil
	}
}

func parseWork(text string) (string, error) {
	if !slices.Contains([]string{workChat, workStreams, workFullRate}, text) {
		return "", errors.New("the kinds of work are chat, streams and full-rate")
	}
	return text, nil
}

func parseName(text string) (string, error) {
	if names := namesOfGateways(); !slices.Contains(names, text) {
		return "", fmt.Errorf("the targets are %s", strings.Join(names, ", "))
	}
	return text, nil
}

func (s settings) check() error {
	if s.rounds < 1 || s.streamRounds < 1 || s.streams < 1 || s.events < 1 || slices.Min(s.callers) < 1 || s.turn <= 0 || s.every <= 0 {
		return errors.New("numbers start at 1, and times are more than 0")
	}
	return checkFileLimit(max(s.streams, slices.Max(s.callers)))
}

func run(ctx context.Context, s settings) (err error) {
	if err := s.check(); err != nil {
		return err
	}
	mock, err := newMock(s.mock)
	if err != nil {
		return err
	}
	defer mock.Close()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	machine := machineInfo()
	fmt.Println(machine)
	measured := results{Machine: machine, Go: goVersion()}
	var late error
	works := s.works()
	for i, w := range works {
		targets, stop, err := startTargets(s, dir, mock)
		if err != nil {
			return err
		}
		err = w.measure(ctx, targets)
		if err == nil && i == len(works)-1 {
			late = checkStreams(targets)
		}
		stop()
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		measured.add(w, targets)
	}
	measured.print(os.Stdout)
	if s.json != "" {
		late = errors.Join(late, measured.write(s.json))
	}
	return late
}

// works are the kinds of work that were asked for.
func (s settings) works() []work {
	var all []work
	for _, kind := range s.work {
		switch kind {
		case workChat:
			for _, n := range s.callers {
				all = append(all, chatWork(n, s.rounds, s.turn))
			}
		case workStreams:
			all = append(all, streamWork(s.streams, s.streamRounds, s.events, s.every))
		case workFullRate:
			all = append(all, fullRateWork(s.rounds))
		}
	}
	return all
}
