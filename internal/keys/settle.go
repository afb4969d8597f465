package keys

import (
	"errors"
	"fmt"
)

// poll looks at all files once and takes over what has changed.
func (s *Store) poll() {
	for _, sec := range s.secrets {
		s.report(s.readSecret(sec))
	}
	for _, src := range s.sources {
		if src.watch.path != "" {
			s.report(s.readSource(src))
		}
	}
	s.readRuntime()
	s.settle()
}

func (s *Store) report(err error) {
	if err != nil && s.config.OnError != nil {
		s.config.OnError(err)
	}
}

// settle makes a new ring of what has changed. All changes are tried at once,
// since a key may have moved from one file to another. Where that is at odds,
// they are tried one by one, so that one mistake doesn't hold up the others:
// what can't be taken stays pending, for a later change may make room for it.
func (s *Store) settle() {
	pending, fresh := s.changes()
	if len(fresh) == 0 {
		return
	}
	for _, c := range pending {
		c.try(true)
	}
	var ring *Ring
	refused := make(map[change]error)
	if len(pending) > 0 { // else the ring is what it was
		var err error
		if ring, err = s.build(); err != nil {
			ring = s.settleEach(pending, refused)
		} else {
			for _, c := range pending {
				c.take()
			}
		}
	}
	for c := range fresh {
		c.settled()
		if err := refused[c]; err != nil {
			s.report(fmt.Errorf("taking over the change of %s: %w", c, err))
		}
	}
	if ring == nil {
		return
	}
	s.forgetSecrets()
	s.ring.Store(ring)
	if s.config.OnChange != nil {
		s.config.OnChange(ring)
	}
}

// changes lists what is pending and what is new since the last settling.
func (s *Store) changes() (pending []change, fresh map[change]bool) {
	fresh = make(map[change]bool)
	add := func(c change) {
		isPending, isFresh := c.state()
		if isPending {
			pending = append(pending, c)
		}
		if isFresh {
			fresh[c] = true
		}
	}
	for _, src := range s.sources {
		add(src)
	}
	for _, sec := range s.secrets {
		add(sec)
	}
	if s.runtime != nil {
		add(s.runtime)
	}
	return pending, fresh
}

// settleEach takes each change that goes with what is there, until none does,
// and notes why the others don't. It returns the last ring made, if any.
func (s *Store) settleEach(pending []change, refused map[change]error) *Ring {
	for _, c := range pending {
		c.try(false)
	}
	var last *Ring
	for progress := true; progress; {
		progress = false
		for _, c := range pending {
			if isPending, _ := c.state(); !isPending {
				continue
			}
			c.try(true)
			ring, err := s.build()
			if err != nil {
				c.try(false)
				refused[c] = err
				continue
			}
			c.take()
			delete(refused, c)
			last, progress = ring, true
		}
	}
	return last
}

// build makes a ring of what all slots hold.
func (s *Store) build() (*Ring, error) {
	var keyCount, entryCount int
	for _, src := range s.sources {
		set := src.value()
		keyCount += len(set.keys)
		entryCount += len(set.entries) + len(set.references)
	}
	keys, entries := make([]*Key, 0, keyCount), make([]entry, 0, entryCount)
	for _, src := range s.sources {
		set := src.value()
		keys = append(keys, set.keys...)
		entries = append(entries, set.entries...)
		for _, ref := range set.references {
			entries = append(entries, entry{s.secrets[ref.placeholder.placeholder].value(), ref.key})
		}
	}
	admin := make([]Hash, 0, len(s.admin))
	for _, a := range s.admin {
		if a.placeholder != "" {
			a.hash = s.secrets[a.placeholder].value()
		}
		admin = append(admin, a.hash)
	}
	var teams []*Team
	if s.runtime != nil {
		set := s.withoutConflicts(s.runtime.value(), keys, entries, admin)
		keys, entries, teams = append(keys, set.keys...), append(entries, set.entries...), set.teams
	}
	ring, err := newRing(keys, entries, admin)
	if err == nil {
		ring.setTeams(teams)
	}
	var duplicate *duplicateError
	if errors.As(err, &duplicate) {
		s.nameSources(duplicate)
	}
	return ring, err
}

// nameSources adds to a duplicate id where it stands.
func (s *Store) nameSources(duplicate *duplicateError) {
	for _, src := range s.sources {
		for _, key := range src.value().keys {
			if key.ID == duplicate.id {
				duplicate.sources = append(duplicate.sources, src.name)
			}
		}
	}
}

// forgetSecrets drops the placeholders that nothing refers to any more.
func (s *Store) forgetSecrets() {
	used := make(map[string]bool)
	for _, a := range s.admin {
		used[a.placeholder] = true
	}
	for _, src := range s.sources {
		for _, ref := range src.current.references {
			used[ref.placeholder.placeholder] = true
		}
		if src.pending {
			for _, ref := range src.next.references {
				used[ref.placeholder.placeholder] = true
			}
		}
	}
	for placeholder := range s.secrets {
		if !used[placeholder] {
			delete(s.secrets, placeholder)
		}
	}
}
