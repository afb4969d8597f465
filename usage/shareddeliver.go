package usage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
	"go.etcd.io/bbolt"
)

const (
	// aliveFor is how long a gate counts as alive after it was last heard of.
	aliveFor = 15 * time.Second

	// rebuildFor bounds how long readers wait for gates to deliver again what
	// Redis has lost.
	rebuildFor = 10 * time.Second

	// auditEvery is how often the marks of runs that have ended are looked at:
	// nodes of a Cluster may lose what they have one by one.
	auditEvery = time.Minute

	// callSize and callBlocks bound what is sent in one call, in bytes and
	// blocks: Redis does nothing else while it stores it.
	callSize   = 256 << 10
	callBlocks = 1000
)

// deliver delivers once. It must be called by who holds s.delivering.
func (s *Shared) deliver(ctx context.Context) error {
	if err := s.share(); err != nil {
		return err
	}
	_ = s.Flush() // it tells; what is in the file can be delivered
	missing, waitedFor, err := s.beat(ctx)
	s.beaten()
	if err != nil {
		return err
	}
	if waitedFor {
		_ = s.Flush() // with what was recorded before the epoch was known to have changed
	}
	if err := s.push(ctx, missing); err != nil {
		return err
	}
	if waitedFor {
		return s.call(ctx, func(ctx context.Context) error {
			return s.client.ZRem(ctx, s.keys.rebuilding(), *s.mark.Load()).Err()
		})
	}
	return nil
}

// call makes one call to Redis.
func (s *Shared) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	err := f(ctx)
	if err == nil {
		return nil
	}
	// A client of a Cluster does that by itself where a node sends it elsewhere,
	// but not where that node is gone.
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(context.WithoutCancel(ctx))
	}
	return fmt.Errorf("%w: %w", ErrAway, err)
}

func (s *Shared) spans() []runSpan {
	s.sums.mu.Lock()
	defer s.sums.mu.Unlock()
	return s.sums.spans()
}

// markTTL is for how many milliseconds marks are kept, which are refreshed.
func (s *Shared) markTTL() int64 {
	s.sums.mu.Lock()
	defer s.sums.mu.Unlock()
	return (s.sums.retention[days] + slack).Milliseconds()
}

// beat notes that the gate lives, and finds out whether Redis has lost what it
// had. What it lacks is noted to be delivered: missing are the runs of it. The
// gate is waited for where others know that Redis lost something.
func (s *Shared) beat(ctx context.Context) (missing map[string]bool, waitedFor bool, err error) {
	runs := s.spans()
	live := runs[len(runs)-1].id
	var reply []string
	mark := int64(-1)
	err = s.call(ctx, func(ctx context.Context) (err error) {
		keys := []string{s.keys.gates(), s.keys.rebuilding(), s.keys.indexMark(live), s.keys.epoch()}
		reply, err = beatScript.Run(ctx, s.client, keys, live, aliveFor.Milliseconds(), s.markTTL()).StringSlice()
		if err != nil {
			return err
		}
		if len(reply) < 3 {
			return fmt.Errorf("a beat was answered by %d values", len(reply))
		}
		mark, err = readMark(s.client.Get(ctx, s.keys.mark(live)))
		return err
	})
	if err != nil {
		return nil, false, err
	}
	indexed, _ := strconv.ParseInt(reply[0], 10, 64)
	epoch, _ := strconv.ParseUint(reply[1], 10, 64)
	waitedFor = reply[2] == "1"
	before := s.epoch.Load()
	gates := s.gates
	s.gates = reply[3:]

	delivered, known := s.marks.delivered[live]
	has := min(mark, indexed)
	lost := known && has < int64(delivered)
	older := lost && has >= 0
	if lost || waitedFor || !known || time.Since(s.marks.audited) >= auditEvery {
		var ended loss
		if missing, ended, err = s.audit(ctx, runs[:len(runs)-1]); err != nil {
			return nil, false, err
		}
		lost, older = lost || ended != lostNothing, older || ended == cameOlder
	}
	if lost || !known {
		missing[live] = true // a run that has just begun has nothing
	}
	if lost {
		epoch = max(epoch, before)
		if older || slices.ContainsFunc(reply[3:], func(gate string) bool { return gate != live && !slices.Contains(gates, gate) }) {
			// What is derived from usage, and was not lost, is wrong: or a gate that is new has
			// derived it since, and could not know that anything was lost.
			epoch = max(epoch, before+1)
		}
		err := s.call(ctx, func(ctx context.Context) error {
			args := []any{rebuildFor.Milliseconds(), epoch}
			for _, gate := range slices.Compact(slices.Sorted(slices.Values(append(append(gates, reply[3:]...), live)))) {
				args = append(args, gate)
			}
			return lostScript.Run(ctx, s.client, []string{s.keys.rebuilding(), s.keys.epoch()}, args...).Err()
		})
		if err != nil {
			return nil, false, err
		}
		s.opts.Warn("Redis has lost usage that it had: what this gate holds is delivered again")
	}
	if err := s.changeRuns(missing); err != nil {
		return nil, false, err
	}
	for id := range missing {
		delete(s.marks.delivered, id)
		s.noteRemote(id, false)
	}
	if missing != nil {
		s.marks.audited = time.Now()
	}
	s.epoch.Store(max(epoch, before))
	return missing, waitedFor || lost, nil
}

