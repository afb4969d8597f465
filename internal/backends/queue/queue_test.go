package queue

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// crowd holds requests that wait in a queue and records which of them began, in
// order.
type crowd struct {
	queue *Queue
	all   sync.WaitGroup

	mu      sync.Mutex
	entered []string
	refused []string // by key, with the reason
}

// comes starts a request of a key and returns once it is queued or refused. It
// must be called in a synctest bubble.
func (c *crowd) comes(ctx context.Context, key string) {
	c.comesWith(ctx, key, 0)
}

// comesWith is comes for a request that holds bytes.
func (c *crowd) comesWith(ctx context.Context, key string, bytes int64) {
	c.all.Go(func() {
		err := c.queue.Wait(ctx, key, bytes, func() {})
		c.mu.Lock()
		defer c.mu.Unlock()
		if err == nil {
			c.entered = append(c.entered, key)
		} else {
			c.refused = append(c.refused, fmt.Sprint(key, ": ", err))
		}
	})
	synctest.Wait()
}

// serves ends n requests, one after the other.
func (c *crowd) serves(n int) {
	for range n {
		c.queue.End(time.Time{})
		synctest.Wait()
	}
}

// bounded returns a backend whose capacity is in use.
func bounded(t *testing.T, capacity Capacity) *crowd {
	t.Helper()
	q := new(Queue)
	q.SetCapacity(capacity)
	for range capacity.Inflight {
		if !q.Begin() {
			t.Fatal("an idle backend has no room")
		}
	}
	if q.Begin() {
		t.Fatal("a busy backend has room")
	}
	return &crowd{queue: q}
}

func TestAHeavyKeyDoesNotStarveALightOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded(t, Capacity{Inflight: 1, Waiting: 2000, Wait: time.Hour})
		for range 1000 {
			c.comes(t.Context(), "heavy")
		}
		for range 10 {
			c.comes(t.Context(), "light")
		}
		c.serves(20)
		for i, key := range c.entered {
			if want := []string{"heavy", "light"}[i%2]; key != want {
				t.Fatalf("turn %d is of %s: %v", i, key, c.entered)
			}
		}
		if len(c.entered) != 20 {
			t.Errorf("%d of 20 places were given", len(c.entered))
		}
		c.comes(t.Context(), "late to come") // its turn comes after the next key's
		c.serves(2)
		if got := c.entered[20:]; fmt.Sprint(got) != "[heavy late to come]" {
			t.Errorf("then %v", got)
		}
		c.serves(1010 + 1 - 22)
		c.all.Wait()
		if c.queue.Waiting() != 0 || c.queue.InFlight() != 1 || len(c.queue.byKey) != 0 {
			t.Errorf("%d wait, %d are in flight, of %d keys", c.queue.Waiting(), c.queue.InFlight(), len(c.queue.byKey))
		}
	})
}

func TestAFullQueueEvictsFromTheLongestKeyQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded(t, Capacity{Inflight: 1, Waiting: 4, Wait: time.Hour})
		for _, key := range []string{"heavy", "heavy", "heavy", "heavy"} {
			c.comes(t.Context(), key)
		}
		const heavy, light = "heavy: the backend has no room for the request", "light: the backend has no room for the request"
		for i, step := range []struct{ key, refused string }{
			{"heavy", heavy},
			{"light", heavy}, // 3 and 1
			{"light", heavy}, // 2 and 2
			{"light", light}, // each has its half
			{"heavy", heavy},
			{"third", ""}, // evicts from either
		} {
			before := len(c.refused)
			c.comes(t.Context(), step.key)
			if len(c.refused) != before+1 || step.refused != "" && c.refused[before] != step.refused || c.queue.Waiting() != 4 {
				t.Fatalf("step %d: %v, and %d wait", i, c.refused[before:], c.queue.Waiting())
			}
		}
		c.serves(4)
		c.all.Wait()
		if len(c.entered) != 4 || c.entered[0] != "heavy" || c.entered[1] != "light" || c.entered[2] != "third" {
			t.Errorf("the turns were %v", c.entered)
		}
	})
}

