package backends

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// cooldownsPoll is how often a gate asks what others have learnt.
	cooldownsPoll = time.Second

	// cooldownsCall bounds one call to Redis, for which nobody waits.
	cooldownsCall = time.Second

	// cooldownsQueued bounds how many wait to be told. Of more than that only this
	// gate knows.
	cooldownsQueued = 256
)

// SharedCooldowns tells the gates of one Redis which backends are to be left
// alone: a model, or a whole backend, that asked for it, and a backend that is
// down. Finding out whether it works again stays with each gate. While Redis is
// away each goes by what it has learnt itself.
//
// All of it is one small sorted set of who shall be left alone, by the time until
// when, in milliseconds since 1970 by Redis's clock. What is over is taken out by
// the next that is told; with the last of it the set expires.
type SharedCooldowns struct {
	set     *LiveSet
	client  redis.UniversalClient
	key     string
	gate    string // random: who tells
	queue   chan coolingTold
	ahead   time.Duration      // of Redis's clock
	known   map[string]float64 // what was taken over, by entry
	stop    context.CancelFunc
	stopped chan struct{}
}

// coolingTold is one that is to be left alone.
type coolingTold struct {
	backend string
	cooled
	until time.Time
}

// cooled is what of a backend is to be left alone, and why.
type cooled struct {
	Model   string `json:"model,omitempty"`   // "": the whole
	Limited bool   `json:"limited,omitempty"` // by 429
	Asked   bool   `json:"asked,omitempty"`   // by the backend; else it is down
}

// coolingEntry is an entry of the set.
type coolingEntry struct {
	Gate    string `json:"gate"`
	Backend string `json:"backend"`
	cooled
}

// ShareCooldowns begins to tell what the backends of a set do, and to be told. The
// client stays the caller's.
func ShareCooldowns(set *LiveSet, client redis.UniversalClient, prefix string) *SharedCooldowns {
	ctx, stop := context.WithCancel(context.Background())
	s := &SharedCooldowns{
		set: set, client: client, key: prefix + ":cooldowns", gate: rand.Text(),
		queue: make(chan coolingTold, cooldownsQueued), stop: stop, stopped: make(chan struct{}),
	}
	set.shared.Store(s)
	go s.run(ctx)
	return s
}

// Close ends it.
func (s *SharedCooldowns) Close() {
	s.set.shared.CompareAndSwap(s, nil)
	s.stop()
	<-s.stopped
}

// tell passes on that a backend is to be left alone. It waits for nothing.
func (s *SharedCooldowns) tell(told coolingTold) {
	select {
	case s.queue <- told:
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
		case told := <-s.queue:
			s.send(ctx, told)
		case <-tick.C:
			s.poll(ctx)
		}
	}
}

// send tells one. Where it fails only this gate knows.
func (s *SharedCooldowns) send(ctx context.Context, told coolingTold) {
	ctx, cancel := context.WithTimeout(ctx, cooldownsCall)
	defer cancel()
	entry, _ := json.Marshal(coolingEntry{s.gate, told.backend, told.cooled}) // texts always can be
	now := time.Now().Add(s.ahead)
	_, _ = s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.ZAdd(ctx, s.key, redis.Z{Score: float64(told.until.Add(s.ahead).UnixMilli()), Member: entry})
		pipe.ZRemRangeByScore(ctx, s.key, "-inf", strconv.FormatInt(now.UnixMilli(), 10))
		pipe.ZRemRangeByRank(ctx, s.key, 0, -cooldownsKept-1)
		pipe.PExpire(ctx, s.key, maxAsked+lastRest)
		return nil
	})
}

// poll takes over what others have told since the last time.
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
			continue // taken over, and perhaps over since: it has answered
		}
		var entry coolingEntry
		if json.Unmarshal([]byte(text), &entry) != nil || entry.Gate == s.gate {
			continue
		}
		if live := s.set.known(entry.Backend); live != nil {
			live.told(entry.cooled, time.UnixMilli(int64(z.Score)).Sub(clock), now)
		}
	}
	s.known = known
}

// told takes over that another gate leaves the backend alone for so long.
func (l *Live) told(c cooled, wait time.Duration, now time.Time) {
	until := now.Add(min(wait, maxAsked))
	l.cooldowns.mu.Lock()
	defer l.cooldowns.mu.Unlock()
	known := l.cooldowns.get(c.Model)
	switch {
	case c.Asked && until.After(known.asked):
		known.asked, known.limited = until, c.Limited
	case !c.Asked && until.After(known.resting):
		known.resting, known.limited = until, c.Limited
		known.failures = max(known.failures, failuresAllowed) // so that one request finds out
	}
}

// tell passes on that the backend, or a model of it, is to be left alone.
func (l *Live) tell(c cooled, until time.Time) {
	if l.set == nil || !c.Asked && c.Model != "" {
		return // of a model that fails each gate learns by itself: it may be its own
	}
	if shared := l.set.shared.Load(); shared != nil {
		shared.tell(coolingTold{l.name, c, until})
	}
}
