package pinegate

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/throttle"
)

// throttles holds the throttles by their configuration, so that a reload does not
// reset what a client has used.
var throttles = caddy.NewUsagePool()

type pooledThrottle struct{ *throttle.Throttle }

func (pooledThrottle) Destruct() error { return nil }

// throttleFor returns the throttle of a configuration, nil if it is off. A throttle
// lives as long as the process: there is one for each distinct configuration, and
// each is bounded.
func throttleFor(limit *config.Throttle) (*throttle.Throttle, error) {
	c := throttle.Config{}
	if limit != nil {
		if limit.Off {
			return nil, nil
		}
		if err := limit.Check(); err != nil {
			return nil, err
		}
		c = throttle.Config{All: limit.All, N: limit.Amount, Window: limit.Window.Duration(), Burst: limit.Burst}
	}
	value, _, err := throttles.LoadOrNew(c, func() (caddy.Destructor, error) {
		return pooledThrottle{throttle.New(c, 0, time.Now)}, nil
	})
	if err != nil {
		return nil, err
	}
	return value.(pooledThrottle).Throttle, nil
}
