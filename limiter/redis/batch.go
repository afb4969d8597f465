package redis

import (
	"context"
	"sync"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

const (
	// batchesAtOnce is how many calls for admissions are on their way at a time. Who comes when fewer
	// are does not wait.
	batchesAtOnce = 3

	// batchMost is how many admissions share a call, and batchKeys how many keys they may have before
	// others wait for the next. Redis does nothing else in that time, about 2 ms.
	batchMost, batchKeys = 64, 512
)

// pending is an admission that is asked for.
type pending struct {
	ask   *ask
	seeds map[int]seed

	answer *answer // set before turn is sent to
	err    error

	// What follows is set where it had to wait, and guarded by the batcher.
	queued bool
	batch  []*pending // that it is to send, itself among them
	turn   chan struct{}
}

// batcher lets admissions share calls of the script where there are more than Redis answers: as long
// as batchesAtOnce calls are on their way, those that come wait, and the first of them sends all. A
// caller who finds Redis idle never waits.
type batcher struct {
	mu    sync.Mutex
	busy  int // calls on their way
	queue []*pending
}

// enter returns what the caller is to send, which is nil where it must wait for its turn.
func (b *batcher) enter(p *pending) []*pending {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.busy < batchesAtOnce {
		b.busy++
		return []*pending{p}
	}
	p.queued, p.turn = true, make(chan struct{}, 1)
	b.queue = append(b.queue, p)
	return nil
}

// leave ends a call: the first of those that wait makes the next.
func (b *batcher) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, keys := 0, 0
	for n < len(b.queue) && n < batchMost && (n == 0 || keys < batchKeys) {
		b.queue[n].queued = false
		keys += b.queue[n].ask.size()
		n++
	}
	if n == 0 {
		b.busy--
		return
	}
	batch := b.queue[:n:n]
	b.queue = b.queue[n:]
	if len(b.queue) == 0 {
		b.queue = nil
	}
	batch[0].batch = batch
	batch[0].turn <- struct{}{}
}

// quit takes an admission out of the queue. Where it is there no more, it returns what the caller is
// to send all the same, if anything.
func (b *batcher) quit(p *pending) (batch []*pending, quit bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !p.queued {
		return p.batch, false
	}
	for i, q := range b.queue {
		if q == p {
			b.queue = append(b.queue[:i:i], b.queue[i+1:]...)
			break
		}
	}
	return nil, true
}

// errQueued is the timeout of an admission that was not sent.
type errQueued struct{ error }

func (e errQueued) Unwrap() error { return e.error }

// send runs the script for an admission, with what is known of seeds by the numbers of the rules. A
// reservation may share the call with others.
func (r *Store) send(ctx context.Context, a *ask, seeds map[int]seed) (*answer, error) {
	p := &pending{ask: a, seeds: seeds}
	limited, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	if a.mode != luaReserve {
		r.run(limited, []*pending{p})
		return p.answer, p.err
	}
	batch := r.batcher.enter(p)
	if batch == nil {
		select {
		case <-p.turn:
			batch = p.batch
		case <-limited.Done():
			quit := false
			if batch, quit = r.batcher.quit(p); quit {
				return nil, errQueued{limited.Err()}
			}
			if batch == nil {
				return nil, limited.Err()
			}
		}
	}
	if batch != nil {
		// Not the context of one of them: the others stay when it goes.
		shared, cancel := context.WithTimeout(context.Background(), r.opts.Timeout)
		defer cancel()
		r.run(shared, batch)
		r.batcher.leave()
		for _, p := range batch[1:] {
			p.turn <- struct{}{}
		}
	}
	return p.answer, p.err
}

// run makes one call of the script for admissions.
func (r *Store) run(ctx context.Context, batch []*pending) {
	size := 0
	for _, p := range batch {
		size += p.ask.size()
	}
	keys := make([]string, 1, 1+size)
	keys[0] = r.key("open")
	args := make([]any, 1, 1+2*len(batch))
	args[0] = []byte(make(packed, 0, (6+limiter.UnitCount)*8).numbers(r.given(), micros(r.tuning.lease), millis(r.tuning.keep),
		r.frozen(), float64(len(batch)), limiter.UnitCount).charges(account.FailedAttempt))
	for _, p := range batch {
		keys, args = r.appendAsk(keys, args, p)
	}
	replies, err := admitScript.run(ctx, r.client, keys, args...).StringSlice()
	if err == nil && len(replies) != len(batch) {
		err = errReply
	}
	for i, p := range batch {
		if p.err = err; err == nil {
			p.answer = p.ask.answer(replies[i])
		}
	}
}

// appendAsk appends the keys and arguments of an admission, as admit.lua describes them.
func (r *Store) appendAsk(keys []string, args []any, p *pending) ([]string, []any) {
	a := p.ask
	n := a.size() - 1
	numbers := make(packed, 0, 8*(8+len(a.candidates)+11*n)).numbers(a.mode, float64(a.out.Total), float64(a.out.Cap), float64(a.req.Least()),
		float64(a.req.N), float64(len(a.common)), float64(len(a.candidates)), float64(n))
	for _, candidate := range a.candidates {
		numbers = numbers.number(float64(len(candidate)))
	}
	keys = append(keys, r.recordKey(a.id))
	a.rules(func(i int, rule *limiter.Rule) {
		keys = append(keys, r.counterKey(rule))
		s, known := p.seeds[i]
		switch {
		case r.opts.Seed == nil:
			s.since = -1
		case !known:
			s.used = -1
		}
		numbers = numbers.ask(a.req, rule.Limit, s.used, s.since)
	})
	return keys, append(args, a.id, []byte(numbers))
}
