package store

import (
	"sync"
	"sync/atomic"
	"testing"
)

// However many holders come and go at once, the reference is held while there is any
// of them, and dropped after the last one.
func TestLeasesHoldWhatTheyShare(t *testing.T) {
	var l refCount
	var refs, most atomic.Int64
	take := func() { refs.Add(1) }
	drop := func() { refs.Add(-1) }
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				l.acquire(take)
				n := refs.Load()
				if n < 1 {
					t.Error("somebody holds it, and nobody has a reference")
				}
				if n > most.Load() {
					most.Store(n)
				}
				l.release(drop)
			}
		})
	}
	all.Wait()
	if l.count() != 0 || refs.Load() != 0 {
		t.Errorf("%d hold it, with %d references", l.count(), refs.Load())
	}
	// One for the holders, and one more for each that is about to drop it.
	if most.Load() > 8 {
		t.Errorf("%d references", most.Load())
	}
}

func TestLeasesTakeOneReference(t *testing.T) {
	var l refCount
	refs := 0
	for range 3 {
		l.acquire(func() { refs++ })
	}
	for range 2 {
		l.release(func() { refs-- })
	}
	if refs != 1 || l.count() != 1 {
		t.Errorf("%d references for one of three that is left", refs)
	}
	if l.release(func() { refs-- }); refs != 0 {
		t.Error("the last one gives it back")
	}
}
