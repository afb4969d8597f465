package redis

import (
	"context"
	"sync"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

const (
	// batchesAtOnce is the maximum number of concurrent admission calls. While there are fewer, an
	// admission does not wait.
	batchesAtOnce = 2

	// batchMost is the maximum number of admissions in a call, and batchKeys the number of keys after
	// which no more are added. Redis executes nothing else during a call, about 2 ms.
	batchMost, batchKeys = 64, 512
)

// pending is an admission that waits for its answer.
type pending struct {
	ask   *ask
	seeds map[int]seed

	answer *answer // set before turn is sent to
	err    error

	// The fields below are set if the admission had to wait, and guarded by the batcher's mu.
	queued bool
	batch  []*pending // the batch that it must send, itself included
	turn   chan struct{}
}

// batcher lets admissions share calls of the script under load: while batchesAtOnce calls are under
// way, new admissions are queued, and the first of them sends them all. While fewer are, an admission
// does not wait.
type batcher struct {
	mu    sync.Mutex
	busy  int // calls under way
	queue []*pending
}

// enter returns the batch that the caller must send, nil if it must wait for its turn.
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

// leave ends a call and hands the next batch to the first queued admission.
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

// quit removes an admission from the queue. If it is no longer queued, quit returns false and the batch
// that the caller must still send, if any.
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

// send runs the script for an admission, with seeds by the rules' numbers. A reservation may share the
// call with others.
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
		// Not the context of one admission: the others remain if it is cancelled.
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

// run makes one call of the admission script for a batch. Settlements that wait precede it in the same round
// trip.
func (r *Store) run(ctx context.Context, batch []*pending) {
	size := 0
	for _, p := range batch {
		size += p.ask.size()
	}
	keys := append(make([]string, 0, 2+size), r.recordKeys()...)
	numbers := make(packed, 0, 8*(7+limiter.UnitCount+9*len(batch)+13*size)).numbers(r.given(), micros(r.tuning.lease), millis(r.tuning.keep),
		r.frozen(), r.number, float64(len(batch)), limiter.UnitCount).charges(account.FailedAttempt)
	args := make([]any, 1, 1+len(batch))
	for _, p := range batch {
		keys, numbers = r.appendAsk(keys, numbers, p)
		args = append(args, p.ask.id)
	}
	args[0] = []byte(numbers)
	admission := &call{script: admitScript, keys: keys, args: args}
	var settled []settlement
	if batch[0].ask.mode == luaReserve {
		settled = r.settler.take(settleBatch)
	}
	if len(settled) == 0 {
		runAll(ctx, r.client, []*call{admission})
	} else {
		settling := r.settleCall(settled)
		runAll(ctx, r.client, []*call{settling, admission})
		defer r.settler.sent(settled, settling)
	}
	reply, err := newReply(admission.cmd)
	at := reply.instant()
	for _, p := range batch {
		if p.err = err; err == nil {
			p.answer = p.ask.answer(&reply, at)
		}
	}
}

// appendAsk appends the keys and numbers of an admission, as documented in admit.lua.
func (r *Store) appendAsk(keys []string, numbers packed, p *pending) ([]string, packed) {
	a := p.ask
	numbers = numbers.numbers(a.mode, float64(a.out.Total), float64(a.out.Cap), float64(a.req.Least()),
		float64(a.req.N), float64(len(a.common)), float64(len(a.candidates)), float64(a.size()))
	for _, candidate := range a.candidates {
		numbers = numbers.number(float64(len(candidate)))
	}
	a.rules(func(i int, rule *limiter.Rule) {
		keys = append(keys, r.counterKey(rule))
		s, known := p.seeds[i]
		switch {
		case r.opts.Seed == nil:
			s.since = -1
		case !known:
			s.used = -1
		}
		numbers = numbers.ask(a.req, rule.Limit, a.out.Total, s.used, s.since)
	})
	return keys, numbers
}
