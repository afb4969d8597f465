package keys

import (
	"errors"
	"fmt"
)

// poll checks all files once and rebuilds the set if any has changed.
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
	s.rebuild()
}

func (s *Store) report(err error) {
	if err != nil && s.config.OnError != nil {
		s.config.OnError(err)
	}
}

// rebuild makes a new set from the pending changes. It tries all of them at once,
// since a key may have moved from one file to another. If they conflict, it tries
// them one by one, so that one mistake does not block the others. A rejected
// change stays pending: a later change may resolve the conflict.
func (s *Store) rebuild() {
	pending, fresh := s.changes()
	if len(fresh) == 0 {
		return
	}
	for _, c := range pending {
		c.try(true)
	}
	var set *Set
	refused := make(map[change]error)
	if len(pending) > 0 { // else the set is unchanged
		var err error
		if set, err = s.build(); err != nil {
			set = s.rebuildEach(pending, refused)
		} else {
			for _, c := range pending {
				c.take()
			}
		}
	}
	for c := range fresh {
		c.handled()
		if err := refused[c]; err != nil {
			s.report(fmt.Errorf("taking over the change of %s: %w", c, err))
		}
	}
	if set == nil {
		return
	}
	s.forgetSecrets()
	s.current.Store(set)
	if s.config.OnChange != nil {
		s.config.OnChange(set)
	}
}

// changes returns the pending changes, and the sources that changed since the
// last rebuild.
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

// rebuildEach applies each change that conflicts with nothing, until none is
// left, and stores the errors of the others in refused. It returns the last set
// that it built, or nil.
func (s *Store) rebuildEach(pending []change, refused map[change]error) *Set {
	for _, c := range pending {
		c.try(false)
	}
	var last *Set
	for progress := true; progress; {
		progress = false
		for _, c := range pending {
			if isPending, _ := c.state(); !isPending {
				continue
			}
			c.try(true)
			set, err := s.build()
			if err != nil {
				c.try(false)
				refused[c] = err
				continue
			}
			c.take()
			delete(refused, c)
			last, progress = set, true
		}
	}
	return last
}

// build returns a set of the values of all slots.
func (s *Store) build() (*Set, error) {
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
	all, err := newSet(keys, entries, admin)
	if err == nil {
		all.setTeams(teams)
	}
	var duplicate *duplicateError
	if errors.As(err, &duplicate) {
		s.nameSources(duplicate)
	}
	return all, err
}

// nameSources adds the names of the sources that have the duplicate id.
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
