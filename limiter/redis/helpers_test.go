package redis

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/amanycodes/pine-gate/limiter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rule returns the rule of a key in the words of the configuration.
func rule(id, words string) *limiter.Rule {
	l, err := limiter.ParseLimit(strings.Fields(words))
	if err != nil {
		panic(err)
	}
	return limiter.NewRule(limiter.ScopeKey, id, l)
}
