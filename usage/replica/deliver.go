package replica

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

const (
	// callSize and callBlocks are the most that one call may send, in bytes and in
	// blocks: Redis does nothing else while it stores them.
	callSize   = 256 << 10
	callBlocks = 1000
)

// deliver makes one delivery. The token of l.delivering must be held.
func (l *Ledger) deliver(ctx context.Context) error {
	if err := l.feed.Start(); err != nil {
		return err
	}
	_ = l.Flush() // Flush reports its error; the contents of the file can be delivered anyway
	found, err := l.heartbeat(ctx)
	l.setContacted()
	if err != nil {
		return err
	}
	if found.waited {
		_ = l.Flush() // records made before the change of the epoch was known
	}
	if err := l.push(ctx, found.missing); err != nil {
		return err
	}
	if found.waited {
		return l.call(ctx, func(ctx context.Context) error {
			return l.client.ZRem(ctx, l.keys.rebuilding(), *l.own.Load()).Err()
		})
	}
	return nil
}

// call makes one call to Redis.
func (l *Ledger) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	err := f(ctx)
	if err == nil {
		return nil
	}
	// The client of a Cluster reloads its state by itself if a node redirects it,
	// but not if that node is gone.
	if cluster, ok := l.client.(*redis.ClusterClient); ok {
		cluster.ReloadState(context.WithoutCancel(ctx))
	}
	return fmt.Errorf("%w: %w", usage.ErrUnavailable, err)
}

// daySet is a set of days, identified by their start.
type daySet map[int64]bool

// push delivers the changes, and then the offsets of the generations that
// changed or are missing.
func (l *Ledger) push(ctx context.Context, missing map[string]bool) (err error) {
	changes, committed, generations := l.feed.Take()
	defer func() {
		if err != nil {
			l.feed.Return(changes)
		}
	}()
	touched := map[string]daySet{} // by generation
	for id := range missing {
		touched[id] = daySet{}
	}
	if err := l.pushSeries(ctx, changes); err != nil {
		return err
	}
	if err := l.pushBlocks(ctx, changes, touched); err != nil {
		return err
	}
	own := &generations[len(generations)-1]
	for i := range generations {
		g := &generations[i]
		days, ok := touched[g.ID]
		if !ok {
			continue
		}
		offset := min(g.End, committed)
		if err := l.pushOffset(ctx, g.ID, offset, days); err != nil {
			return err
		}
		l.delivered[g.ID] = offset
		l.complete.set(g.ID, g != own)
	}
	if _, ok := touched[own.ID]; ok {
		l.own.Store(&own.ID)
		l.feed.RecordDelivered(own.ID, committed)
	}
	return nil
}

// storeCall holds the arguments of one call of blocks.lua.
type storeCall struct {
	keys []string
	args []any
	size int // bytes of all values
}

// add adds fields to the hash under key.
func (c *storeCall) add(key string, ttl int64, fields []any) {
	c.keys = append(c.keys, key)
	c.args = append(append(c.args, ttl, len(fields)/2), fields...)
}

func (l *Ledger) store(ctx context.Context, c *storeCall) error {
	if len(c.keys) == 0 {
		return nil
	}
	return l.call(ctx, func(ctx context.Context) error { return blocksScript.Run(ctx, l.client, c.keys, c.args...).Err() })
}

