package limiter

import (
	"context"
	"slices"
	"sync"
	"time"
)

// renewBatch is how many reservations one call renews.
const renewBatch = 128

// openReservations are those of this gate that hold something until their deadline.
type openReservations struct {
	mu  sync.Mutex
	all map[*redisReservation]struct{}

	// tags are the nodes' shares of keys on which something was held lately, and when.
	tags map[string]time.Time
}

// add notes a reservation that was made now.
func (o *openReservations) add(r *redisReservation) {
	lapses := false
	for i := range r.parts {
		for j := range r.parts[i].holds {
			if l := r.parts[i].holds[j].rule.Limit; !l.Window.Rate() {
				lapses = true
			}
		}
	}
	if !lapses && !moves(r) {
		return
	}
	now := time.Now()
	r.renewed = now
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[*redisReservation]struct{})
	}
	if o.tags == nil {
		o.tags = make(map[string]time.Time)
	}
	o.all[r] = struct{}{}
	for i := range r.parts {
		o.tags[r.parts[i].tag] = now
	}
}

// moves reports whether a reservation may come to hold something else.
func moves(r *redisReservation) bool { return len(r.req.Candidates) > 1 }

func (o *openReservations) remove(r *redisReservation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, r)
}

func (o *openReservations) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

func (o *openReservations) list() []*redisReservation {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*redisReservation, 0, len(o.all))
	for r := range o.all {
		list = append(list, r)
	}
	return list
}

// lately returns the tags that were used since a time, and forgets the others.
func (o *openReservations) lately(since time.Time) (tags []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for tag, used := range o.tags {
		if used.Before(since) {
			delete(o.tags, tag)
		} else {
			tags = append(tags, tag)
		}
	}
	return tags
}

// keep counts the gate, renews what it holds and lapses what dead gates held, until ctx is done.
func (r *Redis) keep(ctx context.Context) {
	ticker := time.NewTicker(r.tuning.beat)
	defer ticker.Stop()
	for {
		for _, task := range []func(context.Context) error{r.beat, r.renew, r.lapse} {
			if err := task(ctx); err != nil && ctx.Err() == nil {
				r.opts.OnError(err)
			}
		}
		r.denied.sweep()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// beat counts this gate, and those that were seen lately: in the last three beats. A gate that has yet to
// charge what it admitted is not counted: others wait for it.
func (r *Redis) beat(ctx context.Context) error {
	r.beating.Lock()
	defer r.beating.Unlock()
	owes := r.owes.Load()
	n, err := r.countGates(ctx, owes)
	if err != nil {
		return err
	}
	if !owes {
		r.replicas.Store(max(n, 1))
	}
	return nil
}

func (r *Redis) countGates(ctx context.Context, leave bool) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	numbers := packed(nil).numbers(r.given(), micros(3*r.tuning.beat)).truth(leave)
	n, err := gatesScript.run(ctx, r.client, []string{r.key("", "gates")}, []byte(numbers), r.opts.GateID).Int64()
	if err != nil {
		return 0, r.failed(err)
	}
	return n, nil
}

// leave takes this gate out of the count. Where Redis is away, that happens by itself.
func (r *Redis) leave() {
	_, _ = r.countGates(context.Background(), true)
}

// renew moves the deadlines on of what was not renewed lately.
func (r *Redis) renew(ctx context.Context) error {
	now := time.Now()
	due := now.Add(r.tuning.beat/2 - r.tuning.renew)
	ids := map[string][]string{} // by tag
	var renewed []*redisReservation
	for _, res := range r.open.list() {
		res.mu.Lock()
		if !res.settled && res.renewed.Before(due) {
			renewed = append(renewed, res)
			for _, p := range res.parts {
				ids[p.tag] = append(ids[p.tag], p.id)
			}
		}
		res.mu.Unlock()
	}
	var calls []*call
	for tag, all := range ids {
		calls = append(calls, r.renewCalls(tag, all)...)
	}
	if err := r.runTask(ctx, calls); err != nil {
		return err
	}
	for _, res := range renewed {
		res.mu.Lock()
		res.renewed = now
		res.mu.Unlock()
	}
	r.open.mu.Lock()
	defer r.open.mu.Unlock()
	for tag := range ids {
		r.open.tags[tag] = now
	}
	return nil
}

// renewCalls are the calls that renew reservations on one node.
func (r *Redis) renewCalls(tag string, ids []string) (calls []*call) {
	header := []byte(packed(nil).numbers(r.given(), micros(r.tuning.lease), millis(r.tuning.keep), r.frozen()))
	for some := range slices.Chunk(ids, renewBatch) {
		c := &call{script: renewScript, keys: []string{r.key(tag, "open")}, args: []any{header}}
		for _, id := range some {
			c.keys, c.args = append(c.keys, r.key(tag, "r/"+id)), append(c.args, id)
		}
		calls = append(calls, c)
	}
	return calls
}

// lapse lapses what gates held that died, wherever this one had something to do in the last hour.
func (r *Redis) lapse(ctx context.Context) error {
	tags := r.open.lately(time.Now().Add(-time.Hour))
	if !r.cluster {
		tags = []string{""}
	}
	header := []byte(packed(nil).numbers(r.given(), millis(r.tuning.keep), r.frozen()))
	calls := make([]*call, len(tags))
	for i, tag := range tags {
		calls[i] = &call{script: lapseScript, keys: []string{r.key(tag, "open")}, args: []any{header, r.key(tag, "r/")}}
	}
	return r.runTask(ctx, calls)
}

// runTask makes the calls of a task, some in a round trip, and returns the first error.
func (r *Redis) runTask(ctx context.Context, calls []*call) error {
	for some := range slices.Chunk(calls, settleCalls) {
		limited, cancel := context.WithTimeout(ctx, settleTimeout)
		runAll(limited, r.client, some)
		cancel()
		for _, c := range some {
			if err := c.cmd.Err(); err != nil {
				return r.failed(err)
			}
		}
	}
	return nil
}