func TestAQueueIsFullWhenItHoldsItsBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded(t, Capacity{Inflight: 1, Waiting: 10, Bytes: 100, Wait: time.Hour})
		for i, step := range []struct {
			key     string
			bytes   int64
			refused string // keys
			waiting int
		}{
			{"heavy", 40, "", 1},
			{"heavy", 40, "", 2},
			{"heavy", 30, "heavy", 2},
			{"light", 20, "", 3},       // all is taken
			{"other", 30, "heavy", 3},  // has less than 80, and evicts the newest of those
			{"third", 50, "third", 3},  // no other key has more
			{"light", 10, "", 4},       // all is taken again
			{"light", 10, "light", 4},  // heavy would have no more than that
			{"fourth", 35, "heavy", 4}, // 40 is more
			{"heavy", 0, "", 5},
			{"heavy", 5, "", 6},
		} {
			before := len(c.refused)
			c.comesWith(t.Context(), step.key, step.bytes)
			got := ""
			for _, refused := range c.refused[before:] {
				key, _, _ := strings.Cut(refused, ":")
				got += key
			}
			if got != step.refused || c.queue.Waiting() != step.waiting {
				t.Fatalf("step %d: refused %q, and %d wait", i, got, c.queue.Waiting())
			}
		}
		c.serves(6)
		c.all.Wait()
		if c.queue.bytes != 0 {
			t.Errorf("an empty queue holds %d bytes", c.queue.bytes)
		}
	})
}

func TestNobodyIsEvictedForARequestThatStillDoesNotFit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded(t, Capacity{Inflight: 1, Waiting: 10, Bytes: 100, Wait: time.Hour})
		c.comesWith(t.Context(), "heavy", 30)
		c.comesWith(t.Context(), "heavy", 30)
		c.comesWith(t.Context(), "light", 40)
		c.comesWith(t.Context(), "third", 50) // the 30 that heavy has too much are not enough
		if len(c.refused) != 1 || c.refused[0][:5] != "third" || c.queue.Waiting() != 3 {
			t.Errorf("refused %v, and %d wait", c.refused, c.queue.Waiting())
		}
		c.comesWith(t.Context(), "third", 29) // the 30 suffice for 29
		if len(c.refused) != 2 || c.refused[1][:5] != "heavy" || c.queue.Waiting() != 3 {
			t.Errorf("refused %v, and %d wait", c.refused, c.queue.Waiting())
		}
		c.serves(3)
		c.all.Wait()
	})
}

func TestAQueueOfManyKeysIsFullForOneMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded(t, Capacity{Inflight: 1, Waiting: 3, Wait: time.Hour})
		for _, key := range []string{"a", "b", "c", "d"} {
			c.comes(t.Context(), key)
		}
		if len(c.refused) != 1 || c.refused[0][0] != 'd' {
			t.Errorf("refused: %v", c.refused)
		}
		c.serves(3)
		c.all.Wait()
	})
}

func TestAWaiterThatLeavesOrWaitsTooLongIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded(t, Capacity{Inflight: 1, Waiting: 10, Wait: time.Minute})
		began := time.Now()
		impatient, leave := context.WithCancelCause(t.Context())
		c.comes(impatient, "impatient")
		c.comes(t.Context(), "patient")
		gone := errors.New("gone")
		leave(gone)
		synctest.Wait()
		if fmt.Sprint(c.refused) != "[impatient: gone]" || c.queue.Waiting() != 1 {
			t.Errorf("refused: %v; %d wait", c.refused, c.queue.Waiting())
		}
		c.all.Wait()
		var full *FullError
		if took := time.Since(began); took != time.Minute || c.queue.Waiting() != 0 || len(c.refused) != 2 {
			t.Errorf("after %v: %v", took, c.refused)
		}
		if err := c.queue.Wait(t.Context(), "third", 0, func() {}); !errors.As(err, &full) || !full.Late {
			t.Errorf("late, and it got %v", err)
		}
		c.serves(1)
		if n := c.queue.InFlight(); n != 0 || !c.queue.Begin() {
			t.Errorf("%d are in flight", n)
		}
	})
}

func TestARefusalEstimatesWhenThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := bounded(t, Capacity{Inflight: 2, Waiting: 5, Wait: time.Hour})
		if got := c.queue.RetryAfter(); got != time.Second {
			t.Errorf("of a backend nothing is known of: %v", got)
		}
		began := time.Now()
		time.Sleep(8 * time.Second)
		c.queue.End(began)
		if !c.queue.Begin() {
			t.Fatal("no room")
		}
		for range 4 {
			c.comes(t.Context(), "alice")
		}
		if got, want := c.queue.RetryAfter(), 20*time.Second; got != want { // five of 8 s, two at once
			t.Errorf("got %v, want %v", got, want)
		}
		for range 100 {
			c.queue.recordService(time.Duration(1) << 60) // forged
		}
		if got := c.queue.RetryAfter(); got != time.Minute {
			t.Errorf("of a backend that takes years: %v", got)
		}
		c.queue.SetCapacity(Capacity{})
		c.all.Wait()
	})
}

func TestACapacityMayChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := new(Queue)
		for range 3 {
			q.Begin() // while there is no bound
		}
		q.SetCapacity(Capacity{Inflight: 2, Waiting: 10, Wait: time.Hour})
		c := &crowd{queue: q}
		for range 5 {
			c.comes(t.Context(), "alice")
		}
		c.serves(1)
		if len(c.entered) != 0 {
			t.Error("those that came before the bound do not count")
		}
		c.serves(1)
		if len(c.entered) != 1 {
			t.Errorf("%d have entered, want 1", len(c.entered))
		}

		q.InitCapacity(Capacity{Inflight: 100}) // from a configuration that may never run
		synctest.Wait()
		if len(c.entered) != 1 {
			t.Error("what is only looked at holds")
		}
		q.SetCapacity(Capacity{Inflight: 3, Waiting: 1, Wait: time.Hour})
		synctest.Wait()
		if len(c.entered) != 2 || q.InFlight() != 3 {
			t.Errorf("%d have entered, %d are in flight", len(c.entered), q.InFlight())
		}
		c.comes(t.Context(), "bob") // three still wait, with room for one
		if len(c.refused) != 1 || q.Waiting() != 3 {
			t.Errorf("refused: %v; %d wait", c.refused, q.Waiting())
		}
		q.SetCapacity(Capacity{Inflight: 1})
		if err := q.Wait(t.Context(), "bob", 0, func() { t.Error("he waits") }); !errors.As(err, new(*FullError)) {
			t.Errorf("there is no queue any more, and it got %v", err)
		}
		c.serves(3)
		if len(c.entered) != 3 || q.InFlight() != 1 {
			t.Errorf("%d have entered, %d are in flight", len(c.entered), q.InFlight())
		}
		q.SetCapacity(Capacity{})
		c.all.Wait()
		if len(c.entered) != 5 || !q.Begin() {
			t.Errorf("%d have entered", len(c.entered))
		}
		full, _ := q.Full()
		if full {
			t.Error("a backend without a bound is full")
		}
	})
}

// Callers that come, leave and are served concurrently: the bound is never
// exceeded, and in the end nothing is in flight.
func TestAStormTakesNoPlaceTwiceAndLeavesNone(t *testing.T) {
	const most = 4
	q := new(Queue)
	q.SetCapacity(Capacity{Inflight: most, Waiting: 20, Bytes: 200, Wait: 2 * time.Millisecond})
	var there, served, worst atomic.Int64
	var storm sync.WaitGroup
	for caller := range 32 {
		storm.Go(func() {
			for range 200 {
				ctx, cancel := context.WithCancel(t.Context())
				switch rand.N(3) {
				case 0:
					go cancel()
				case 1:
					time.AfterFunc(time.Duration(rand.N(500))*time.Microsecond, cancel)
				}
				if q.Begin() || q.Wait(ctx, fmt.Sprint("key ", caller%5), int64(caller), func() {}) == nil {
					if n := there.Add(1); n > most {
						worst.Store(n)
					}
					served.Add(1)
					time.Sleep(time.Duration(rand.N(100)) * time.Microsecond)
					there.Add(-1)
					q.End(time.Now())
				}
				cancel()
			}
		})
	}
	storm.Wait()
	if worst.Load() > 0 || served.Load() == 0 {
		t.Errorf("%d were there at once, %d in all", worst.Load(), served.Load())
	}
	if q.InFlight() != 0 || q.Waiting() != 0 || q.bytes != 0 || q.queues.Len() != 0 || len(q.byKey) != 0 {
		t.Errorf("behind the storm %d are in flight, %d wait, in %d key queues", q.InFlight(), q.Waiting(), q.queues.Len())
	}
}