// pushSeries delivers series. It runs before pushBlocks, so that a reader of a
// block finds its series.
func (l *Ledger) pushSeries(ctx context.Context, c *boltdb.Changes) error {
	for some := range slices.Chunk(slices.Sorted(maps.Keys(c.Series)), callBlocks) {
		byGeneration := map[string][]any{}
		err := l.feed.View(func(v *boltdb.View) error {
			for _, id := range some {
				key, row, err := v.Series(id)
				if err != nil {
					return err
				}
				if g := boltdb.GenerationOf(v.Generations, id); g != nil && row != nil {
					byGeneration[g.ID] = append(byGeneration[g.ID], key, numbered(0, row))
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for id, fields := range byGeneration {
			var call storeCall
			call.add(l.keys.series(id), l.offsetTTL(), fields)
			if err := l.store(ctx, &call); err != nil {
				return err
			}
		}
	}
	return nil
}

// pushBlocks delivers blocks, and adds the days of their generations to touched.
// It sends daily sums first, because quotas are read from them, and new blocks
// before old ones.
func (l *Ledger) pushBlocks(ctx context.Context, c *boltdb.Changes, touched map[string]daySet) error {
	refs := slices.SortedFunc(maps.Keys(c.Blocks), func(a, b rollup.BlockRef) int {
		return cmp.Or(cmp.Compare(b.Level, a.Level), cmp.Compare(rollup.DayOf(b.Start), rollup.DayOf(a.Start)),
			cmp.Compare(a.Chunk, b.Chunk), cmp.Compare(a.Start, b.Start))
	})
	for len(refs) > 0 {
		var call storeCall
		var generation string
		n := 0
		err := l.feed.View(func(v *boltdb.View) (err error) {
			n, generation, err = l.readBlocks(v, refs, &call, touched)
			return err
		})
		if err != nil {
			return err
		}
		if len(call.keys) > 0 {
			call.add(l.keys.series(generation), l.offsetTTL(), nil) // so that it lives as long as the blocks
		}
		if err := l.store(ctx, &call); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

// readBlocks adds blocks to call, as many of refs as one call may hold, all of
// one generation, since each has its own hash tag. It returns how many of refs
// it has handled.
func (l *Ledger) readBlocks(v *boltdb.View, refs []rollup.BlockRef, call *storeCall, touched map[string]daySet) (n int, generation string, err error) {
	var key string // of the hash that fields belong to
	var ttl int64
	var fields []any
	for n < len(refs) && n < callBlocks && call.size < callSize {
		ref := refs[n]
		g := boltdb.GenerationOf(v.Generations, rollup.FirstOf(ref.Chunk))
		if g != nil && generation != "" && generation != g.ID {
			break
		}
		n++
		if g == nil {
			continue
		}
		generation = g.ID
		block, err := v.Block(ref)
		if err != nil {
			return n, generation, err
		}
		if block == nil {
			continue // it is no longer kept
		}
		day := rollup.DayOf(ref.Start)
		if next := l.keys.blocks(g.ID, ref.Level, day); next != key {
			if fields != nil {
				call.add(key, ttl, fields)
			}
			key, ttl, fields = next, l.ttl(ref.Level, day), nil
		}
		value := numbered(min(g.End, v.Committed), block)
		fields = append(fields, boltdb.BlockKey(ref.Start, ref.Chunk), value)
		call.size += len(value) + 24
		if touched[g.ID] == nil {
			touched[g.ID] = daySet{}
		}
		touched[g.ID][day] = true
	}
	if fields != nil {
		call.add(key, ttl, fields)
	}
	return n, generation, nil
}

// pushOffset stores the offset through which Redis has a generation: in the
// index, with its days, and then beside its samples.
func (l *Ledger) pushOffset(ctx context.Context, id string, offset uint64, days daySet) error {
	ttl := l.offsetTTL()
	all := slices.Collect(maps.Keys(days))
	for {
		some := all[:min(len(all), callBlocks)]
		all = all[len(some):]
		keys, args := []string{l.keys.indexOffset(id)}, []any{offset, ttl, id}
		if len(all) > 0 {
			args[0] = 0 // stored with the last days
		}
		for _, day := range some {
			keys, args = append(keys, l.keys.generations(day)), append(args, l.ttl(rollup.Days, day))
		}
		if err := l.call(ctx, func(ctx context.Context) error { return offsetScript.Run(ctx, l.client, keys, args...).Err() }); err != nil {
			return err
		}
		if len(all) == 0 {
			break
		}
	}
	return l.call(ctx, func(ctx context.Context) error {
		return offsetScript.Run(ctx, l.client, []string{l.keys.offset(id)}, offset, ttl).Err()
	})
}
