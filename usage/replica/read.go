package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

const (
	// freshFor is how long data of other gates is reused after it was read: they
	// deliver no more often.
	freshFor = time.Second

	// rebuildPoll is how often a waiting reader checks whether all gates have
	// delivered again.
	rebuildPoll = 50 * time.Millisecond

	// maxKnownSeries is how many series of other generations are cached: some 10
	// bytes each, and some 200 for each set of labels.
	maxKnownSeries = 4 << 20

	// readKeys is how many hashes are read in one round trip.
	readKeys = 500

	// findDays is how many days are looked up in one round trip.
	findDays = 1000
)

var errRebuilding = fmt.Errorf("%w: it lost data, which gates are delivering again", usage.ErrUnavailable)

// generationSet is a set of this gate's ended generations, safe for concurrent
// use.
type generationSet struct {
	mu  sync.Mutex
	ids map[string]bool
}

// set adds the generation id if in is true, and removes it otherwise.
func (s *generationSet) set(id string, in bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in {
		s.ids[id] = true
	} else {
		delete(s.ids, id)
	}
}

func (s *generationSet) clone() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.ids)
}

// reads is the state and cache of readers.
type reads struct {
	turn chan struct{} // holds one token, taken by the reading goroutine, whose result all waiting readers share

	// Guarded by turn.
	recent map[rollup.Range]*others
	series map[string]*generationSeries     // by generation
	labels map[rollup.Labels]*rollup.Series // of all generations, once each
	known  int                              // total number of series
}

func newReads() reads {
	return reads{
		turn: make(chan struct{}, 1), recent: map[rollup.Range]*others{},
		series: map[string]*generationSeries{}, labels: map[rollup.Labels]*rollup.Series{},
	}
}

// others holds the data in Redis for a range that is not read from this gate's
// file. Its blocks use chunks numbered by its own series.
type others struct {
	read     time.Time
	excluded map[string]bool // generations of this gate that it includes
	series   []*rollup.Series
	blocks   rollup.BlockList
}

// read calls f with this gate's data at one instant, and with what others have
// delivered, as of the last second.
func (l *Ledger) read(ctx context.Context, over rollup.Range, f func(*rollup.Reading) error) error {
	kept, err := l.feed.Kept(over)
	if err != nil {
		return err
	}
	rest, err := l.others(ctx, kept)
	if err != nil {
		return fmt.Errorf("reading the usage that gates share: %w", err)
	}
	return l.feed.Read(over, func(r *rollup.Reading) error {
		r.Exclude(slices.DeleteFunc(l.feed.Generations(), func(g rollup.Generation) bool { return !rest.excluded[g.ID] }))
		r.Join(rest.series, rest.blocks)
		return f(r)
	})
}

