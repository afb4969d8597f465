package keys

import (
	"sync"
	"testing"
	"time"
)

// runtimeStub is a Runtime that holds what it is given.
type runtimeStub struct {
	mu             sync.Mutex
	keys           RuntimeKeys
	watchers       map[int]func()
	current, stale bool
}

func (r *runtimeStub) RuntimeKeys(time.Time) RuntimeKeys {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keys
}

func (r *runtimeStub) Watch(f func()) (stop func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := len(r.watchers)
	if r.watchers == nil {
		r.watchers = make(map[int]func())
	}
	r.watchers[id] = f
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.watchers, id)
	}
}

func (r *runtimeStub) UpToDate() bool { return r.current }
func (r *runtimeStub) Stale() bool    { return r.stale }

// set replaces the keys by pairs of an id and the name of a secret.
func (r *runtimeStub) set(pairs ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys.Keys = nil
	for i := 0; i < len(pairs); i += 2 {
		key := &Key{ID: pairs[i], Runtime: true}
		r.keys.Keys = append(r.keys.Keys, RuntimeKey{key, []Hash{HashSecret(long(pairs[i+1]))}})
	}
	for _, f := range r.watchers {
		f()
	}
}

func TestKeysMadeAtRuntimeJoinTheOthers(t *testing.T) {
	b, r := newFixture(t), new(runtimeStub)
	r.set("alice", "a")
	r.keys.Teams = []*Team{{ID: "search"}}
	c := b.config([]Config{{ID: "bob", Secrets: []string{hashed("b")}}})
	c.Runtime = r
	b.open(c)
	b.want("a=alice", "b=bob")
	if b.Current().Team("search") == nil || b.Current().Team("other") != nil {
		t.Error("teams are not those of the runtime")
	}
}

func TestWhatTheConfigurationSaysWinsOverTheRuntime(t *testing.T) {
	b, r := newFixture(t), new(runtimeStub)
	r.set("bob", "x", "carol", "b", "alice", "a")
	c := b.config([]Config{{ID: "bob", Secrets: []string{hashed("b")}}})
	c.Runtime = r
	b.open(c)
	b.want("a=alice", "b=bob")
	if b.Current().Lookup(HashSecret(long("x"))) != nil {
		t.Error("a secret that was made at runtime opens a key of the configuration")
	}
	b.wantErrors(`"bob"`, `"carol"`)
}

func TestARingFollowsItsRuntime(t *testing.T) {
	b, r := newFixture(t), new(runtimeStub)
	sets := make(chan *Set, 10)
	c := b.config(nil)
	c.Runtime, c.OnChange = r, func(set *Set) { sets <- set }
	b.open(c)
	b.Start()
	defer b.Close()
	r.set("alice", "a")
	wait := func(what string, holds func(*Set) bool) {
		t.Helper()
		for deadline := time.After(20 * time.Second); ; {
			select {
			case set := <-sets:
				if holds(set) {
					return
				}
			case <-deadline:
				t.Fatal(what)
			}
		}
	}
	wait("the key never came", func(set *Set) bool { return set.ByID("alice") != nil })
	r.set()
	wait("the key never went", func(set *Set) bool { return set.Len() == 0 })
	b.Close()
	if len(r.watchers) != 0 {
		t.Error("a closed store still watches")
	}
}

func TestASecretThatEndsByItselfIsLookedFor(t *testing.T) {
	b, r := newFixture(t), new(runtimeStub)
	r.set("alice", "a")
	r.keys.Until = b.now.Add(time.Hour)
	c := b.config(nil)
	c.Runtime = r
	b.open(c)
	r.keys.Keys = nil // as a snapshot of a later time would have it
	b.poll()
	b.want("a=alice")
	b.now = b.now.Add(time.Hour)
	b.poll()
	b.want("a=")
}

func TestAnAwayRuntimeKnowsNoSecretToBeNone(t *testing.T) {
	b, r := newFixture(t), &runtimeStub{current: true}
	r.set("alice", "a")
	c := b.config([]Config{{ID: "bob", Secrets: []string{hashed("b")}}})
	c.Runtime = r
	b.open(c)
	alice, bob := b.Current().ByID("alice"), b.Current().ByID("bob")
	if !b.Known() || !b.Trusts(alice) || !b.Trusts(bob) {
		t.Error("a current runtime is trusted")
	}
	if r.current = false; b.Known() || !b.Trusts(alice) {
		t.Error("one that is away does not know, and its keys hold for a while")
	}
	if r.stale = true; b.Trusts(alice) || !b.Trusts(bob) {
		t.Error("a stale one's keys are not trusted, but those of the configuration are")
	}
	plain := newFixture(t)
	plain.open(plain.config([]Config{{ID: "bob", Secrets: []string{hashed("b")}}}))
	if !plain.Known() || !plain.Trusts(plain.Current().ByID("bob")) {
		t.Error("without a runtime all is known")
	}
}
