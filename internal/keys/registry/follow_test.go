//go:build unix

package registry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/redistest"
)

// patience is the timeout for asynchronous events.
const patience = 20 * time.Second

// eventually waits until a condition holds, and checks it after each change.
func eventually(t *testing.T, r *Registry, what string, holds func() bool) {
	t.Helper()
	changed := make(chan struct{}, 1)
	defer r.Watch(func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	})()
	for deadline := time.After(patience); !holds(); {
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("waiting until %s", what)
		}
	}
}

func TestAnotherGateLearnsOfChangesAndOfARevocation(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	open := func() (Storage, error) { return NewRedis(server.Client(), "pinegate"), nil }
	here, there := New(open, Options{}), New(open, Options{Poll: 20 * time.Millisecond})
	there.Start()
	defer here.Close()
	defer there.Close()

	secret := create(t, here, "alice", KeySpec{})
	hash := keys.HashSecret(secret)
	open4 := func() int {
		n := 0
		for _, k := range there.RuntimeKeys(time.Now()).Keys {
			n += len(k.Hashes)
			if len(k.Hashes) == 1 && !k.Hashes[0].Equal(hash) {
				t.Error("another hash")
			}
		}
		return n
	}
	eventually(t, there, "the key is there", func() bool { return open4() == 1 })
	if _, err := here.RevokeKey(context.Background(), "test", "alice"); err != nil {
		t.Fatal(err)
	}
	eventually(t, there, "the key is revoked", func() bool { return open4() == 0 })
	if err := here.DeleteKey(context.Background(), "test", "alice"); err != nil {
		t.Fatal(err)
	}
	eventually(t, there, "the key is gone", func() bool { return there.Snapshot().Key("alice") == nil })

	create(t, here, "bob", KeySpec{})
	eventually(t, there, "the second key is there", func() bool { return there.Snapshot().Key("bob") != nil })
	server.Flush()
	eventually(t, there, "what Redis has lost is gone", func() bool { return there.Snapshot().Key("bob") == nil })
	create(t, here, "carol", KeySpec{})
	eventually(t, there, "a new history is followed", func() bool { return there.Snapshot().Key("carol") != nil })
}

func TestAStorageThatIsUnavailableIsReportedAndLeavesTheSnapshotStale(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	c := newClock()
	var failed []bool // by refresh
	r := New(func() (Storage, error) { return NewRedis(server.Client(), "pinegate"), nil },
		Options{Now: c.Now, Stale: time.Minute, OnRefresh: func(err error) { failed = append(failed, err != nil) }})
	defer r.Close()
	ctx := context.Background()
	if r.UpToDate() || !r.Stale() {
		t.Error("what was never fetched is neither current nor good")
	}
	create(t, r, "alice", KeySpec{})
	if !r.UpToDate() || r.Stale() {
		t.Error("what was just fetched is both")
	}
	server.Kill()
	for range 3 {
		if err := r.Refresh(ctx); !errors.Is(err, ErrUnavailable) {
			t.Errorf("refreshing without Redis: %v", err)
		}
	}
	if _, _, err := r.CreateKey(ctx, "test", "bob", "live", KeySpec{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("creating without Redis: %v", err)
	}
	c.Add(30 * time.Second)
	if r.UpToDate() || r.Stale() || r.Snapshot().Key("alice") == nil {
		t.Error("after half the time the snapshot is not current, but good")
	}
	c.Add(31 * time.Second)
	if !r.Stale() {
		t.Error("after the time it is stale")
	}
	server.Restart()
	if err := r.Refresh(ctx); err != nil || r.Stale() || !r.UpToDate() {
		t.Errorf("after Redis is back: %v", err)
	}
	if want := []bool{false, true, true, true, false}; !slices.Equal(failed, want) {
		t.Errorf("refreshes that failed: %v, want %v", failed, want)
	}
}

func TestAFileBelongsToOneProcess(t *testing.T) {
	path := t.TempDir() + "/keys.db"
	first, err := OpenBolt(path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	r := New(func() (Storage, error) { return OpenBolt(path) }, Options{})
	defer r.Close()
	if err := r.Refresh(context.Background()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("opening a file that is open: %v", err)
	}
	if _, err := OpenBolt(t.TempDir()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("opening a directory: %v", err)
	}
}

func TestFollowingEndsWithClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	m := NewMemory()
	r := New(func() (Storage, error) { return m, nil }, Options{Poll: time.Millisecond})
	r.Start()
	r.Start()
	create(t, r, "alice", KeySpec{})
	for range 2 {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := r.CreateKey(context.Background(), "test", "bob", "live", KeySpec{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("creating after the end: %v", err)
	}
}

func TestACallerWhoLeavesSaysNothingOfTheStorage(t *testing.T) {
	server := redistest.Standalone(t, redistest.Options{})
	var reported []error
	r := New(func() (Storage, error) { return NewRedis(server.Client(), "pinegate"), nil },
		Options{OnRefresh: func(err error) { reported = append(reported, err) }})
	defer r.Close()
	create(t, r, "alice", KeySpec{})
	left, leave := context.WithCancel(context.Background())
	leave()
	if err := r.Refresh(left); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a question whose asker has left: %v", err)
	}
	if len(reported) != 1 || reported[0] != nil { // that after the creation
		t.Errorf("the storage was taken for unavailable: %v", reported)
	}
}