// readMark reads a mark, -1 where there is none.
func readMark(cmd *redis.StringCmd) (int64, error) {
	n, err := cmd.Int64()
	if errors.Is(err, redis.Nil) {
		return -1, nil
	}
	return n, err
}

// loss is what happened to what Redis had.
type loss int

const (
	lostNothing loss = iota
	lostSome         // it is gone
	cameOlder        // Redis has what it had before
)

// audit compares the marks of runs that have ended with what they hold. Missing
// are those of which Redis does not have all, lost tells that it had.
func (s *Shared) audit(ctx context.Context, runs []runSpan) (missing map[string]bool, lost loss, err error) {
	missing = map[string]bool{}
	ttl := time.Duration(s.markTTL()) * time.Millisecond
	type pair struct{ mark, indexed *redis.StringCmd }
	for start := 0; start < len(runs); start += callBlocks {
		some := runs[start:min(len(runs), start+callBlocks)]
		pairs := make([]pair, len(some))
		err := s.call(ctx, func(ctx context.Context) error {
			pipe := s.client.Pipeline()
			for i, one := range some {
				pairs[i] = pair{pipe.Get(ctx, s.keys.mark(one.id)), pipe.Get(ctx, s.keys.indexMark(one.id))}
				pipe.PExpire(ctx, s.keys.mark(one.id), ttl)
				pipe.PExpire(ctx, s.keys.indexMark(one.id), ttl)
			}
			if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
				return err
			}
			return nil
		})
		if err != nil {
			return nil, lostNothing, err
		}
		for i, one := range some {
			mark, err := readMark(pairs[i].mark)
			if err != nil {
				return nil, lostNothing, fmt.Errorf("%w: %w", ErrAway, err)
			}
			indexed, err := readMark(pairs[i].indexed)
			if err != nil {
				return nil, lostNothing, fmt.Errorf("%w: %w", ErrAway, err)
			}
			has := min(mark, indexed)
			if has < int64(one.end) {
				missing[one.id] = true
			} else {
				s.marks.delivered[one.id] = one.end
				s.noteRemote(one.id, true)
			}
			if has < int64(s.expected(one, start+i == len(runs)-1)) {
				if has >= 0 {
					lost = cameOlder
				}
				lost = max(lost, lostSome)
			}
		}
	}
	return missing, lost, nil
}

// expected is up to which entry a run that has ended was in Redis, as far as
// this is known. The last one may have ended before all was.
func (s *Shared) expected(one runSpan, last bool) uint64 {
	if delivered, known := s.marks.delivered[one.id]; known {
		return delivered
	}
	if !last {
		return one.end
	}
	return min(s.journaled[one.id], one.end)
}

// push delivers what was noted, and sets the marks of its runs and of those that
// were missing.
func (s *Shared) push(ctx context.Context, missing map[string]bool) (err error) {
	changes, through, runs := s.takeChanges()
	defer func() {
		if err != nil {
			s.returnChanges(changes)
		}
	}()
	live := &runs[len(runs)-1]
	touched := map[string]map[int64]bool{} // days by run
	for id := range missing {
		touched[id] = map[int64]bool{}
	}
	if err := s.pushTuples(ctx, changes); err != nil {
		return err
	}
	if err := s.pushBlocks(ctx, changes, touched); err != nil {
		return err
	}
	for i := range runs {
		one := &runs[i]
		daysOf, ok := touched[one.id]
		if !ok {
			continue
		}
		number := min(one.end, through)
		if err := s.pushMark(ctx, one.id, number, daysOf); err != nil {
			return err
		}
		s.marks.delivered[one.id] = number
		s.noteRemote(one.id, one != live)
	}
	if _, ok := touched[live.id]; ok {
		s.mark.Store(&live.id)
		s.noteDelivered(live.id, through)
	}
	return nil
}

// sending is a call of blocks.lua that is being made.
type sending struct {
	keys         []string
	args         []any
	size, fields int
}

// add begins a hash, or goes on with it.
func (c *sending) add(key string, ttl int64, fields []any, size int) {
	c.keys = append(c.keys, key)
	c.args = append(append(c.args, ttl, len(fields)/2), fields...)
	c.size += size
	c.fields += len(fields) / 2
}