// others returns the data of others in a range. It waits while gates deliver
// again what Redis has lost.
func (l *Ledger) others(ctx context.Context, over rollup.Range) (*others, error) {
	if over.From >= over.To {
		return new(others), nil
	}
	ctx, cancel := context.WithTimeout(ctx, rebuildTimeout+l.opts.Timeout)
	defer cancel()
	select {
	case l.reads.turn <- struct{}{}:
		defer func() { <-l.reads.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", usage.ErrUnavailable, ctx.Err())
	}
	maps.DeleteFunc(l.reads.recent, func(_ rollup.Range, found *others) bool { return time.Since(found.read) > freshFor })
	for {
		if err := l.Unavailable(); err != nil {
			return nil, err // run notices when it is available again
		}
		if found := l.reads.recent[over]; found != nil {
			return found, nil
		}
		found, err := l.fetch(ctx, over)
		if err == nil {
			l.reads.recent[over] = found
			return found, nil
		}
		if !errors.Is(err, errRebuilding) {
			l.deliverNow() // which detects whether Redis is unavailable
			return nil, err
		}
		select {
		case <-time.After(rebuildPoll):
		case <-ctx.Done():
			return nil, errRebuilding
		}
	}
}

// fetch reads the data in Redis for a range. It leaves out the generations that
// are read from this gate's file.
func (l *Ledger) fetch(ctx context.Context, over rollup.Range) (*others, error) {
	found := &others{read: time.Now(), excluded: l.complete.clone()}
	own := map[string]bool{}
	for _, g := range l.feed.Generations() {
		own[g.ID] = !found.excluded[g.ID]
	}
	wanted, err := l.find(ctx, over, own)
	if err != nil {
		return nil, err
	}
	hashes, err := l.fetchBlocks(ctx, over.Level, wanted)
	if err != nil {
		return nil, err
	}
	chunks, err := l.fetchSeries(ctx, wanted, found)
	if err != nil {
		return nil, err
	}
	for i, hash := range hashes {
		moved := chunks[wanted[i].generation]
		for field, value := range hash {
			_, block, ok := strings.Cut(value, " ")
			start, chunk, isKey := boltdb.ParseBlockKey([]byte(field))
			if !ok || !isKey || !rollup.ValidBlock([]byte(block)) {
				return nil, fmt.Errorf("invalid block %q of generation %s", field, wanted[i].generation)
			}
			chunk -= moved.from
			if start < over.From || start >= over.To || chunk >= moved.count {
				continue
			}
			found.blocks = append(found.blocks, rollup.Block{Start: start, Chunk: moved.to + chunk, Data: []byte(block)})
		}
	}
	slices.SortFunc(found.blocks, func(a, b rollup.Block) int { return cmp.Compare(a.Start, b.Start) })
	return found, nil
}

// generationDay identifies the data of a generation on a day.
type generationDay struct {
	generation string
	day        int64
}

// find returns the generations that have samples in a range, except for those in
// own. The error is errRebuilding if Redis may lack some.
func (l *Ledger) find(ctx context.Context, over rollup.Range, own map[string]bool) (wanted []generationDay, err error) {
	generation, delivered := "none", false
	if id := l.own.Load(); id != nil {
		generation, delivered = *id, true
	}
	const day = 24 * 60 * 60
	for next := rollup.DayOf(over.From); next < over.To; {
		keys := []string{l.keys.rebuilding(), l.keys.indexOffset(generation)}
		first := next
		for ; next < over.To && len(keys) < findDays; next += day {
			keys = append(keys, l.keys.generations(next))
		}
		var reply []any
		err := l.call(ctx, func(ctx context.Context) (err error) {
			reply, err = findScript.Run(ctx, l.client, keys).Slice()
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(reply) != len(keys) {
			return nil, fmt.Errorf("%w: %d values for %d keys", usage.ErrUnavailable, len(reply), len(keys))
		}
		if reply[1] == "-1" && delivered {
			l.deliverNow() // Redis has lost its data, and no gate has noticed yet
			return nil, errRebuilding
		}
		if reply[0] != int64(0) {
			return nil, errRebuilding
		}
		for i, members := range reply[2:] {
			list, _ := members.([]any)
			for _, member := range list {
				if id, _ := member.(string); id != "" && !own[id] {
					wanted = append(wanted, generationDay{id, first + int64(i)*day})
				}
			}
		}
	}
	return wanted, nil
}

// fetchBlocks reads the hashes of blocks for the generations and days in wanted.
func (l *Ledger) fetchBlocks(ctx context.Context, level rollup.Level, wanted []generationDay) (hashes []map[string]string, err error) {
	for some := range slices.Chunk(wanted, readKeys) {
		err := l.call(ctx, func(ctx context.Context) error {
			pipe := l.client.Pipeline()
			replies := make([]*redis.MapStringStringCmd, len(some))
			for i, w := range some {
				replies[i] = pipe.HGetAll(ctx, l.keys.blocks(w.generation, level, w.day))
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
			for _, reply := range replies {
				hashes = append(hashes, reply.Val())
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return hashes, nil
}
