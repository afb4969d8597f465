package pinegate

import (
	"testing"

	"github.com/amanycodes/pine-gate/internal/config"
)

func TestWhatWaitsMayHoldATenthOfTheLargestBodyEach(t *testing.T) {
	for queue, want := range map[int64]int64{0: 10_000_000, 1: 10_000_000, 10: 10_000_000, 200: 200_000_000} {
		if got := capacityOf(&config.Backend{Queue: queue}, 10_000_000).Bytes; got != want {
			t.Errorf("a queue of %d: %d bytes, want %d", queue, got, want)
		}
	}
}
