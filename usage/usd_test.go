package usage

import (
	"math"
	"testing"
)

func TestUSDIsAnExactDecimal(t *testing.T) {
	for n, want := range map[USD]string{
		0: "0", 1: "0.000000001", 1_500_000_000: "1.5", 25_000_000_000: "25", 123_456_789: "0.123456789", 100: "0.0000001",
		-2_500_000_000: "-2.5", math.MaxInt64: "9223372036.854775807", math.MinInt64: "-9223372036.854775808",
	} {
		text, _ := n.MarshalJSON()
		if string(text) != want || n.String() != want {
			t.Errorf("%d is %s, want %s", int64(n), text, want)
		}
		if n == math.MinInt64 {
			continue
		}
		var again USD
		if err := again.UnmarshalJSON(text); err != nil || again != n {
			t.Errorf("%s is read as %d, %v", text, int64(again), err)
		}
	}
}
