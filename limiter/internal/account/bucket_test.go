package account

import (
	"math"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/limiter"
)

// TestBucketIsExact compares the bucket with one in rational numbers, over amounts and pauses of all
// sizes, down to the fraction that a level has.
func TestBucketIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := func(label string) int64 {
			return rapid.Int64Range(1, rapid.SampledFrom([]int64{10, 1e6, limiter.MaxAmount}).Draw(t, label+" size")).Draw(t, label)
		}
		l := limiter.Limit{Unit: limiter.Tokens, Window: limiter.Window(rapid.IntRange(int(limiter.Second), int(limiter.Hour)).Draw(t, "window")), Amount: size("amount"), Burst: size("burst")}
		window := big.NewInt(int64(l.Window.Duration()))
		full := new(big.Int).Mul(big.NewInt(l.Burst), window)
		b, level := newBucket(Instant{}, limiter.NewRule(limiter.ScopeKey, "", l)), new(big.Int).Set(full)
		now := Instant{}
		for range 30 {
			now.Mono += rapid.Int64Range(-1, rapid.SampledFrom([]int64{1, 1e3, 1e9, 1e13, 1e17}).Draw(t, "pause size")).Draw(t, "pause")
			if elapsed := now.Mono - b.last; elapsed > 0 {
				level.Add(level, new(big.Int).Mul(big.NewInt(elapsed), big.NewInt(l.Amount)))
			}
			if level.Cmp(full) > 0 {
				level.Set(full)
			}
			b.Touch(now, l)
			got := new(big.Int).Mul(big.NewInt(b.Level), window)
			got.Add(got, big.NewInt(b.Fraction))
			if got.Cmp(level) != 0 {
				t.Fatalf("%s: the level is %d and %d parts, want %s parts", l, b.Level, b.Fraction, level)
			}

			n := rapid.Int64Range(1, l.Burst).Draw(t, "need")
			wait, _ := b.Wait(now, n)
			checkWait(t, *b, now, n, wait)
			if b.Level >= n {
				b.Take(n)
				level.Sub(level, new(big.Int).Mul(big.NewInt(n), window))
			}
		}
	})
}

// checkWait checks that after the wait there is room for n, and a nanosecond before there is not.
func checkWait(t *rapid.T, b Bucket, now Instant, n int64, wait time.Duration) {
	if wait == LongestWait || int64(wait) > math.MaxInt64-now.Mono {
		return
	}
	early, late := b, b
	late.Fill(Instant{Mono: max(now.Mono, b.last) + int64(wait)})
	if late.Level < n {
		t.Fatalf("there is no room for %d after %v", n, wait)
	}
	if wait == 0 {
		return
	}
	early.Fill(Instant{Mono: max(now.Mono, b.last) + int64(wait) - 1})
	if early.Level >= n {
		t.Fatalf("there is room for %d before %v", n, wait)
	}
}

func TestBucketIsFullAfterYears(t *testing.T) {
	r := limiter.NewRule(limiter.ScopeKey, "", limiter.Limit{Unit: limiter.Tokens, Window: limiter.Second, Amount: limiter.MaxAmount})
	b := newBucket(Instant{}, r)
	b.Take(limiter.MaxAmount)
	b.Fill(Instant{Mono: math.MaxInt64})
	if n, fraction := b.Room(); n != limiter.MaxAmount || fraction != 0 {
		t.Errorf("the level is %d and %d parts", n, fraction)
	}
	if wait := FillTime(limiter.MaxAmount, 0, limiter.Limit{Unit: limiter.Tokens, Window: limiter.Hour, Amount: 1}); wait != math.MaxInt64 {
		t.Errorf("an age is %v", wait)
	}
}
