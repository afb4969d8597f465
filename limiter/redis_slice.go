package limiter

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// sliceRules is how many limits a request may have that is admitted from a slice.
	sliceRules = 12

	// hotMost is how many lists of limits have slices at a time.
	hotMost = 1024
)

// sliceTuning are the times and sizes of slices; tests have their own.
type sliceTuning struct {
	// hot is how many requests within measure make a list of limits hot. 0: none ever is.
	hot     int
	measure time.Duration

	// fetch is how long a slice should last by the traffic measured, and least for how many requests it
	// must be enough to be worth its calls.
	fetch time.Duration
	least int64

	// share divides, with the number of gates, what is left of a limit: no more of it is in slices. Where that
	// is not enough for fetch, there are none.
	share int64

	// hold is how long a slice is spent at most.
	hold time.Duration

	// tell is how often Redis is told where slices stand.
	tell time.Duration

	// cool is for how long requests are exact after a limit had to be asked exactly.
	cool time.Duration

	// idle is after what time places go back that nobody needed, and fresh for how long one may be given
	// to the next request since Redis was known to have it.
	idle, fresh time.Duration

	// always makes each slice for so many requests like the one that wants it, which waits for it, however
	// many there are. Only tests set it.
	always int64
}

var defaultSlices = sliceTuning{
	hot: 16, measure: 100 * time.Millisecond, fetch: 200 * time.Millisecond, least: 32, share: 4,
	hold: 250 * time.Millisecond, tell: 100 * time.Millisecond, cool: time.Second,
	idle: time.Second, fresh: 3 * time.Second,
}

// hotKeys admits the requests of hot keys from slices: parts of their limits that this gate has taken in
// Redis for many requests at once, and spends by itself. It goes by lists of limits, each of which is a
// hotPath. See docs/hot-keys.md.
//
// A path's lock may be taken before that of hotKeys and that of a shared rule, not after them.
type hotKeys struct {
	store   *Redis
	tuning  sliceTuning
	prefix  string // of ids
	ids     atomic.Int64
	heat    heat
	paths   atomic.Pointer[map[pathKey]*hotPath] // copied when it changes
	wake    chan struct{}                        // has room for one
	cancel  context.CancelFunc
	running sync.WaitGroup
	fetches sync.WaitGroup // calls for slices and places that are on their way

	telling sync.Mutex // held while slices are told; taken before all other locks

	// returns count, for the rules of each remainder of hashes, what came back to Redis from slices.
	returns [256]atomic.Uint64

	mu     sync.Mutex // guards what follows, and changes of paths
	rules  map[string]*sharedRule
	moved  []*slice // that stand elsewhere than was told
	closed bool
}

// pathKey tells paths apart: two lists of rules with equal names may be of two configurations.
type pathKey struct {
	hash  uint64
	first *Rule
}

func newHotKeys(r *Redis) *hotKeys {
	s := &hotKeys{
		store: r, tuning: r.tuning.slice, prefix: "slice/" + rand.Text() + "/",
		wake: make(chan struct{}, 1), rules: make(map[string]*sharedRule),
	}
	s.paths.Store(&map[pathKey]*hotPath{})
	ctx, stop := context.WithCancel(context.Background())
	s.cancel = stop
	s.running.Go(func() { s.run(ctx) })
	return s
}

// now is the gate's clock: monotonic, but where scripts are given the time.
func (s *hotKeys) now() time.Time {
	if s.store.tuning.now != nil {
		return s.store.tuning.now()
	}
	return time.Now()
}

func (s *hotKeys) nextID() string { return s.prefix + strconv.FormatInt(s.ids.Add(1), 10) }

