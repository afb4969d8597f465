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

// Config is the rate limit of one address.
type Config struct {
	// Counts every request. An address over its limit is then refused whatever key it
	// presents. Default: only requests that fail authentication count, and a key that
	// was accepted within the hour passes.
	All bool

	// How many requests pass in each Window on average. Default: 5.
	N int64

	// Default: one second.
	Window time.Duration

	// How many requests pass at once after an idle period. Default: 100 if N is the
	// default, else N.
	Burst int64
}

// Throttle limits the requests of client addresses. It is safe for concurrent use.
// A nil Throttle limits nothing.
type Throttle struct {
	all      bool
	interval int64 // nanoseconds in which one token is refilled
	burst    int64 // nanoseconds in which an empty bucket refills
	now      func() time.Time
	epoch    time.Time
	seed     maphash.Seed
	table    []tableShard
	accepted []acceptedShard
}

// New returns a throttle that tracks up to capacity addresses; 0 means 65,536,
// which take about 10 MB when all are in use. now is time.Now except in tests.
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

// longest is a century, in nanoseconds: it keeps sums of times from overflowing.
const longest = int64(100 * 365 * 24 * time.Hour)

// Allow reports whether addr is within its limit, and if not, after what time it
// is. It is called before the key of a request is looked up. If every request
// counts, Allow counts this one.
func (t *Throttle) Allow(addr netip.Addr) (ok bool, retry time.Duration) {
	if t == nil {
		return true, 0
	}
	a := addressOf(addr)
	return t.shardOf(a).allow(t, a)
}

// Failed counts a request from addr that failed authentication.
func (t *Throttle) Failed(addr netip.Addr) {
	if t == nil || t.all {
		return
	}
	a := addressOf(addr)
	t.shardOf(a).failed(t, a)
}

// Accepted records that the key with hash h was accepted from addr.
func (t *Throttle) Accepted(addr netip.Addr, h keys.Hash) {
	if t == nil || t.all {
		return
	}
	tag := t.tag(addr, h)
	t.accepted[tag%uint64(len(t.accepted))].add(tag, t.elapsed())
}

// Known reports whether the key with hash h was accepted from addr within the hour.
// Such a key may be looked up even if addr is over its limit. If every request
// counts, Known returns false.
func (t *Throttle) Known(addr netip.Addr, h keys.Hash) bool {
	if t == nil {
		return false
	}
	tag := t.tag(addr, h)
	return t.accepted[tag%uint64(len(t.accepted))].has(tag, t.elapsed())
}

// elapsed returns the nanoseconds since New, on the monotonic clock.
func (t *Throttle) elapsed() int64 { return int64(t.now().Sub(t.epoch)) }
