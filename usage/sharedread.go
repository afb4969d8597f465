package usage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// freshFor is how long what was read of other gates is used again: their
	// deliveries come no more often.
	freshFor = time.Second

	// rebuildPoll is how often is looked whether a rebuilding has ended.
	rebuildPoll = 50 * time.Millisecond

	// maxKnownTuples bounds the tuples of other runs that are remembered, some
	// 10 bytes each, and some 200 for each that is not of another run too.
	maxKnownTuples = 4 << 20

	// readKeys is how many hashes are asked for in one round trip.
	readKeys = 500
)

var errRebuilding = fmt.Errorf("%w: it lost its data, and gates are delivering theirs again", ErrAway)

// reads is what reading from Redis needs and remembers.
type reads struct {
	turn chan struct{} // holds one token; taken by who reads: what one finds is for all who wait

	// Guarded by turn.
	recent map[readRange]*others
	tuples map[string]*runTuples // by run
	names  map[tuple]*entry      // those of all runs, once each
	known  int                   // ids in tuples
}

type readRange struct {
	level    level
	from, to int64
}

// runTuples are the tuples of a run by id, from first on.
type runTuples struct {
	first   uint32
	stored  int64 // how many Redis has
	entries []*entry
}

// others is what other runs have in a range of time. Their chunks are numbered
// anew.
type others struct {
	read   time.Time
	remote map[string]bool // runs of this gate that were read from Redis
	tuples []*entry
	blocks memorySource
}

func newReads() reads {
	return reads{turn: make(chan struct{}, 1), recent: map[readRange]*others{}, tuples: map[string]*runTuples{}, names: map[tuple]*entry{}}
}

// read calls f with what this gate holds at one instant, and with what others
// have delivered, as it was within the last second.
func (s *Shared) read(ctx context.Context, l level, from, to int64, f func(*reading) error) error {
	s.sums.mu.Lock()
	oldest, now := s.sums.oldest[l], s.sums.now().Unix()
	closed := s.sums.closed
	s.sums.mu.Unlock()
	if closed {
		return ErrClosed
	}
	// No clock is more than a day ahead.
	rest, err := s.others(ctx, readRange{l, max(from, oldest), min(to, floor(now, 86400)+2*86400)})
	if err != nil {
		return fmt.Errorf("reading the usage that gates share: %w", err)
	}
	return s.Bolt.read(l, from, to, func(r *reading) error {
		s.hide(r, rest.remote)
		r.join(rest)
		return f(r)
	})
}

// hide leaves out the runs that were read from Redis.
func (s *Shared) hide(r *reading, remote map[string]bool) {
	s.sums.mu.Lock()
	spans := s.sums.spans()
	s.sums.mu.Unlock()
	spans = slices.DeleteFunc(spans, func(one runSpan) bool { return !remote[one.id] })
	if len(spans) == 0 {
		return
	}
	r.tuples = slices.Clone(r.tuples)
	for _, one := range spans {
		for id := one.first; id < min(one.next, uint32(len(r.tuples))); id++ {
			r.tuples[id] = nil
		}
	}
}

// noteRemote notes whether Redis has all of a run that has ended. It may have
// more: the directory may be restored from an old copy, or be a copy itself.
func (b *Bolt) noteRemote(id string, remote bool) {
	b.sums.mu.Lock()
	defer b.sums.mu.Unlock()
	if remote {
		b.remote[id] = true
	} else {
		delete(b.remote, id)
	}
}

// join adds what others have.
func (r *reading) join(o *others) {
	if len(o.blocks) == 0 {
		return
	}
	own := (len(r.tuples) + chunkSize - 1) / chunkSize
	tuples := make([]*entry, own*chunkSize, own*chunkSize+len(o.tuples))
	copy(tuples, r.tuples)
	r.tuples = append(tuples, o.tuples...)
	r.source = joined{r.source, o.blocks, uint32(own)}
}

// joined reads what a ledger has itself, and others, whose chunks come behind.
type joined struct {
	own    source
	others memorySource
	after  uint32
}

func (j joined) scan(l level, from, to int64, f func(uint32, []byte), wanted func(uint32) bool) error {
	if err := j.own.scan(l, from, to, f, wanted); err != nil {
		return err
	}
	return j.others.scan(l, from, to,
		func(chunk uint32, block []byte) { f(chunk+j.after, block) },
		func(chunk uint32) bool { return wanted(chunk + j.after) })
}

