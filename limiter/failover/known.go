package failover

import (
	"sync"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/limiter/internal/account"
)

// knownMost is the maximum number of counters in each part of lastStates, knownParts the number of parts.
const knownMost, knownParts = 4096, 64

// lastStates are the last states that this gate has seen of the shared counters: at most 262,144 of them,
// some 40 MB with names of 40 bytes. Beyond that, a new one replaces another.
type lastStates [knownParts]struct {
	mu     sync.Mutex
	states map[string]lastState // by the name of the rule; guarded by mu
}

// lastState is the room of a limit at a point in time.
type lastState struct {
	room   int64
	at     time.Time
	window int64 // start of a quota's, in nanoseconds since 1970
}

func (l *lastStates) set(r *limiter.Rule, s lastState) {
	part := &l[r.Hash()%knownParts]
	part.mu.Lock()
	defer part.mu.Unlock()
	if part.states == nil {
		part.states = make(map[string]lastState)
	}
	if _, known := part.states[r.Name()]; !known && len(part.states) >= knownMost {
		for name := range part.states {
			delete(part.states, name)
			break
		}
	}
	part.states[r.Name()] = s
}

// setHolds records the states that a reservation has seen.
func (l *lastStates) setHolds(holds []account.Hold) {
	if len(holds) == 0 {
		return
	}
	now := time.Now()
	for i := range holds {
		h := &holds[i]
		s := lastState{room: h.Room, at: now}
		if h.Rule.Limit.Window.Quota() {
			s.window = h.Mark
		}
		l.set(h.Rule, s)
	}
}

// setStates records the states of a refusal.
func (l *lastStates) setStates(all []limiter.State) {
	now := time.Now()
	for _, state := range all {
		s := lastState{room: state.Remaining, at: now}
		if state.Rule.Limit.Window.Quota() {
			s.window = state.Since.UnixNano() // by the clock of Redis, not by this one
		}
		l.set(state.Rule, s)
	}
}

func (l *lastStates) of(r *limiter.Rule) (lastState, bool) {
	part := &l[r.Hash()%knownParts]
	part.mu.Lock()
	defer part.mu.Unlock()
	s, known := part.states[r.Name()]
	return s, known
}

// level returns the level of a rate's bucket by now, assuming that nothing was taken since.
func (s lastState) level(l limiter.Limit) int64 {
	b := account.Bucket{Level: min(s.room, l.Capacity()), Amount: l.Amount, Capacity: l.Capacity(), Window: l.Window}
	b.Fill(account.Instant{Mono: int64(time.Since(s.at))})
	return b.Level
}
