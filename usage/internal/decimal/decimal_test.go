package decimal

import (
	"fmt"
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestNumbersAreReadExactly(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := fmt.Sprintf("%d.%se%d", rapid.Int64Range(0, 1e6).Draw(rt, "whole"), rapid.StringMatching(`[0-9]{1,20}`).Draw(rt, "fraction"), rapid.IntRange(-25, 3).Draw(rt, "exponent"))
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			rt.Fatal(text)
		}
		exact.Mul(exact, big.NewRat(1e12, 1)).Add(exact, big.NewRat(1, 2))
		want := new(big.Int).Quo(exact.Num(), exact.Denom())
		got, err := ParseNumber(text, 12)
		if !want.IsInt64() || want.Int64() >= 1e18 {
			if err == nil {
				rt.Fatalf("%s: %d", text, got)
			}
			return
		}
		if err != nil || got != want.Int64() {
			rt.Fatalf("%s: %d, %v; want %d", text, got, err, want)
		}
	})
}
