package handlers

import (
	"container/list"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/handlers/routing"
	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/meter"
	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/pricing"
)

const (
	// checkpointEvery is how often what requests in flight have used is noted,
	// the young ones too: a process that is killed loses as much of each.
	checkpointEvery = time.Second

	// lookEvery is how often requests are looked for that take too long or are
	// silent: as much longer than max_stream may one take. A silence is known
	// only once it was seen, so that what is measured by it may come twice as
	// late.
	lookEvery = 250 * time.Millisecond

	// checkpointGroup bounds how many are noted at once: the ledger counts
	// nothing else meanwhile.
	checkpointGroup = 1024
)

// InFlight knows the requests that are with a backend, so that what they have
// used so far outlives the process, those that take too long are ended, those
// that are silent are kept alive, and all of them end when the process stops;
// and those that wait for their turn there, whose time does not count yet.
// Most requests end before anybody looks at them: they cost a place in a list,
// and no timer.
type InFlight struct {
	mu    sync.Mutex
	calls list.List // of *call
	ended error     // why none may begin any more; nil: they may
}

// progress is what of an answer the checkpoints of its request need while it
// comes: the rest of a call is its own goroutine's.
type progress struct {
	mu       sync.Mutex
	meter    *meter.Meter
	current  int // candidate
	attempts int

	// The attempt as it is watched.
	watchdog         *backends.Watchdog // nil: it is not
	firstToken, idle time.Duration      // of its backend
	end              context.CancelCauseFunc

	// Guarded by InFlight.mu.
	place   *list.Element // nil: not in flight
	since   time.Time     // when it got there, later by what it has waited
	waits   time.Time     // since when it waits for its turn; zero: it does not
	waitsAt int           // candidate
	noted   bool          // there may be a checkpoint of it
	settled bool          // there will be none any more

	// Of the last checkpoint; only InFlight.Checkpoint has them.
	tokens wire.Tokens
	at     int // attempts
}

// begin notes that an attempt begins.
func (p *progress) begin(meter *meter.Meter, current, attempts int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meter, p.current, p.attempts = meter, current, attempts
}

// watch notes what is to be watched of an attempt, and how it is ended.
func (p *progress) watch(w *backends.Watchdog, b *routing.Backend, end context.CancelCauseFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watchdog, p.firstToken, p.idle, p.end = w, b.FirstToken, b.Idle, end
}

// endStalled ends an attempt whose backend takes too long.
func (p *progress) endStalled(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.watchdog == nil {
		return
	}
	if err := p.watchdog.Expired(now, p.firstToken, p.idle); err != nil {
		p.end(err)
	}
}

func (f *InFlight) add(c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended != nil {
		c.cancel(f.ended)
	}
	c.progress.since = time.Now()
	c.progress.place = f.calls.PushBack(c)
}

// End ends all requests for a cause, and those that come later.
func (f *InFlight) End(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = cause
	for e := f.calls.Front(); e != nil; e = e.Next() {
		e.Value.(*call).cancel(cause)
	}
}

// look ends the requests that take longer than their gate allows, and the
// attempts that their backends stall, and sends keep-alives to the streams that
// are silent.
func (f *InFlight) look(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := f.calls.Front(); e != nil; e = e.Next() {
		c := e.Value.(*call)
		if !c.progress.waits.IsZero() {
			if caddy.Exiting() {
				c.cancel(ErrShutdown) // another gate may have room
			}
			continue
		}
		if now.Sub(c.progress.since) >= c.g.MaxStream {
			c.cancel(errStreamLimit)
			continue
		}
		c.progress.endStalled(now)
		if c.keepAlive != nil && c.keepAlive.due(now, c.g.KeepAlive) {
			go c.keepAlive.send() // it may block; silence is rare
		}
	}
}

// wait notes that a request waits for its turn at a candidate, until resume.
func (f *InFlight) wait(c *call, candidate int, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.progress.waits, c.progress.waitsAt = now, candidate
}

// resume notes that a request waits no longer, and tells for how long it did.
func (f *InFlight) resume(c *call, now time.Time) (waited time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &c.progress
	waited = now.Sub(p.waits)
	p.since, p.waits = p.since.Add(waited), time.Time{}
	return waited
}