// spend admits a request, whose counts are normalised, from a slice. Where it can't, it returns nil and the
// request's path if that is hot.
func (s *hotKeys) spend(req *Request) (*slicedReservation, *hotPath) {
	if len(req.Rules) == 0 || limited(req.Candidates) {
		return nil, nil
	}
	key := pathKey{first: req.Rules[0]}
	for _, rule := range req.Rules {
		key.hash = key.hash*0x9E3779B97F4A7C15 + rule.hash
	}
	now := s.now()
	p := (*s.paths.Load())[key]
	if p == nil {
		if s.heat.add(key.hash, uint32(now.UnixNano()/int64(s.tuning.measure))) < s.tuning.hot {
			return nil, nil
		}
		if p = s.add(key, req.Rules); p == nil {
			return nil, nil
		}
	}
	if !slices.Equal(p.asked, req.Rules) {
		return nil, nil // two lists of one hash
	}
	return p.spend(req, now), p
}

// add makes the path of a list of rules that is hot, nil where it can have no slices.
func (s *hotKeys) add(key pathKey, rules []*Rule) *hotPath {
	common := distinct(rules, nil)
	if len(common) > sliceRules || len(s.store.byTag(common)) > 1 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := *s.paths.Load()
	if p := paths[key]; p != nil || s.closed || len(paths) >= hotMost {
		return p
	}
	p := newHotPath(s, key, slices.Clone(rules), common)
	changed := maps.Clone(paths)
	changed[key] = p
	s.paths.Store(&changed)
	s.prod()
	return p
}

// shared returns what all paths share of a rule's limit. The lock must be held.
func (s *hotKeys) shared(rule *Rule) *sharedRule {
	shared := s.rules[rule.name]
	if shared == nil {
		shared = &sharedRule{paths: make(map[*hotPath]struct{}), quota: rule.Limit.Window.Quota()}
		s.rules[rule.name] = shared
	}
	return shared
}

// drop forgets a path that has nothing any more.
func (s *hotKeys) drop(p *hotPath) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := maps.Clone(*s.paths.Load())
	delete(changed, p.key)
	s.paths.Store(&changed)
	for i, rule := range p.rules {
		delete(p.shared[i].paths, p)
		if len(p.shared[i].paths) == 0 {
			delete(s.rules, rule.name)
		}
	}
}

func (s *hotKeys) prod() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run ends slices that are over and tells Redis where they stand, as long as there are any.
func (s *hotKeys) run(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.mu.Lock()
		busy := len(*s.paths.Load()) > 0 || len(s.moved) > 0
		s.mu.Unlock()
		wake := s.wake
		if busy {
			wake = nil
			timer.Reset(s.tuning.tell)
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
			continue
		case <-timer.C:
		}
		now := s.now()
		for _, p := range *s.paths.Load() {
			if p.tick(now) {
				s.drop(p)
			}
		}
		s.tell()
	}
}

// note notes a slice that stands elsewhere than was told. Its path must be locked.
func (s *hotKeys) note(sl *slice) {
	if sl.moved {
		return
	}
	sl.moved = true
	s.mu.Lock()
	s.moved = append(s.moved, sl)
	s.mu.Unlock()
	s.prod()
}

// tell has Redis told, in the background, where slices stand that have moved. When it returns, all that moved
// before it is queued, also what somebody else is about to tell. No path may be locked.
func (s *hotKeys) tell() {
	s.telling.Lock()
	defer s.telling.Unlock()
	s.mu.Lock()
	moved := s.moved
	s.moved = nil
	s.mu.Unlock()
	for _, sl := range moved {
		sl.tell()
	}
}

// touching returns the paths that have something of one of the rules, or are about to.
func (s *hotKeys) touching(rules []*Rule) map[*hotPath]struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := make(map[*hotPath]struct{})
	for _, rule := range rules {
		if shared := s.rules[rule.name]; shared != nil {
			maps.Copy(paths, shared.paths)
		}
	}
	return paths
}

// expire ends what is over of slices that have a part of one of the rules. It reports whether there may be
// any slices of them.
func (s *hotKeys) expire(rules []*Rule) bool {
	paths := s.touching(rules)
	now := s.now()
	for p := range paths {
		p.mu.Lock()
		p.expire(now)
		p.mu.Unlock()
	}
	return len(paths) > 0
}

