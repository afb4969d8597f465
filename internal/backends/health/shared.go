package health

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// cooldownsPoll is how often a gate reads the cooldowns of other gates.
	cooldownsPoll = time.Second

	// cooldownsCall bounds one call to Redis. No request waits for it.
	cooldownsCall = time.Second

	// cooldownsQueued bounds how many cooldowns wait to be published. Further
	// ones are dropped.
	cooldownsQueued = 256
)

// SharedCooldowns shares cooldowns between the gates of one Redis: those that a
// backend asked for, for itself or a model, and those of a backend that is down.
// Each gate probes by itself whether the backend works again. During an outage
// of Redis each gate relies on its own state.
type SharedCooldowns struct {
	set     *Set
	client  redis.UniversalClient
	key     string
	gate    string // random id of this gate
	queue   chan publication
	ahead   time.Duration      // of Redis's clock
	known   map[string]float64 // entries adopted, with their scores
	stop    context.CancelFunc
	stopped chan struct{}
}

// publication is a cooldown that other gates should adopt.
type publication struct {
	backend string
	sharedCooldown
	until time.Time
}

// sharedCooldown is what cools down, and why.
type sharedCooldown struct {
	Model   string `json:"model,omitempty"`   // "": the whole backend
	Key     string `json:"key,omitempty"`     // "": for all keys
	Limited bool   `json:"limited,omitempty"` // by 429
	Asked   bool   `json:"asked,omitempty"`   // by the backend; else it is down
}

// sharedEntry is a member of the sorted set.
type sharedEntry struct {
	Gate    string `json:"gate"`
	Backend string `json:"backend"`
	sharedCooldown
}

// ShareCooldowns starts sharing the cooldowns of the backends in set. The caller
// keeps ownership of client.
func ShareCooldowns(set *Set, client redis.UniversalClient, prefix string) *SharedCooldowns {
	ctx, stop := context.WithCancel(context.Background())
	s := &SharedCooldowns{
		set: set, client: client, key: prefix + ":cooldowns", gate: rand.Text(),
		queue: make(chan publication, cooldownsQueued), stop: stop, stopped: make(chan struct{}),
	}
	set.shared.Store(s)
	go s.run(ctx)
	return s
}

// Close stops sharing and waits until the goroutine has ended.
func (s *SharedCooldowns) Close() {
	s.set.shared.CompareAndSwap(s, nil)
	s.stop()
	<-s.stopped
}

// publish queues a cooldown for publication. It never blocks.
func (s *SharedCooldowns) publish(p publication) {
	select {
	case s.queue <- p:
	default:
	}
}

func (s *SharedCooldowns) run(ctx context.Context) {
	defer close(s.stopped)
	tick := time.NewTicker(cooldownsPoll)
	defer tick.Stop()
	s.poll(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case p := <-s.queue:
			s.send(ctx, p)
		case <-tick.C:
			s.poll(ctx)
		}
	}
}

// send writes one cooldown to Redis. If that fails, only this gate applies it.
func (s *SharedCooldowns) send(ctx context.Context, p publication) {
	ctx, cancel := context.WithTimeout(ctx, cooldownsCall)
	defer cancel()
	entry, _ := json.Marshal(sharedEntry{s.gate, p.backend, p.sharedCooldown}) // strings and booleans never fail
	now := time.Now().Add(s.ahead)
	_, _ = s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ZAdd(ctx, s.key, redis.Z{Score: float64(p.until.Add(s.ahead).UnixMilli()), Member: entry})
		pipe.ZRemRangeByScore(ctx, s.key, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
		pipe.ZRemRangeByRank(ctx, s.key, 0, -cooldownsKept-1)
		pipe.PExpire(ctx, s.key, maxAsked+maxBackoff)
		return nil
	})
}

// poll adopts what other gates have published since the last poll.
func (s *SharedCooldowns) poll(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, cooldownsCall)
	defer cancel()
	asked := time.Now()
	clock, err := s.client.Time(ctx).Result()
	if err != nil {
		return
	}
	now := time.Now()
	s.ahead = clock.Sub(asked.Add(now.Sub(asked) / 2))
	entries, err := s.client.ZRangeByScoreWithScores(ctx, s.key, &redis.ZRangeBy{
		Min: "(" + strconv.FormatInt(clock.UnixMilli(), 10), Max: "+inf", Count: cooldownsKept,
	}).Result()
	if err != nil {
		return
	}
	known := make(map[string]float64, len(entries))
	for _, z := range entries {
		text, _ := z.Member.(string)
		known[text] = z.Score
		if s.known[text] >= z.Score {
			continue // adopted before; the backend may have recovered since
		}
		var entry sharedEntry
		if json.Unmarshal([]byte(text), &entry) != nil || entry.Gate == s.gate {
			continue
		}
		if state := s.set.lookup(entry.Backend); state != nil {
			state.adopt(entry.sharedCooldown, time.UnixMilli(int64(z.Score)).Sub(clock), now)
		}
	}
	s.known = known
}

// adopt applies another gate's cooldown that lasts for wait.
func (b *BackendState) adopt(c sharedCooldown, wait time.Duration, now time.Time) {
	until := now.Add(min(wait, maxAsked))
	b.cooldowns.mu.Lock()
	defer b.cooldowns.mu.Unlock()
	m := b.cooldowns.get(c.Model)
	known := &m.all
	if c.Key != "" {
		known = b.cooldowns.entry(m, c.Key)
	}
	switch {
	case c.Asked && until.After(known.asked):
		known.asked, known.limited, known.failed = until, c.Limited, now
	case !c.Asked && until.After(known.until):
		known.until, known.limited, known.failed = until, c.Limited, now
		known.failures = max(known.failures, failuresAllowed) // so that a request probes it
	}
	if c.Key != "" {
		m.ends(ending{c.Key, known.end(), c.Limited, c.Asked})
	}
}

// publish shares a cooldown with the other gates, if they share any.
func (b *BackendState) publish(c sharedCooldown, until time.Time) {
	if b.set == nil || !c.Asked && c.Model != "" {
		return // only this gate may see the model fail; each gate detects it by itself
	}
	if shared := b.set.shared.Load(); shared != nil {
		shared.publish(publication{b.name, c, until})
	}
}
