package throttle

import (
	"testing"
	"time"
)

// tracked returns the number of buckets and checks the invariants of the table.
func tracked(t testing.TB, th *Throttle) (n int) {
	t.Helper()
	for i := range th.table {
		s := &th.table[i]
		if len(s.buckets) != len(s.order) || len(s.order) > s.capacity {
			t.Fatalf("%d buckets, %d in order, of %d", len(s.buckets), len(s.order), s.capacity)
		}
		for j, b := range s.order {
			if b.index != j || s.buckets[b.address] != b || j > 0 && s.order[(j-1)/2].full > b.full {
				t.Fatalf("bucket %d is not in order", j)
			}
		}
		n += len(s.order)
	}
	return n
}

func TestTableIsBounded(t *testing.T) {
	for _, capacity := range []int{1, 100, 1000, 1 << 16} {
		th := New(Config{}, capacity, newClock().now)
		for i := range 2*capacity + 10_000 {
			guess(th, nth(i))
		}
		if n := tracked(t, th); n > capacity || n < capacity*9/10 {
			t.Errorf("%d addresses in a table of %d", n, capacity)
		}
	}
}

func TestTableShrinksWhenAFloodIsOver(t *testing.T) {
	c := newClock()
	th := New(Config{}, 1024, c.now)
	for i := range 1024 {
		guess(th, nth(i))
	}
	before := tracked(t, th)
	c.advance(time.Minute)
	for range 500 { // a few addresses that fail repeatedly
		for i := range 64 {
			guess(th, nth(1_000_000+i))
		}
		c.advance(time.Minute)
	}
	if after := tracked(t, th); before < 900 || after > 150 {
		t.Errorf("%d addresses, then %d", before, after)
	}
}

func TestManyAddressesDontWashOutAGuesser(t *testing.T) {
	const capacity = 128
	th := New(Config{}, capacity, newClock().now)
	guesser := ip("192.0.2.1")
	looked := guesses(th, guesser, 1000)
	for i := range 20 * capacity { // each fails once: 20 times the capacity
		guess(th, nth(i))
		if i%10 == 0 {
			looked += guesses(th, guesser, 10)
		}
	}
	if looked != 100 {
		t.Errorf("%d guesses from one address", looked)
	}
}

// Two addresses that evict each other's bucket must not get a full bucket each
// time, even if all others in the table are empty.
func TestFullTableInheritsWhatWasUsed(t *testing.T) {
	const capacity = 64
	th := New(Config{}, capacity, newClock().now)
	for i := range capacity {
		guesses(th, nth(i), 1000)
	}
	looked := 0
	for range 1000 {
		for i := range 2 {
			if guess(th, nth(1_000_000+i)) {
				looked++
			}
		}
	}
	if looked > 4 {
		t.Errorf("%d guesses from two addresses", looked)
	}
}
