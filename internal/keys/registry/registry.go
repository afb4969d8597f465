package registry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Options configure a [Registry]. All are optional.
type Options struct {
	// How often the changes of other gates are fetched from the storage. Default:
	// 500ms.
	Poll time.Duration

	// The timeout of one call to the storage. Default: 5s.
	Timeout time.Duration

	// The age that the snapshot may reach while the storage is unavailable. Beyond
	// it, no key of the snapshot is accepted, since it may have been revoked
	// meanwhile. Default: 5m.
	Stale time.Duration

	// Called after each refresh, with nil if the storage was available. It must not
	// call the registry.
	OnRefresh func(error)

	// Called for each invalid entry. Such entries are left out.
	OnError func(error)

	// Called for each change that this registry has made.
	Audit func(Audit)

	// The wall clock. Default: time.Now.
	Now func() time.Time
}

const (
	defaultPoll    = 500 * time.Millisecond
	defaultTimeout = 5 * time.Second
	defaultStale   = 5 * time.Minute
)

// Audit describes a change that was made.
type Audit struct {
	Kind   Kind
	ID     string
	Action string // create, update, rotate, revoke, delete
	Actor  string // who requested it
}

// Registry is a live set of keys and teams. It is safe for concurrent use.
type Registry struct {
	open    func() (Storage, error)
	options Options

	snapshot atomic.Pointer[Snapshot]
	fetched  atomic.Int64 // time at which the snapshot was up to date, in Unix nanoseconds; 0: never

	mu      sync.Mutex // guards the fields below, and is held while a snapshot is made
	storage Storage    // nil until it is opened
	closed  bool

	watchers sync.Map // *func() → struct{}: called after each new snapshot

	start, stop sync.Once
	closing     context.Context // canceled by Close
	end         context.CancelFunc
	poller      sync.WaitGroup
}

// New returns a registry that calls open on first use, and again if that fails.
// It runs nothing until Start.
func New(open func() (Storage, error), options Options) *Registry {
	if options.Poll <= 0 {
		options.Poll = defaultPoll
	}
	if options.Timeout <= 0 {
		options.Timeout = defaultTimeout
	}
	if options.Stale <= 0 {
		options.Stale = defaultStale
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	r := &Registry{open: open, options: options}
	r.closing, r.end = context.WithCancel(context.Background())
	r.snapshot.Store(newSnapshot())
	return r
}

// Start starts fetching the entries, and then the changes of other gates, until
// Close. Calling it again does nothing.
func (r *Registry) Start() {
	r.start.Do(func() {
		r.poller.Go(func() {
			tick := time.NewTicker(r.options.Poll)
			defer tick.Stop()
			for {
				_ = r.Refresh(r.closing) // which calls OnRefresh
				select {
				case <-r.closing.Done():
					return
				case <-tick.C:
				}
			}
		})
	})
}

// Close stops fetching and closes the storage. Calling it again does nothing.
func (r *Registry) Close() error {
	var err error
	r.stop.Do(func() {
		r.end()
		r.poller.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = true
		if r.storage != nil {
			err = r.storage.Close()
		}
	})
	return err
}

// Refresh fetches the changes from the storage.
func (r *Registry) Refresh(asked context.Context) error {
	ctx, cancel := context.WithTimeout(asked, r.options.Timeout)
	defer cancel()
	r.mu.Lock()
	changed, err := r.fetch(ctx)
	if asked.Err() == nil && r.options.OnRefresh != nil { // else the error is the caller's, not the storage's
		r.options.OnRefresh(err)
	}
	r.mu.Unlock()
	if changed {
		r.watchers.Range(func(f, _ any) bool {
			(*f.(*func()))()
			return true
		})
	}
	return err
}

// fetch makes a new snapshot if the storage has changed. r.mu must be held.
func (r *Registry) fetch(ctx context.Context) (changed bool, err error) {
	storage, err := r.opened()
	if err != nil {
		return false, err
	}
	before := r.options.Now()
	snapshot := r.snapshot.Load()
	changes, err := storage.Changes(ctx, snapshot.revision)
	if err != nil {
		return false, err
	}
	if changes.Revision != snapshot.revision || changes.Complete {
		r.snapshot.Store(snapshot.with(changes, r.options.OnError))
		changed = true
	}
	r.fetched.Store(before.UnixNano())
	return changed, nil
}

// opened returns the storage, which it opens if needed. r.mu must be held.
func (r *Registry) opened() (Storage, error) {
	switch {
	case r.closed:
		return nil, ErrUnavailable
	case r.storage != nil:
		return r.storage, nil
	}
	storage, err := r.open()
	if err == nil {
		r.storage = storage
	}
	return storage, err
}

// Watch calls f soon after each new snapshot, on another goroutine, until stop is
// called. f must not block.
func (r *Registry) Watch(f func()) (stop func()) {
	r.watchers.Store(&f, struct{}{})
	return func() { r.watchers.Delete(&f) }
}

// Snapshot returns the current snapshot.
func (r *Registry) Snapshot() *Snapshot { return r.snapshot.Load() }

// UpToDate reports whether the snapshot is up to date, apart from the changes of
// the last moments. Only then is an unknown secret certain to belong to no key.
func (r *Registry) UpToDate() bool { return r.age() <= 3*r.options.Poll+r.options.Timeout/2 }

// Stale reports whether the snapshot is too old to accept a key from it.
func (r *Registry) Stale() bool { return r.age() > r.options.Stale }

func (r *Registry) age() time.Duration {
	fetched := r.fetched.Load()
	if fetched == 0 {
		return 1<<63 - 1
	}
	return r.options.Now().Sub(time.Unix(0, fetched))
}

// change updates one entry in the storage, and then the snapshot.
func (r *Registry) change(ctx context.Context, kind Kind, id string, change func(old []byte) ([]byte, error)) error {
	r.mu.Lock()
	storage, err := r.opened()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	if err := storage.Update(bounded, kind, id, change); err != nil {
		return err
	}
	// The change is stored. If reading it back fails, the poller reads it later.
	if err := r.Refresh(ctx); err != nil && !errors.Is(err, ErrUnavailable) {
		return err
	}
	return nil
}