func (s *Shared) send(ctx context.Context, c *sending) error {
	if len(c.keys) == 0 {
		return nil
	}
	err := s.call(ctx, func(ctx context.Context) error { return blocksScript.Run(ctx, s.client, c.keys, c.args...).Err() })
	*c = sending{}
	return err
}

// pushTuples delivers tuples. They come before their blocks, so that whoever
// reads a block finds its tuples.
func (s *Shared) pushTuples(ctx context.Context, c *changes) error {
	ids := make([]uint32, 0, len(c.tuples))
	for id := range c.tuples {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	ttl := s.markTTL()
	for some := range slices.Chunk(ids, callBlocks) {
		byRun := map[string][]any{}
		err := s.view(func(tx *bbolt.Tx, runs []runSpan) error {
			for _, id := range some {
				key := binary.BigEndian.AppendUint32(nil, id)
				sealed, one := tx.Bucket(bucketNames).Get(key), runOf(runs, id)
				if sealed == nil || one == nil {
					continue // it is not kept any more
				}
				row, err := unseal(key, sealed)
				if err != nil {
					return err
				}
				byRun[one.id] = append(byRun[one.id], key, appendNumbered(0, row))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for id, fields := range byRun {
			var call sending
			call.add(s.keys.tuples(id), ttl, fields, 0)
			if err := s.send(ctx, &call); err != nil {
				return err
			}
		}
	}
	return nil
}

// pushBlocks delivers blocks and notes the days of their runs. Days come first,
// which quotas are read from, and what is new before what is old.
func (s *Shared) pushBlocks(ctx context.Context, c *changes, touched map[string]map[int64]bool) error {
	refs := make([]blockRef, 0, len(c.blocks))
	for ref := range c.blocks {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, func(a, b blockRef) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(floor(b.start, 86400), floor(a.start, 86400)),
			cmp.Compare(a.chunk, b.chunk), cmp.Compare(a.start, b.start))
	})
	for len(refs) > 0 {
		var call sending
		var of string
		n := 0
		err := s.view(func(tx *bbolt.Tx, runs []runSpan) error {
			through, err := readNumber(tx.Bucket(bucketMeta), keyEntry)
			if err != nil {
				return err
			}
			var key string
			var ttl int64
			var fields []any
			var size int
			for n < len(refs) && n < callBlocks && call.size+size < callSize {
				ref := refs[n]
				one := runOf(runs, ref.chunk<<chunkBits)
				if one == nil || of != "" && of != one.id {
					if one == nil {
						n++
						continue
					}
					break // a run has its own hash tag
				}
				of = one.id
				block, err := txBlocks{tx}.get(ref.span, ref.chunk)
				if err != nil {
					return err
				}
				n++
				if block == nil {
					continue // it is not kept any more
				}
				day := floor(ref.start, 86400)
				if next := s.keys.blocks(one.id, ref.level, day); next != key {
					if fields != nil {
						call.add(key, ttl, fields, size)
					}
					key, ttl, fields, size = next, s.ttlOf(ref.level, day), nil, 0
				}
				value := appendNumbered(min(one.end, through), block)
				fields = append(fields, blockKey(ref.start, ref.chunk), value)
				size += len(value) + 24
				if touched[one.id] == nil {
					touched[one.id] = map[int64]bool{}
				}
				touched[one.id][day] = true
			}
			if fields != nil {
				call.add(key, ttl, fields, size)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(call.keys) > 0 {
			call.add(s.keys.tuples(of), s.markTTL(), nil, 0) // as long as what it names
		}
		if err := s.send(ctx, &call); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

func (s *Shared) ttlOf(l level, day int64) int64 {
	s.sums.mu.Lock()
	defer s.sums.mu.Unlock()
	return s.sums.ttl(l, day)
}

// pushMark notes that a run is in Redis up to an entry: where its days are
// listed, and then beside its sums.
func (s *Shared) pushMark(ctx context.Context, id string, number uint64, on map[int64]bool) error {
	ttl := s.markTTL()
	all := make([]int64, 0, len(on))
	for day := range on {
		all = append(all, day)
	}
	for {
		some := all[:min(len(all), callBlocks)]
		all = all[len(some):]
		keys, args := []string{s.keys.indexMark(id)}, []any{number, ttl, id}
		if len(all) > 0 {
			args[0] = 0 // not yet
		}
		for _, day := range some {
			keys, args = append(keys, s.keys.runs(day)), append(args, s.ttlOf(days, day))
		}
		if err := s.call(ctx, func(ctx context.Context) error { return markScript.Run(ctx, s.client, keys, args...).Err() }); err != nil {
			return err
		}
		if len(all) == 0 {
			break
		}
	}
	return s.call(ctx, func(ctx context.Context) error {
		return markScript.Run(ctx, s.client, []string{s.keys.mark(id)}, number, ttl).Err()
	})
}