// others returns what other runs have in a range. While gates deliver again what
// Redis has lost, it waits.
func (s *Shared) others(ctx context.Context, r readRange) (*others, error) {
	if r.from >= r.to {
		return new(others), nil
	}
	ctx, cancel := context.WithTimeout(ctx, rebuildFor+s.opts.Timeout)
	defer cancel()
	select {
	case s.reads.turn <- struct{}{}:
		defer func() { <-s.reads.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrAway, ctx.Err())
	}
	for read, found := range s.reads.recent {
		if time.Since(found.read) > freshFor {
			delete(s.reads.recent, read)
		}
	}
	for {
		if err := s.Away(); err != nil {
			return nil, err // who delivers finds out when it is back
		}
		if found := s.reads.recent[r]; found != nil {
			return found, nil
		}
		found, err := s.fetch(ctx, r)
		if err == nil {
			s.reads.recent[r] = found
			return found, nil
		}
		if !errors.Is(err, errRebuilding) {
			s.poke() // that tells whether Redis is away
			return nil, err
		}
		select {
		case <-time.After(rebuildPoll):
		case <-ctx.Done():
			return nil, errRebuilding
		}
	}
}

// fetch reads what other runs have in a range.
func (s *Shared) fetch(ctx context.Context, r readRange) (*others, error) {
	found := &others{read: time.Now()}
	s.sums.mu.Lock()
	found.remote = maps.Clone(s.remote)
	own := map[string]bool{}
	for _, one := range s.sums.runs {
		own[one.id] = !found.remote[one.id]
	}
	s.sums.mu.Unlock()
	wanted, err := s.look(ctx, r, own)
	if err != nil {
		return nil, err
	}
	hashes := make([]map[string]string, len(wanted))
	for start := 0; start < len(wanted); start += readKeys {
		some := wanted[start:min(len(wanted), start+readKeys)]
		err := s.call(ctx, func(ctx context.Context) error {
			pipe := s.client.Pipeline()
			cmds := make([]*redis.MapStringStringCmd, len(some))
			for i, one := range some {
				cmds[i] = pipe.HGetAll(ctx, s.keys.blocks(one.run, r.level, one.day))
			}
			if _, err := pipe.Exec(ctx); err != nil {
				return err
			}
			for i, cmd := range cmds {
				hashes[start+i] = cmd.Val()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	places, err := s.place(ctx, wanted, found)
	if err != nil {
		return nil, err
	}
	for i, hash := range hashes {
		place := places[wanted[i].run]
		for field, value := range hash {
			_, block, ok := strings.Cut(value, " ")
			if len(field) != 12 || !ok || len(block) < blockStart+1 {
				return nil, fmt.Errorf("block %q of run %s is not what a gate wrote", field, wanted[i].run)
			}
			start := int64(binary.BigEndian.Uint64([]byte(field)))
			chunk := binary.BigEndian.Uint32([]byte(field[8:])) - place.from
			if start < r.from || start >= r.to || chunk >= place.chunks {
				continue
			}
			found.blocks = append(found.blocks, memoryBlock{start, place.to + chunk, []byte(block)})
		}
	}
	slices.SortFunc(found.blocks, func(a, b memoryBlock) int { return cmp.Compare(a.start, b.start) })
	return found, nil
}

// runDay is a run on a day.
type runDay struct {
	run string
	day int64
}

// look finds the runs that have sums in a range, but for the own ones. The error is
// errRebuilding where Redis may lack some.
func (s *Shared) look(ctx context.Context, r readRange, own map[string]bool) (wanted []runDay, err error) {
	run := s.mark.Load()
	mark := "none"
	if run != nil {
		mark = *run
	}
	const daysAtOnce = 1000
	for day := floor(r.from, 86400); day < r.to; {
		keys := []string{s.keys.rebuilding(), s.keys.indexMark(mark)}
		first := day
		for ; day < r.to && len(keys) < daysAtOnce; day += 86400 {
			keys = append(keys, s.keys.runs(day))
		}
		var reply []any
		err := s.call(ctx, func(ctx context.Context) (err error) {
			reply, err = lookScript.Run(ctx, s.client, keys).Slice()
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(reply) != len(keys) {
			return nil, fmt.Errorf("%w: %d values for %d keys", ErrAway, len(reply), len(keys))
		}
		if reply[1] == "-1" && run != nil {
			s.poke() // Redis has lost its data, which is yet to be told
			return nil, errRebuilding
		}
		if reply[0] != int64(0) {
			return nil, errRebuilding
		}
		for i, members := range reply[2:] {
			list, _ := members.([]any)
			for _, member := range list {
				if id, _ := member.(string); id != "" && !own[id] {
					wanted = append(wanted, runDay{id, first + int64(i)*86400})
				}
			}
		}
	}
	return wanted, nil
}

// movedChunks is where the chunks of a run stand in what was read.
type movedChunks struct {
	from, chunks uint32 // those of the run
	to           uint32
}

// place puts the tuples of all runs behind each other.
func (s *Shared) place(ctx context.Context, wanted []runDay, found *others) (map[string]movedChunks, error) {
	var runs []string
	places := map[string]movedChunks{}
	for _, one := range wanted {
		if _, ok := places[one.run]; !ok {
			places[one.run] = movedChunks{}
			runs = append(runs, one.run)
		}
	}
	if err := s.learn(ctx, runs); err != nil {
		return nil, err
	}
	for _, id := range runs {
		t := s.reads.tuples[id]
		p := movedChunks{from: t.first >> chunkBits, chunks: uint32(len(t.entries) / chunkSize), to: uint32(len(found.tuples) / chunkSize)}
		places[id] = p
		found.tuples = append(found.tuples, t.entries...)
	}
	return places, nil
}

// learn reads the tuples of runs that are not known yet, or have more than are.
func (s *Shared) learn(ctx context.Context, runs []string) error {
	if s.reads.known > maxKnownTuples {
		s.reads.tuples, s.reads.names, s.reads.known = map[string]*runTuples{}, map[tuple]*entry{}, 0
	}
	for some := range slices.Chunk(runs, readKeys) {
		stored := make([]*redis.IntCmd, len(some))
		err := s.call(ctx, func(ctx context.Context) error {
			pipe := s.client.Pipeline()
			for i, id := range some {
				stored[i] = pipe.HLen(ctx, s.keys.tuples(id))
			}
			_, err := pipe.Exec(ctx)
			return err
		})
		if err != nil {
			return err
		}
		for i, id := range some {
			if t := s.reads.tuples[id]; t != nil && t.stored == stored[i].Val() {
				continue
			}
			if err := s.learnRun(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Shared) learnRun(ctx context.Context, id string) error {
	var rows map[string]string
	err := s.call(ctx, func(ctx context.Context) (err error) {
		rows, err = s.client.HGetAll(ctx, s.keys.tuples(id)).Result()
		return err
	})
	if err != nil {
		return err
	}
	t := &runTuples{stored: int64(len(rows))}
	first, last := uint32(1<<32-1), uint32(0)
	for field := range rows {
		if len(field) != 4 {
			return fmt.Errorf("tuple %s of run %s is not what a gate wrote", strconv.Quote(field), id)
		}
		n := binary.BigEndian.Uint32([]byte(field))
		first, last = min(first, n), max(last, n)
	}
	if len(rows) > 0 {
		t.first = first &^ (chunkSize - 1)
		t.entries = make([]*entry, (last-t.first)/chunkSize*chunkSize+chunkSize)
	}
	for field, value := range rows {
		_, row, ok := strings.Cut(value, " ")
		name, err := decodeName(row)
		if !ok || err != nil {
			return fmt.Errorf("tuple %s of run %s is not what a gate wrote", strconv.Quote(field), id)
		}
		e := s.reads.names[name]
		if e == nil {
			e = &entry{tuple: name}
			s.reads.names[name] = e
		}
		t.entries[binary.BigEndian.Uint32([]byte(field))-t.first] = e
	}
	if old := s.reads.tuples[id]; old != nil {
		s.reads.known -= len(old.entries)
	}
	s.reads.tuples[id] = t
	s.reads.known += len(t.entries)
	return nil
}

// decodeName reads the tuple of a row that is not known to be right.
func decodeName(row string) (name tuple, err error) {
	d := decoder{b: []byte(row)}
	if _, n := binary.Uvarint(d.b); n > 0 {
		d.b = d.b[n:]
	} else {
		d.failed = true
	}
	for _, to := range [...]*string{&name.key, &name.team, &name.model, &name.backend, &name.endpoint} {
		*to = d.string()
	}
	if d.failed || len(d.b) > 0 {
		return name, errDamaged
	}
	return name, nil
}
