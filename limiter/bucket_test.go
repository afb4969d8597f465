package limiter

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBucketIsExact compares the bucket with one in rational numbers, over amounts and pauses of all
// sizes, down to the fraction that a level has.
func TestBucketIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := func(label string) int64 {
			return rapid.Int64Range(1, rapid.SampledFrom([]int64{10, 1e6, MaxAmount}).Draw(t, label+" size")).Draw(t, label)
		}
		l := Limit{Tokens, Window(rapid.IntRange(int(Second), int(Hour)).Draw(t, "window")), size("amount"), size("burst")}
		window := big.NewInt(int64(l.Window.Duration()))
		full := new(big.Int).Mul(big.NewInt(l.Burst), window)
		b, level := newBucket(instant{}, NewRule(ScopeKey, "", l)), new(big.Int).Set(full)
		now := instant{}
		for range 30 {
			now.mono += rapid.Int64Range(-1, rapid.SampledFrom([]int64{1, 1e3, 1e9, 1e13, 1e17}).Draw(t, "pause size")).Draw(t, "pause")
			if elapsed := now.mono - b.last; elapsed > 0 {
				level.Add(level, new(big.Int).Mul(big.NewInt(elapsed), big.NewInt(l.Amount)))
			}
			if level.Cmp(full) > 0 {
				level.Set(full)
			}
			b.touch(now, l)
			got := new(big.Int).Mul(big.NewInt(b.level), window)
			got.Add(got, big.NewInt(b.fraction))
			if got.Cmp(level) != 0 {
				t.Fatalf("%s: the level is %d and %d parts, want %s parts", l, b.level, b.fraction, level)
			}

			n := rapid.Int64Range(1, l.Burst).Draw(t, "need")
			wait, _ := b.wait(now, n)
			checkWait(t, *b, now, n, wait)
			if b.level >= n {
				b.take(n)
				level.Sub(level, new(big.Int).Mul(big.NewInt(n), window))
			}
		}
	})
}

// checkWait tells that after the wait there is room for n, and a nanosecond before there is not.
func checkWait(t *rapid.T, b bucket, now instant, n int64, wait time.Duration) {
	if wait == math.MaxInt64 || int64(wait) > math.MaxInt64-now.mono {
		return
	}
	early, late := b, b
	late.fill(instant{mono: max(now.mono, b.last) + int64(wait)})
	if late.level < n {
		t.Fatalf("there is no room for %d after %v", n, wait)
	}
	if wait == 0 {
		return
	}
	early.fill(instant{mono: max(now.mono, b.last) + int64(wait) - 1})
	if early.level >= n {
		t.Fatalf("there is room for %d before %v", n, wait)
	}
}

func TestBucketIsFullAfterYears(t *testing.T) {
	r := NewRule(ScopeKey, "", Limit{Tokens, Second, MaxAmount, 0})
	b := newBucket(instant{}, r)
	b.take(MaxAmount)
	b.fill(instant{mono: math.MaxInt64})
	if n, fraction := b.room(); n != MaxAmount || fraction != 0 {
		t.Errorf("the level is %d and %d parts", n, fraction)
	}
	if wait := fillTime(MaxAmount, 0, Limit{Tokens, Hour, 1, 0}); wait != math.MaxInt64 {
		t.Errorf("an age is told as %v", wait)
	}
}