// expireLately is expire for each request that is exact: what was looked at within 10 ms is not looked at again,
// because many paths may have the limit of a team or a model.
func (s *hotKeys) expireLately(rules []*Rule) {
	now := s.now()
	var due []*Rule
	s.mu.Lock()
	for _, rule := range rules {
		if shared := s.rules[rule.name]; shared != nil {
			if ago := now.Sub(shared.expired); ago < 0 || ago > 10*time.Millisecond {
				shared.expired = now
				due = append(due, rule)
			}
		}
	}
	s.mu.Unlock()
	if len(due) > 0 {
		s.expire(due)
	}
}

// unspent is what this gate has of a rule's limit in slices, or in places that are free.
func (s *hotKeys) unspent(rule *Rule) int64 {
	s.mu.Lock()
	shared := s.rules[rule.name]
	s.mu.Unlock()
	if shared == nil {
		return 0
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	return shared.unspent
}

// returned changes when something comes back to Redis from slices of one of the rules. (The turns of denied change
// with each settlement, too, and so with a busy key always.)
func (s *hotKeys) returned(rules []*Rule) (n uint64) {
	for _, rule := range rules {
		n += s.returnsOf(rule).Load()
	}
	return n
}

func (s *hotKeys) returnsOf(rule *Rule) *atomic.Uint64 {
	return &s.returns[rule.hash%uint64(len(s.returns))]
}

// recall gives back what this gate has in slices of any of the rules, so that Redis can be asked exactly,
// and waits until Redis knows. For a moment, requests under them are exact.
func (s *hotKeys) recall(ctx context.Context, rules []*Rule) error {
	for p := range s.touching(rules) {
		if err := p.rest(ctx, s.now().Add(s.tuning.cool)); err != nil {
			return err
		}
	}
	return s.flush(ctx)
}

// failed tells of a call for a slice or places that has failed. One that took too long says nothing yet: the
// requests after it are exact, and tell of a Redis that is away by calls of their own.
func (s *hotKeys) failed(err error) {
	if why := new(Unavailable); err != nil && !(errors.As(err, &why) && why.Reason == ReasonTimeout) {
		s.store.opts.OnError(err)
	}
}

// flush waits until Redis knows where all slices stand.
func (s *hotKeys) flush(ctx context.Context) error {
	s.tell()
	ctx, cancel := context.WithTimeout(ctx, s.store.opts.Timeout)
	defer cancel()
	return s.store.settler.flush(ctx)
}

// stop ends slices of limits that owe something: what is left of a limit is less than nothing then.
func (s *hotKeys) stop(owed []*Rule) {
	if len(owed) == 0 {
		return
	}
	for p := range s.touching(owed) {
		p.mu.Lock()
		p.endSlices()
		p.mu.Unlock()
	}
	s.tell()
}

// charged notes what a request has used that was admitted exactly, if it is more than was reserved.
func (s *hotKeys) charged(holds []hold, used Actual) {
	var owed []*Rule
	for i := range holds {
		h := &holds[i]
		more := used.Charge(h.rule.Limit.Unit) - h.amount
		if more <= 0 {
			continue
		}
		s.mu.Lock()
		shared := s.rules[h.rule.name]
		s.mu.Unlock()
		if shared == nil {
			continue
		}
		if shared.owe(more); shared.owes() {
			owed = append(owed, h.rule)
		}
	}
	s.stop(owed)
}

// end ends all slices, without waiting: Redis is away.
func (s *hotKeys) end() {
	for _, p := range *s.paths.Load() {
		p.mu.Lock()
		p.giveUp()
		p.mu.Unlock()
	}
	s.tell()
}

// close gives everything back. What is then in flight may be settled as long as the store's settler runs.
func (s *hotKeys) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
	for _, p := range *s.paths.Load() {
		p.retire()
	}
	s.fetches.Wait()
	s.end()
}

// heat counts, roughly, how often lists of limits come up, in little memory for any number of them.
type heat [4096]atomic.Uint64 // epoch and count

func (h *heat) add(hash uint64, epoch uint32) int {
	place := &h[(hash>>20)%uint64(len(h))]
	if v := place.Load(); uint32(v>>32) != epoch {
		place.Store(uint64(epoch)<<32 | 1)
		return 1
	}
	return int(uint32(place.Add(1)))
}