// settle ends the checkpoints of a request, and tells whether there may be one.
// The request stays in flight: what a backend sends behind its usage must end
// in time, too.
func (f *InFlight) settle(c *call) (noted bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.progress.settled = true
	return c.progress.noted
}

// remove takes out a request that is over.
func (f *InFlight) remove(c *call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := c.progress.place; p != nil {
		f.calls.Remove(p)
		c.progress.place = nil
	}
}

// open returns the requests that are with a backend, and notes that there may be
// checkpoints of them.
func (f *InFlight) open() (calls []*call) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for e := f.calls.Front(); e != nil; e = e.Next() {
		c := e.Value.(*call)
		p := &c.progress
		if p.settled || !p.waits.IsZero() {
			continue
		}
		c.progress.noted = true
		calls = append(calls, c)
	}
	return calls
}

// Run ends what takes too long, and makes checkpoints in a ledger each second,
// until ctx ends. Errors are the ledger's to tell: it can't be written.
func (f *InFlight) Run(ctx context.Context, ledger usage.Ledger) {
	look, checkpoint := time.NewTicker(lookEvery), time.NewTicker(checkpointEvery)
	defer look.Stop()
	defer checkpoint.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-look.C:
			f.look(now)
		case now := <-checkpoint.C:
			f.checkpoint(ctx, ledger, now)
		}
	}
}

// checkpoint notes what has changed since the last time.
func (f *InFlight) checkpoint(ctx context.Context, ledger usage.Ledger, now time.Time) {
	calls := f.open()
	for len(calls) > 0 {
		group := calls[:min(len(calls), checkpointGroup)]
		calls = calls[len(group):]
		records := make([]usage.Record, 0, len(group))
		for _, c := range group {
			if record, changed := c.checkpoint(now); changed {
				records = append(records, record)
			}
		}
		if len(records) == 0 {
			continue
		}
		if err := ledger.Checkpoint(ctx, records); err != nil {
			for _, c := range group {
				c.progress.at = 0 // again, the next time
			}
		}
	}
}

// checkpoint is what the request would be charged if it ended now: what the
// backend has reported so far, the rest estimated as settle does it. It is
// called by another goroutine than the request's own, and reads of the call
// only what does not change any more, and the progress.
//
// Whether a request that has no answer yet has left the gate is not known here;
// one whose connection is just being made is charged its input if the process is
// killed before it ends.
func (c *call) checkpoint(now time.Time) (record usage.Record, changed bool) {
	p := &c.progress
	p.mu.Lock()
	meter, current, attempts := p.meter, p.current, p.attempts
	p.mu.Unlock()
	if meter == nil {
		return usage.Record{}, false
	}
	result := meter.Result()
	used := c.soFar(&result)
	if p.at == attempts && p.tokens == used.Tokens {
		return usage.Record{}, false
	}
	p.at, p.tokens = attempts, used.Tokens
	chosen := &c.candidates[current]
	record = usage.Record{
		ID:            c.id,
		Start:         c.start,
		Key:           c.key.ID,
		Team:          c.key.Team,
		Endpoint:      c.endpoint.String(),
		Model:         c.request.Model,
		Backend:       chosen.Name,
		UpstreamModel: result.Model,
		Tokens:        used.Tokens,
		Duration:      now.Sub(c.start),
		Outcome:       usage.Interrupted,
		Estimated:     true,
		Flagged:       result.Flagged,
		Attempts:      attempts,
	}
	if result.Bytes > 0 {
		record.Status = http.StatusOK // what is metered succeeded
	}
	c.setCost(&record, chosen, &used, &result)
	return record, true
}

// soFar is what an answer has used by now.
func (c *call) soFar(result *meter.Result) pricing.Used {
	used := pricing.Used{Tier: c.tier(result)}
	if result.Reported && result.Unreported == 0 {
		used.Tokens, used.Parts, used.Seconds = result.Tokens, result.Parts, result.Seconds
		return used
	}
	// Four bytes a token, whatever `estimate` says: a tokenizer would take longer
	// for a thousand streams than there is time between two checkpoints.
	c.estimate(&used, result, (result.Unreported+3)/4)
	return used
}
