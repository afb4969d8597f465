package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

const (
	// aliveFor is how long a gate counts as alive after its last heartbeat.
	aliveFor = 15 * time.Second

	// rebuildTimeout is how long readers wait for gates to deliver again what Redis
	// has lost.
	rebuildTimeout = 10 * time.Second

	// auditInterval is how often the offsets of ended generations are checked: the
	// nodes of a Cluster may lose data one by one.
	auditInterval = time.Minute
)

// state is the result of a heartbeat.
type state struct {
	missing map[string]bool // generations that Redis lacks and that must be delivered again; nil: not checked
	waited  bool            // readers are waiting for this gate
}

// heartbeat registers this gate as alive and checks whether Redis has lost data.
// It marks the data that Redis lacks as changed.
func (l *Ledger) heartbeat(ctx context.Context) (found state, err error) {
	generations := l.feed.Generations()
	own := generations[len(generations)-1].ID
	reply, offset, err := l.beat(ctx, own)
	if err != nil {
		return found, err
	}
	indexed, _ := strconv.ParseInt(reply[0], 10, 64)
	epoch, _ := strconv.ParseUint(reply[1], 10, 64)
	found.waited = reply[2] == "1"
	before, gates := l.epoch.Load(), l.gates
	l.gates = reply[3:]

	delivered, known := l.delivered[own]
	has := min(offset, indexed)
	lost := known && has < int64(delivered)
	older := lost && has >= 0
	if lost || found.waited || !known || time.Since(l.audited) >= auditInterval {
		var ended loss
		if found.missing, ended, err = l.audit(ctx, generations[:len(generations)-1]); err != nil {
			return found, err
		}
		lost, older = lost || ended != lostNothing, older || ended == cameOlder
	}
	if lost || !known {
		found.missing[own] = true // Redis has no data of a generation that has just begun
	}
	if lost {
		epoch = max(epoch, before)
		isNew := func(gate string) bool { return gate != own && !slices.Contains(gates, gate) }
		if older || slices.ContainsFunc(l.gates, isNew) {
			// Values derived from usage that were not lost are wrong now. So are those
			// that a new gate has derived since, because it cannot know of the loss.
			epoch = max(epoch, before+1)
		}
		if err := l.publishLoss(ctx, epoch, append(append(gates, l.gates...), own)); err != nil {
			return found, err
		}
		found.waited = true
	}
	if err := l.feed.ReturnAll(found.missing); err != nil {
		return found, err
	}
	for id := range found.missing {
		delete(l.delivered, id)
		l.complete.set(id, false)
	}
	if found.missing != nil {
		l.audited = time.Now()
	}
	l.epoch.Store(max(epoch, before))
	return found, nil
}

// beat runs the heartbeat script, and reads the offset stored beside the samples
// of this gate's generation.
func (l *Ledger) beat(ctx context.Context, own string) (reply []string, offset int64, err error) {
	err = l.call(ctx, func(ctx context.Context) (err error) {
		keys := []string{l.keys.gates(), l.keys.rebuilding(), l.keys.indexOffset(own), l.keys.epoch()}
		reply, err = heartbeatScript.Run(ctx, l.client, keys, own, aliveFor.Milliseconds(), l.offsetTTL()).StringSlice()
		if err != nil {
			return err
		}
		if len(reply) < 3 {
			return fmt.Errorf("the reply to a heartbeat has %d values", len(reply))
		}
		offset, err = readOffset(l.client.Get(ctx, l.keys.offset(own)))
		return err
	})
	return reply, offset, err
}

// publishLoss makes readers wait for gates, because Redis has lost data, and sets
// the epoch.
func (l *Ledger) publishLoss(ctx context.Context, epoch uint64, gates []string) error {
	args := []any{rebuildTimeout.Milliseconds(), epoch}
	for _, gate := range slices.Compact(slices.Sorted(slices.Values(gates))) {
		args = append(args, gate)
	}
	err := l.call(ctx, func(ctx context.Context) error {
		return lostScript.Run(ctx, l.client, []string{l.keys.rebuilding(), l.keys.epoch()}, args...).Err()
	})
	if err == nil {
		l.opts.Warn("Redis has lost usage: what this gate holds is delivered again")
	}
	return err
}

// readOffset returns the offset in a reply; -1 if there is none.
func readOffset(cmd *redis.StringCmd) (int64, error) {
	n, err := cmd.Int64()
	if errors.Is(err, redis.Nil) {
		return -1, nil
	}
	return n, err
}

// loss is the kind of a loss of data in Redis.
type loss int

const (
	lostNothing loss = iota
	lostSome         // data is gone
	cameOlder        // Redis has an older state
)

// audit compares the offsets of ended generations with those in Redis. It returns
// the generations that Redis lacks in part or entirely, and whether Redis has
// lost some of them.
func (l *Ledger) audit(ctx context.Context, generations []rollup.Generation) (missing map[string]bool, lost loss, err error) {
	missing = map[string]bool{}
	for start := 0; start < len(generations); start += callBlocks {
		some := generations[start:min(len(generations), start+callBlocks)]
		offsets, err := l.offsets(ctx, some)
		if err != nil {
			return nil, lostNothing, err
		}
		for i, g := range some {
			has := offsets[i]
			if has < int64(g.End) {
				missing[g.ID] = true
			} else {
				l.delivered[g.ID] = g.End
				l.complete.set(g.ID, true)
			}
			if has < int64(l.expected(g, start+i == len(generations)-1)) {
				if has >= 0 {
					lost = cameOlder
				}
				lost = max(lost, lostSome)
			}
		}
	}
	return missing, lost, nil
}

// offsets returns the offset through which Redis has each of the generations, and
// renews their keys.
func (l *Ledger) offsets(ctx context.Context, generations []rollup.Generation) ([]int64, error) {
	ttl := time.Duration(l.offsetTTL()) * time.Millisecond
	type pair struct{ offset, indexed *redis.StringCmd }
	pairs := make([]pair, len(generations))
	offsets := make([]int64, len(generations))
	err := l.call(ctx, func(ctx context.Context) error {
		pipe := l.client.Pipeline()
		for i, g := range generations {
			pairs[i] = pair{pipe.Get(ctx, l.keys.offset(g.ID)), pipe.Get(ctx, l.keys.indexOffset(g.ID))}
			pipe.PExpire(ctx, l.keys.offset(g.ID), ttl)
			pipe.PExpire(ctx, l.keys.indexOffset(g.ID), ttl)
		}
		if _, err := pipe.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		for i := range pairs {
			offset, err := readOffset(pairs[i].offset)
			indexed, indexErr := readOffset(pairs[i].indexed)
			if err := errors.Join(err, indexErr); err != nil {
				return err
			}
			offsets[i] = min(offset, indexed)
		}
		return nil
	})
	return offsets, err
}

// expected returns the offset through which Redis had an ended generation, as far
// as known. The last generation may have ended before it was delivered
// completely.
func (l *Ledger) expected(g rollup.Generation, last bool) uint64 {
	if delivered, known := l.delivered[g.ID]; known {
		return delivered
	}
	if !last {
		return g.End
	}
	return min(l.feed.Delivered(g.ID), g.End)
}
