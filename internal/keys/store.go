package keys

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// StoreConfig says where keys come from.
type StoreConfig struct {
	// Keys of the config itself. Their secrets are hashes and placeholders: a
	// clear one is an error, since configs are shown.
	Keys []Config

	// Paths of keys files; see the documentation of Store.
	Files []string

	// Keys that are made while the gate runs. Those of Keys and Files win over
	// them where both have an id or a secret. Default: none.
	Runtime Runtime

	// Secrets of the admin keys: hashes and placeholders. They open what no
	// caller's key opens, and nothing else. Default: none.
	Admin []string

	// Allows a store without Keys, Files and Runtime. Default: false, an error: nobody
	// could use the gate, which is hardly meant.
	AllowEmpty bool

	// Resolves a placeholder, which is given with its braces: {env.NAME} or
	// {file./path}. It is called again for a file that has changed. Its error
	// must not hold the value. Required where placeholders are used.
	Resolve func(placeholder string) (string, error)

	// How often files are looked at. Default: 1s. Zero means the default.
	Poll time.Duration

	// Is told why something that changed could not be taken over, once for each
	// change: the keys that were there stay. The error names the file, line and
	// key, never a secret. Called one at a time; must not call Close.
	OnError func(error)

	// Is told, once for each keys file, that others on this machine can read
	// the clear secrets in it; already by NewStore.
	OnWarning func(error)

	// Is told of each new ring, but not of the first. Called one at a time;
	// must not call Close.
	OnChange func(*Ring)

	// The wall clock, by which files that have just been written are read once
	// more. Default: time.Now.
	Now func() time.Time
}

// Store is the live set of keys. Its ring follows the keys files and the files
// that placeholders name, each looked at every Poll once Start was called: so
// a key that was taken out of a file is refused within Poll and the time it
// takes to read the file.
//
// A keys file is a JSON array of Config objects, or an object whose field
// `keys` is one. Unknown and repeated fields are errors. Files are best replaced by
// renaming a new one over them, as Kubernetes does in effect: a file caught
// half written is broken until the next look.
//
// What is broken at the start is an error. Later, each source that breaks or
// vanishes keeps what it held last, and others still change.
type Store struct {
	config StoreConfig
	ring   atomic.Pointer[Ring]

	// What follows belongs to NewStore and then to the poller alone.
	sources []*source          // the config's keys first, then the files'; the runtime's are not among them
	secrets map[string]*secret // by placeholder
	admin   []spec

	runtime      *source         // nil: there is none
	runtimeUntil time.Time       // when it changes by itself; zero: never
	leftOut      map[string]bool // ids of its keys that the others don't admit
	wake         chan struct{}   // holds a token when the runtime has changed
	unwatch      func()

	start, stop sync.Once
	done        chan struct{}
	poller      sync.WaitGroup
}

// NewStore reads all keys. It starts nothing that must be closed, so a config
// can be validated with it. The error names what is wrong and the key or file.
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

// wakeUp tells the poller that the runtime has changed.
func (s *Store) wakeUp() {
	select {
	case s.wake <- struct{}{}:
	default: // it knows
	}
}

// Known tells whether a secret that is not in the ring is known to belong to no
// key: not while keys that are made at runtime can't be asked for.
func (s *Store) Known() bool { return s.config.Runtime == nil || s.config.Runtime.Current() }

// Trusts tells whether a key of the ring may be accepted: one that was made at
// runtime may not when it could have been revoked long ago, unseen.
func (s *Store) Trusts(key *Key) bool { return !key.Runtime || !s.config.Runtime.Stale() }

// Ring returns the keys as they are now.
func (s *Store) Ring() *Ring { return s.ring.Load() }

// Start begins to follow the files. Calling it again, or after Close, does
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
					s.settle()
				case <-tick.C:
					s.poll()
				}
			}
		})
	})
}

// Close ends following the files and waits until a look at them that is under
// way has ended. The last ring stays. Calling it again does nothing.
func (s *Store) Close() {
	s.stop.Do(func() {
		close(s.done)
		if s.unwatch != nil {
			s.unwatch()
		}
	})
	s.poller.Wait()
}

// load reads everything for the first time.
func (s *Store) load() error {
	set := new(keySet)
	for _, c := range s.config.Keys {
		if err := set.add(c, false); err != nil {
			return err
		}
	}
	if err := s.resolve(set.references); err != nil {
		return err
	}
	s.sources = []*source{{name: "config", slot: slot[*keySet]{current: set}}}

	for i, text := range s.config.Admin {
		parsed, err := parseSpec(text, false)
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
		src := &source{name: "keys file " + path, slot: slot[*keySet]{current: new(keySet)}, watch: watch{path: path, unsure: true}}
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
	ring, err := s.build()
	if err != nil {
		return err
	}
	s.ring.Store(ring)
	for _, src := range s.sources {
		src.settled()
	}
	return nil
}

// watches tells whether there is any file to follow.
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
