package keys

import (
	"errors"
	"fmt"
	"runtime"
)

// slot holds the last accepted content of a source, and its new content while
// that is not yet part of the set: because other files have to be read first, or
// because it conflicts with them.
type slot[T any] struct {
	current, next T
	pending       bool // next is set
	trial         bool // value returns next
	fresh         bool // something has changed since the last rebuild
}

// change is a slot of either type.
type change interface {
	fmt.Stringer
	state() (pending, fresh bool)
	handled()
	try(on bool)
	take()
}

func (s *slot[T]) value() T {
	if s.trial {
		return s.next
	}
	return s.current
}

func (s *slot[T]) state() (pending, fresh bool) { return s.pending, s.fresh }
func (s *slot[T]) handled()                     { s.fresh = false }
func (s *slot[T]) try(on bool)                  { s.trial = on }
func (s *slot[T]) offer(next T)                 { s.next, s.pending, s.fresh = next, true, true }

// withdraw drops the new content, because the file has changed again.
func (s *slot[T]) withdraw() {
	if s.pending {
		var none T
		s.next, s.pending, s.fresh = none, false, true
	}
}

func (s *slot[T]) take() {
	s.current = s.next
	s.withdraw()
	s.trial, s.fresh = false, false
}

// source holds the keys of the config, of a keys file, or of the runtime.
type source struct {
	slot[*sourceSet]
	name   string
	watch  watch // path empty: the config, which never changes
	warned bool
}

func (s *source) String() string { return s.name }

// secret holds the hash that a placeholder resolves to. Several keys may share
// one placeholder.
type secret struct {
	slot[Hash]
	name        string
	placeholder string
	watch       watch // path empty: the environment, which never changes
}

func (s *secret) String() string { return s.name }

// readSource reads a keys file that has changed and puts its content into the
// slot. It returns an error once for each change.
func (s *Store) readSource(src *source) error {
	if !src.watch.changed(s.config.Now()) {
		return nil
	}
	content, err := readFile(src.watch.path)
	if err != nil {
		// The cause may be a directory above the file, where a change is not
		// visible.
		src.watch.unsure = true
		src.withdraw()
		if src.watch.remember([]byte(err.Error())) {
			return nil
		}
		return fmt.Errorf("reading %s: %w", src, err)
	}
	if src.watch.is(content) {
		return nil
	}
	set, err := parseFile(content)
	if err != nil {
		src.withdraw()
		src.watch.remember(content)
		return fmt.Errorf("reading %s: %w", src, err)
	}
	s.warnReadable(src, set)
	if err := s.resolve(set.references); err != nil {
		// The file itself is valid, so it may become usable without a change.
		src.watch.unsure = true
		src.withdraw()
		if src.watch.remember(append(content, err.Error()...)) {
			return nil
		}
		return fmt.Errorf("reading %s: %w", src, err)
	}
	src.watch.remember(content)
	src.offer(set)
	return nil
}

// warnReadable warns of clear secrets that other users of the machine can read.
// Hashes may be readable: nobody can recover a secret from its hash.
func (s *Store) warnReadable(src *source, set *sourceSet) {
	if src.warned || !set.clear || s.config.OnWarning == nil || runtime.GOOS == "windows" {
		return
	}
	if mode := src.watch.info.Mode().Perm(); mode&0o044 != 0 {
		src.warned = true
		s.config.OnWarning(fmt.Errorf("%s holds clear secrets and can be read by others (mode %04o): make it 0600, or write hashes", src, mode))
	}
}

// resolve resolves the placeholders that are not in use yet.
func (s *Store) resolve(references []reference) error {
	for _, ref := range references {
		placeholder := ref.placeholder.placeholder
		if s.secrets[placeholder] != nil {
			continue
		}
		sec := &secret{
			name:        ref.owner + ": secret " + placeholder,
			placeholder: placeholder,
			watch:       watch{path: ref.placeholder.file()},
		}
		if sec.watch.path != "" {
			sec.watch.changed(s.config.Now())
		}
		h, err := s.lookUp(sec)
		if err != nil {
			return fmt.Errorf("%s: %w", sec, err)
		}
		sec.current = h
		sec.watch.remember(h[:])
		s.secrets[placeholder] = sec
	}
	return nil
}

// readSecret resolves a placeholder again if its file has changed, and puts the
// new hash into the slot. It returns an error once for each change.
func (s *Store) readSecret(sec *secret) error {
	if sec.watch.path == "" || !sec.watch.changed(s.config.Now()) {
		return nil
	}
	h, err := s.lookUp(sec)
	if err != nil {
		// A missing file is not read again until it appears: the resolver may log
		// each attempt.
		sec.watch.unsure = sec.watch.info != nil
		sec.withdraw()
		if sec.watch.remember([]byte(err.Error())) {
			return nil
		}
		return fmt.Errorf("%s: %w", sec, err)
	}
	if !sec.watch.remember(h[:]) {
		sec.offer(h)
	}
	return nil
}

// lookUp resolves a placeholder and returns the hash of its content.
func (s *Store) lookUp(sec *secret) (Hash, error) {
	if s.config.Resolve == nil {
		return Hash{}, errors.New("placeholders can't be resolved here")
	}
	text, err := s.config.Resolve(sec.placeholder)
	if err != nil {
		return Hash{}, err
	}
	return parseResolved(text)
}
