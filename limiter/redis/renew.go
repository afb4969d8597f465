package redis

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// renewBatch is the maximum number of reservations that one call renews.
const renewBatch = 128

// openReservations are the unsettled reservations of this gate that must be renewed.
type openReservations struct {
	mu  sync.Mutex
	all map[*Reservation]struct{}
}

// add adds a new reservation, if it has holds that end at the deadline, or may get some by a move.
func (o *openReservations) add(r *Reservation) {
	expires := func(h account.Hold) bool { return !h.Rule.Limit.Window.Rate() }
	if !slices.ContainsFunc(r.common, expires) && !slices.ContainsFunc(r.own, expires) && !moves(r) {
		return
	}
	r.renewed = time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = make(map[*Reservation]struct{})
	}
	o.all[r] = struct{}{}
}

// moves reports whether a reservation can move to another candidate.
func moves(r *Reservation) bool { return len(r.req.Candidates) > 1 }

func (o *openReservations) remove(r *Reservation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.all, r)
}

func (o *openReservations) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.all)
}

func (o *openReservations) list() []*Reservation {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]*Reservation, 0, len(o.all))
	for r := range o.all {
		list = append(list, r)
	}
	return list
}

// maintain registers the gate as alive, renews its reservations and reaps those of dead gates, until ctx
// is done.
func (r *Store) maintain(ctx context.Context) {
	ticker := time.NewTicker(r.tuning.heartbeat)
	defer ticker.Stop()
	for {
		for _, task := range []func(context.Context) error{r.heartbeat, r.renew, r.reap} {
			if err := task(ctx); err != nil && ctx.Err() == nil {
				r.opts.OnError(err)
			}
		}
		r.overLimit.sweep()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// heartbeat registers this gate as alive, and counts the gates that registered within the last three
// heartbeats. A gate that has yet to charge what it admitted is not counted, so that others wait for it.
func (r *Store) heartbeat(ctx context.Context) error {
	r.beating.Lock()
	defer r.beating.Unlock()
	uncharged := r.uncharged.Load()
	n, err := r.countGates(ctx, uncharged)
	if err != nil {
		return err
	}
	if !uncharged {
		r.replicas.Store(max(n, 1))
	}
	return nil
}

func (r *Store) countGates(ctx context.Context, leave bool) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	numbers := packed(nil).numbers(r.given(), micros(3*r.tuning.heartbeat)).truth(leave)
	n, err := gatesScript.run(ctx, r.client, []string{r.key("gates")}, []byte(numbers), r.opts.GateID).Int64()
	if err != nil {
		return 0, r.failed(err)
	}
	return n, nil
}

// leave removes this gate from the count. If Redis is unavailable, the gate's entry expires instead.
func (r *Store) leave() {
	_, _ = r.countGates(context.Background(), true)
}

// renew extends the deadlines of reservations that are due for renewal.
func (r *Store) renew(ctx context.Context) error {
	now := time.Now()
	due := now.Add(r.tuning.heartbeat/2 - r.tuning.renew)
	var renewed []*Reservation
	for _, res := range r.open.list() {
		res.mu.Lock()
		if !res.settled && res.renewed.Before(due) {
			renewed = append(renewed, res)
		}
		res.mu.Unlock()
	}
	header := []byte(packed(nil).numbers(r.given(), micros(r.tuning.lease), millis(r.tuning.keep), r.frozen()))
	var calls []*call
	for some := range slices.Chunk(renewed, renewBatch) {
		c := &call{script: renewScript, keys: r.recordKeys(), args: []any{header}}
		for _, res := range some {
			c.args = append(c.args, res.req.ID)
		}
		calls = append(calls, c)
	}
	if err := r.runTask(ctx, calls); err != nil {
		return err
	}
	for _, res := range renewed {
		res.mu.Lock()
		res.renewed = now
		res.mu.Unlock()
	}
	return nil
}

// reap ends the holds of reservations whose deadline has passed because their gates died.
func (r *Store) reap(ctx context.Context) error {
	header := []byte(packed(nil).numbers(r.given(), millis(r.tuning.keep), r.frozen()))
	return r.runTask(ctx, []*call{{script: reapScript, keys: r.recordKeys(), args: []any{header}}})
}

// runTask makes calls, at most settleCalls in a round trip, and returns the first error.
func (r *Store) runTask(ctx context.Context, calls []*call) error {
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
