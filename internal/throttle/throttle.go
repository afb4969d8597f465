package throttle

import (
	"hash/maphash"
	"net/netip"
	"time"

	"github.com/amanycodes/pine-gate/internal/keys"
)

const (
	defaultAmount   = 5
	defaultBurst    = 100
	defaultCapacity = 1 << 16
	maxShards       = 64
	minShard        = 64 // addresses: below it one shard is fair, several aren't
)

// Config is how much one address may do.
type Config struct {
	// Counts every request. Then an address that used up what it has is refused
	// whatever key it presents. Default: only requests that fail authentication
	// count, and a key that was good within the hour passes.
	All bool

	// How many are let through in each Window, in the long run.
	// Default: 5. Zero means the default.
	N int64

	// Default: one second. Zero means the default.
	Window time.Duration

	// How many may come at once after a time of rest. Default: 100 where N is
	// the default, else N. Zero means the default.
	Burst int64
}

// Throttle bounds what addresses may do. It is safe for concurrent use. A nil
// Throttle lets everything through.
type Throttle struct {
	all      bool
	interval int64 // nanoseconds in which one request's worth comes back
	burst    int64 // nanoseconds in which an empty bucket is full again
	now      func() time.Time
	epoch    time.Time
	seed     maphash.Seed
	table    []tableShard
	accepted []acceptedShard
}

// New makes a throttle that knows so many addresses at once; zero means
// 65,536, which take about 10 MB when all are in use. The clock is time.Now but
// in tests.
func New(c Config, capacity int, now func() time.Time) *Throttle {
	if c.N <= 0 {
		c.N = defaultAmount
		if c.Burst <= 0 {
			c.Burst = defaultBurst
		}
	}
	if c.Window <= 0 {
		c.Window = time.Second
	}
	if c.Burst <= 0 {
		c.Burst = c.N
	}
	if capacity <= 0 {
		capacity = defaultCapacity
	}
	if now == nil {
		now = time.Now
	}
	shards := 1
	for shards < maxShards && capacity/(2*shards) >= minShard {
		shards *= 2
	}
	t := &Throttle{
		all:      c.All,
		interval: min((int64(c.Window)-1)/c.N+1, longest), // rounded up: never more than N
		now:      now,
		epoch:    now(),
		seed:     maphash.MakeSeed(),
		table:    make([]tableShard, shards),
		accepted: make([]acceptedShard, shards),
	}
	t.burst = t.interval * min(c.Burst, longest/t.interval)
	for i := range shards {
		t.table[i].init(capacity / shards)
		t.accepted[i].init(capacity / shards)
	}
	return t
}

// longest keeps sums of times from overflowing: a century.
const longest = int64(100 * 365 * 24 * time.Hour)

// Allow tells, before a request's key is looked at, whether its address has
// anything left; where it hasn't, retry is how long until it has. Where every
// request counts, Allow counts it.
func (t *Throttle) Allow(addr netip.Addr) (ok bool, retry time.Duration) {
	if t == nil {
		return true, 0
	}
	a := addressOf(addr)
	return t.shardOf(a).allow(t, a)
}

// Failed counts a request whose authentication has failed.
func (t *Throttle) Failed(addr netip.Addr) {
	if t == nil || t.all {
		return
	}
	a := addressOf(addr)
	t.shardOf(a).failed(t, a)
}

// Accepted notes that a key was good from an address.
func (t *Throttle) Accepted(addr netip.Addr, h keys.Hash) {
	if t == nil || t.all {
		return
	}
	tag := t.tag(addr, h)
	t.accepted[tag%uint64(len(t.accepted))].add(tag, t.elapsed())
}

// Known tells whether a key was good from an address within the hour: then it
// may be looked at although the address has nothing left. Where every request
// counts, no key is known.
func (t *Throttle) Known(addr netip.Addr, h keys.Hash) bool {
	if t == nil {
		return false
	}
	tag := t.tag(addr, h)
	return t.accepted[tag%uint64(len(t.accepted))].has(tag, t.elapsed())
}

// elapsed is the time in nanoseconds since the throttle was made, by the
// monotonic clock.
func (t *Throttle) elapsed() int64 { return int64(t.now().Sub(t.epoch)) }
