package registry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// Options of a registry. All are optional.
type Options struct {
	// How often the backing is asked what others have changed. Default: 500ms.
	Poll time.Duration

	// How long one question to the backing may take. Default: 5s.
	Timeout time.Duration

	// How old the picture may become while the backing is away. Then no key of it
	// is accepted any more: it may have been revoked meanwhile. Default: 5m.
	Stale time.Duration

	// Is told when the backing goes away, with the reason, and by nil when it is
	// back: once for each change.
	OnStatus func(error)

	// Is told of entries that can't be read, which are left out.
	OnError func(error)

	// Is told of each change that this registry has made.
	Audit func(Audit)

	// The wall clock. Default: time.Now.
	Now func() time.Time
}

const (
	defaultPoll    = 500 * time.Millisecond
	defaultTimeout = 5 * time.Second
	defaultStale   = 5 * time.Minute
)

// Audit is a change that was made.
type Audit struct {
	Kind   Kind
	ID     string
	Action string // create, update, rotate, revoke, delete
	Actor  string // who asked for it, as the door knows it
}

// Registry is a live set of keys and teams. Its methods may be called by several
// goroutines.
type Registry struct {
	open    func() (Backing, error)
	options Options

	picture atomic.Pointer[Picture]
	fetched atomic.Int64 // when the picture was known to be right, in Unix nanoseconds; 0: never

	mu      sync.Mutex // of what follows, and of making pictures
	backing Backing    // nil: not opened yet
	away    bool
	closed  bool

	watchers sync.Map // *func() → struct{}: who is told of each new picture

	start, stop sync.Once
	closing     context.Context // ends with Close, and with it what the poller waits for
	end         context.CancelFunc
	poller      sync.WaitGroup
}

// New returns a registry whose backing is opened at the first use, and again
// where that fails. Nothing runs until Start.
func New(open func() (Backing, error), options Options) *Registry {
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
	r.picture.Store(newPicture())
	return r
}

// Start fetches what there is, and then follows what others change, until Close.
// Calling it again does nothing.
func (r *Registry) Start() {
	r.start.Do(func() {
		r.poller.Go(func() {
			tick := time.NewTicker(r.options.Poll)
			defer tick.Stop()
			for {
				_ = r.Refresh(r.closing) // OnStatus is told
				select {
				case <-r.closing.Done():
					return
				case <-tick.C:
				}
			}
		})
	})
}

// Close ends following and closes the backing. Calling it again does nothing.
func (r *Registry) Close() error {
	var err error
	r.stop.Do(func() {
		r.end()
		r.poller.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.closed = true
		if r.backing != nil {
			err = r.backing.Close()
		}
	})
	return err
}

// Refresh takes over what has changed in the backing.
func (r *Registry) Refresh(asked context.Context) error {
	ctx, cancel := context.WithTimeout(asked, r.options.Timeout)
	defer cancel()
	r.mu.Lock()
	changed, err := r.fetch(ctx)
	status := false
	if asked.Err() == nil { // else it says nothing about the backing
		status = r.status(err)
	}
	r.mu.Unlock()
	if status && r.options.OnStatus != nil {
		r.options.OnStatus(err)
	}
	if changed {
		r.watchers.Range(func(f, _ any) bool {
			(*f.(*func()))()
			return true
		})
	}
	return err
}

// fetch makes a new picture, with r.mu held.
func (r *Registry) fetch(ctx context.Context) (changed bool, err error) {
	backing, err := r.opened()
	if err != nil {
		return false, err
	}
	before := r.options.Now()
	picture := r.picture.Load()
	changes, err := backing.Changes(ctx, picture.place)
	if err != nil {
		return false, err
	}
	if changes.Place != picture.place || changes.Whole {
		r.picture.Store(picture.with(changes, r.options.OnError))
		changed = true
	}
	r.fetched.Store(before.UnixNano())
	return changed, nil
}

// opened returns the backing, with r.mu held.
func (r *Registry) opened() (Backing, error) {
	switch {
	case r.closed:
		return nil, ErrUnavailable
	case r.backing != nil:
		return r.backing, nil
	}
	backing, err := r.open()
	if err == nil {
		r.backing = backing
	}
	return backing, err
}

// status notes whether the backing is away, and tells whether that is new, with
// r.mu held.
func (r *Registry) status(err error) (changed bool) {
	away := err != nil
	changed = away != r.away
	r.away = away
	return changed
}

// Watch has f called after each new picture, soon and on another goroutine, until
// the returned function is called. f must not block.
func (r *Registry) Watch(f func()) (stop func()) {
	r.watchers.Store(&f, struct{}{})
	return func() { r.watchers.Delete(&f) }
}

// Picture returns the keys and teams as they are known to be.
func (r *Registry) Picture() *Picture { return r.picture.Load() }

// Current tells whether the picture is up to date, but for what has changed
// within the last moments: only then is an unknown secret known to be none.
func (r *Registry) Current() bool { return r.age() <= 3*r.options.Poll+r.options.Timeout/2 }

// Stale tells whether the picture is too old to accept a key by.
func (r *Registry) Stale() bool { return r.age() > r.options.Stale }

func (r *Registry) age() time.Duration {
	fetched := r.fetched.Load()
	if fetched == 0 {
		return 1<<63 - 1
	}
	return r.options.Now().Sub(time.Unix(0, fetched))
}

// change updates one entry in the backing, and takes it into the picture.
func (r *Registry) change(ctx context.Context, kind Kind, id string, change func(old []byte) ([]byte, error)) error {
	r.mu.Lock()
	backing, err := r.opened()
	r.mu.Unlock()
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, r.options.Timeout)
	defer cancel()
	if err := backing.Update(bounded, kind, id, change); err != nil {
		return err
	}
	// The change is made. Where it can't be read back now, it will be by itself.
	if err := r.Refresh(ctx); err != nil && !errors.Is(err, ErrUnavailable) {
		return err
	}
	return nil
}
