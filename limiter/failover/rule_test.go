package failover

import (
	"strings"

	"github.com/amanycodes/pine-gate/limiter"
)

// rule returns the rule of a key in the words of the configuration.
func rule(id, words string) *limiter.Rule {
	l, err := limiter.ParseLimit(strings.Fields(words))
	if err != nil {
		panic(err)
	}
	return limiter.NewRule(limiter.ScopeKey, id, l)
}
