package redis

import (
	"context"
	"math"
	"strings"
	"sync"
	"testing"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

// Values that no gate wrote must neither admit everything nor break what else shares the call.
func TestADamagedCounterRefusesAsUnavailable(t *testing.T) {
	var mu sync.Mutex
	var logged []string
	s := redistest.Standalone(t, redistest.Options{})
	r := store(t, Options{Client: Dial(t, s.URL), OnError: func(err error) {
		mu.Lock()
		defer mu.Unlock()
		logged = append(logged, err.Error())
	}}, calm())
	nan, inf := math.NaN(), math.Inf(1)
	fine := rule("fine", "1000 requests/hour")
	for name, c := range map[string]struct {
		words string
		value string
	}{
		"a rate's level is NaN":        {"10 tokens/hour", string(packed(nil).numbers(nan, 0, 0, 10, 10, 0))},
		"a rate's level is infinite":   {"10 tokens/hour", string(packed(nil).numbers(inf, 0, 0, 10, 10, 0))},
		"a rate's time is NaN":         {"10 tokens/hour", string(packed(nil).numbers(0, 0, nan, 10, 10, 0))},
		"a rate's capacity is NaN":     {"10 tokens/hour", string(packed(nil).numbers(0, 0, 0, 10, nan, 0))},
		"a rate is text":               {"10 tokens/hour", "hello"},
		"a quota's use is NaN":         {"10 tokens/month", string(packed(nil).numbers(nan, 0, 0, 1e15, 1, 0))},
		"a quota's reserve is NaN":     {"10 tokens/month", string(packed(nil).numbers(0, nan, 0, 1e15, 1, 0))},
		"a quota's end is NaN":         {"10 tokens/month", string(packed(nil).numbers(0, 0, 0, nan, 1, 0))},
		"a quota is text":              {"10 tokens/month", "hello"},
		"permits are NaN":              {"10 concurrent", string(packed(nil).numbers(0, 1, 1, nan, 1e15))},
		"permits are less than none":   {"10 concurrent", string(packed(nil).numbers(0, 1, 1, -5, 1e15))},
		"permits are text":             {"10 concurrent", "hello"},
		"permits are of half a number": {"10 concurrent", string(packed(nil).numbers(0, 1, 1))},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := rule(name, c.words)
			held := admit(t, r, asking(1, fine, damaged))
			s.Do("set", r.counterKey(damaged), c.value)
			mu.Lock()
			logged = nil
			mu.Unlock()
			_, err := r.Reserve(context.Background(), asking(1, fine, damaged))
			fails(t, err, limiter.ReasonDamaged)
			mu.Lock()
			if len(logged) != 1 || !strings.Contains(logged[0], r.counterKey(damaged)) {
				t.Errorf("logged %q", logged)
			}
			mu.Unlock()
			if _, err = r.Peek(context.Background(), []*limiter.Rule{damaged}); err == nil {
				t.Error("its state can be read")
			}
			// What shares its calls goes on, and nothing was taken by the refused request.
			admit(t, r, asking(1, fine)).Settle(context.Background(), limiter.Usage{})
			held.Settle(context.Background(), limiter.Usage{})
			flushed(t, r)
			remains(t, r, fine, 1000)
			s.Do("del", r.counterKey(damaged))
			admit(t, r, asking(1, damaged))
		})
	}
}
