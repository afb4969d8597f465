package keys

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// StoreConfig configures the sources of keys.
type StoreConfig struct {
	// Keys of the config itself. Their secrets are hashes and placeholders: a
	// clear secret is an error, since configs are shown.
	Keys []Config

	// Paths of keys files; see the documentation of Store.
	Files []string

	// Keys that are created at runtime. Those of Keys and Files take precedence if
	// both have an id or a secret. Default: none.
	Runtime Runtime

	// Secrets of the admin keys: hashes and placeholders. They give access to
	// administration, and to nothing else. Default: none.
	Admin []string

	// Allows a store without Keys, Files and Runtime. Default: false, an error:
	// nobody could use the gate, which is hardly intended.
	AllowEmpty bool

	// Resolves a placeholder, given with its braces: {env.NAME} or {file./path}.
	// It is called again for a file that has changed. Its error must not contain
	// the value. Required if placeholders are used.
	Resolve func(placeholder string) (string, error)

	// How often files are checked. Default: 1s.
	Poll time.Duration

	// Called with the reason why a change was refused, once for each change: the
	// previous keys stay. The error names the file, line and key, never a secret.
	// Calls do not overlap; they must not call Close.
	OnError func(error)

	// Called once for each keys file whose clear secrets others on this machine
	// can read, by NewStore too.
	OnWarning func(error)

	// Called with each new set, except the first. Calls do not overlap; they must
	// not call Close.
	OnChange func(*Set)

	// The wall clock: files that have just been written are read once more.
	// Default: time.Now.
	Now func() time.Time
}

// Store is the live set of keys. After Start, it follows the keys files and the
// files that placeholders name, and checks each every Poll: a key that is removed
// from a file is refused within Poll and the time it takes to read the file.
//
// A keys file is a JSON array of Config objects, or an object whose field `keys`
// is one. Unknown and repeated fields are errors. Files are best replaced by
// renaming a new one over them, as Kubernetes does in effect: a file that is read
// half written is invalid until the next check.
//
// An invalid source is an error of NewStore. Later, a source that becomes invalid
// or vanishes keeps its last keys, and the others still change.
type Store struct {
	config  StoreConfig
	current atomic.Pointer[Set]

	// The rest belongs to NewStore and then to the poller alone.
	sources []*source          // the config's keys first, then the files'; without the runtime's
	secrets map[string]*secret // by placeholder
	admin   []secretText

	runtime      *source         // nil if there is none
	runtimeUntil time.Time       // when it changes by itself; zero: never
	leftOut      map[string]bool // ids of its keys that conflict with the others
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

// wakeUp makes the poller read the runtime, which has changed.
func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it will
	}
}

// Known reports whether a secret that is not in the set is known to belong to no
// key. It is false while the runtime's keys are not up to date.
func (s *Store) Known() bool { return s.config.Runtime == nil || s.config.Runtime.UpToDate() }

// Trusts reports whether a key of the set may be accepted: a runtime key may not
// be if it could have been revoked long ago.
func (s *Store) Trusts(key *Key) bool { return !key.Runtime || !s.config.Runtime.Stale() }

// Current returns the current set.
func (s *Store) Current() *Set { return s.current.Load() }

// Start starts to follow the files. Calling it again, or after Close, does
// nothing.
func (s *Store) Start() {
	s.start.Do(func() {
		if !s.watches() {
			return
		}
		if s.config.Runtime != nil {
			s.unwatch = s.config.Runtime.Watch(s.wakeUp)
			s.wakeUp() // for what has changed since it was read
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

// Close stops following the files and waits until a check of them that is under
// way has ended. The last set stays. Calling it again does nothing.
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
