package keys

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// StoreConfig configures a Store.
type StoreConfig struct {
	// Keys of the config itself. Their secrets are hashes and placeholders: a clear
	// secret is an error, since configs are displayed.
	Keys []Config

	// Paths of keys files; see the documentation of Store.
	Files []string

	// Keys that are created at runtime. Those of Keys and Files take precedence if
	// both have an id or a secret. Default: none.
	Runtime Runtime

	// Secrets of the admin keys: hashes and placeholders. They give access to
	// administration only. Default: none.
	Admin []string

	// Allows a store without Keys, Files and Runtime. Default: false, which makes it
	// an error, since nobody could use the gate.
	AllowEmpty bool

	// Resolves a placeholder, passed with its braces: {env.NAME} or {file./path}. It
	// is called again when the file of a placeholder has changed. Its error must not
	// contain the value. Required if placeholders are used.
	Resolve func(placeholder string) (string, error)

	// How often files are checked. Default: 1s.
	Poll time.Duration

	// Called with the reason when a change is rejected, once for each change: the
	// previous keys stay in effect. The error names the file, line and key, never a
	// secret. Calls do not overlap; they must not call Close.
	OnError func(error)

	// Called once for each keys file whose clear secrets other users of this machine
	// can read, by NewStore too.
	OnWarning func(error)

	// Called with each new set, except the first. Calls do not overlap; they must
	// not call Close.
	OnChange func(*Set)

	// The wall clock. A file whose time stamp is recent by this clock is read once
	// more. Default: time.Now.
	Now func() time.Time
}

// Store is the live set of keys. After Start, it follows the keys files and the
// files that placeholders name, and checks each every Poll: a key that is removed
// from a file is refused after at most Poll and the time that it takes to read
// the file.
//
// A keys file is a JSON array of Config objects, or an object whose field `keys`
// is one. Unknown and repeated fields are errors. Files are best replaced by
// renaming a new one over them, as Kubernetes does in effect: a file that is read
// while it is being written is invalid until the next check.
//
// If a source is invalid, NewStore fails. If a source becomes invalid or
// disappears later, its last keys stay in effect, and changes of the other
// sources are still applied.
type Store struct {
	config  StoreConfig
	current atomic.Pointer[Set]

	// The fields below are used by NewStore and then by the poller only.
	sources []*source          // the config's keys first, then the files'; without the runtime's
	secrets map[string]*secret // by placeholder
	admin   []secretText

	runtime      *source         // nil if there is none
	runtimeUntil time.Time       // time at which it changes by itself; zero: never
	leftOut      map[string]bool // ids of runtime keys that conflict with other keys
	wake         chan struct{}   // holds a token when the runtime has changed
	unwatch      func()

	start, stop sync.Once
	done        chan struct{}
	poller      sync.WaitGroup
}

// NewStore returns a store that has read all keys. It starts nothing that must be
// closed, so a config can be validated with it. The error names the key or file.
func NewStore(config StoreConfig) (*Store, error) {
	if len(config.Keys) == 0 && len(config.Files) == 0 && config.Runtime == nil && !config.AllowEmpty {
		return nil, errors.New("no source of keys: add a key or a keys file")
	}
	if config.Poll <= 0 {
		config.Poll = time.Second
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	s := &Store{config: config, secrets: make(map[string]*secret), done: make(chan struct{}), wake: make(chan struct{}, 1)}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// wakeUp makes the poller read the runtime keys, which have changed.
func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // a wake-up is pending already
	}
}

// Known reports whether a secret that is not in the set is certain to belong to
// no key. It returns false while the runtime keys are not up to date.
func (s *Store) Known() bool { return s.config.Runtime == nil || s.config.Runtime.UpToDate() }

// Trusts reports whether a key of the set may be accepted. A runtime key may not
// if its snapshot is so old that the key may have been revoked since.
func (s *Store) Trusts(key *Key) bool { return !key.Runtime || !s.config.Runtime.Stale() }

// Current returns the current set.
func (s *Store) Current() *Set { return s.current.Load() }

// Start starts following the files and the runtime. Calling it again, or after
// Close, does nothing.
func (s *Store) Start() {
	s.start.Do(func() {
		if !s.watches() {
			return
		}
		if s.config.Runtime != nil {
			s.unwatch = s.config.Runtime.Watch(s.wakeUp)
			s.wakeUp() // for changes since it was read
		}
		s.poller.Go(func() {
			tick := time.NewTicker(s.config.Poll)
			defer tick.Stop()
			for {
				select {
				case <-s.done:
					return
				case <-s.wake:
					s.runtime.offer(s.runtimeSet())
					s.rebuild()
				case <-tick.C:
					s.poll()
				}
			}
		})
	})
}

// Close stops following the sources and waits for a check that is in progress.
// The last set stays. Calling it again does nothing.
func (s *Store) Close() {
	s.stop.Do(func() {
		close(s.done)
		if s.unwatch != nil {
			s.unwatch()
		}
	})
	s.poller.Wait()
}

// load reads all sources for the first time.
func (s *Store) load() error {
	set := new(sourceSet)
	for _, c := range s.config.Keys {
		if err := set.add(&c, false); err != nil {
			return err
		}
	}
	if err := s.resolve(set.references); err != nil {
		return err
	}
	s.sources = []*source{{name: "config", slot: slot[*sourceSet]{current: set}}}

	for i, text := range s.config.Admin {
		parsed, err := parseSecret(text, false)
		if err != nil {
			return fmt.Errorf("admin key: secret %d of %d: %w", i+1, len(s.config.Admin), err)
		}
		if slices.Contains(s.admin, parsed) {
			return fmt.Errorf("admin key: secret %d of %d is there twice", i+1, len(s.config.Admin))
		}
		s.admin = append(s.admin, parsed)
		if parsed.placeholder != "" {
			if err := s.resolve([]reference{{owner: "admin key", placeholder: parsed}}); err != nil {
				return err
			}
		}
	}

	for _, path := range s.config.Files {
		if slices.ContainsFunc(s.sources, func(o *source) bool { return o.watch.path == path }) {
			return fmt.Errorf("keys file %s is there twice", path)
		}
		src := &source{name: "keys file " + path, slot: slot[*sourceSet]{current: new(sourceSet)}, watch: watch{path: path, unsure: true}}
		s.sources = append(s.sources, src)
		if err := s.readSource(src); err != nil {
			return err
		}
		src.take()
	}
	if s.config.Runtime != nil {
		s.runtime = &source{name: runtimeName}
		s.runtime.current = s.runtimeSet()
	}
	current, err := s.build()
	if err != nil {
		return err
	}
	s.current.Store(current)
	for _, src := range s.sources {
		src.handled()
	}
	return nil
}

// watches reports whether there is anything to follow.
func (s *Store) watches() bool {
	if len(s.config.Files) > 0 || s.config.Runtime != nil {
		return true
	}
	for _, sec := range s.secrets {
		if sec.watch.path != "" {
			return true
		}
	}
	return false
}
