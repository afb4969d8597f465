package store

import (
	"cmp"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers/stored"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	redislimit "github.com/amanycodes/pine-gate/limiter/redis"
)

// peers is the state that the gates of one Redis share besides limits and
// usage: the owners of the responses that backends store, and the cooldowns of
// backends. While Redis is unavailable, each gate uses its own.
type peers struct {
	client    redis.UniversalClient
	shared    *stored.Shared
	responses *stored.Responses
	cooldowns *health.SharedCooldowns
}

// defaultResponsesTimeout bounds the lookup of a response that another gate may
// have recorded, if the store has no timeout.
const defaultResponsesTimeout = 50 * time.Millisecond

// newPeers starts sharing. It does not wait for the network.
func newPeers(s *localState, options redislimit.Options) (*peers, error) {
	quietRedis()
	client, err := redislimit.NewClient(options)
	if err != nil {
		return nil, err
	}
	prefix := cmp.Or(options.Prefix, redislimit.DefaultPrefix)
	p := &peers{client: client}
	p.shared = stored.Share(client, prefix, cmp.Or(options.Timeout, defaultResponsesTimeout))
	p.responses = s.responses.With(p.shared)
	p.cooldowns = health.ShareCooldowns(&s.backends, client, prefix)
	return p, nil
}

func (p *peers) Close() error {
	p.shared.Close()
	p.cooldowns.Close()
	return p.client.Close()
}

// openPeers returns the shared state, opening it on first use. It returns nil
// if the client cannot be created, although provisioning has checked the
// options.
func (l *sharedState) openPeers() *peers {
	if p := l.peers.Load(); p != nil {
		return p
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.peers.Load(); p != nil {
		return p
	}
	p, err := newPeers(l.localState, l.options)
	if err != nil {
		caddy.Log().Named("pinegate").Error("cannot share state with other gates", zap.Error(err))
		return nil
	}
	l.peers.Store(p)
	return p
}

// Responses returns the stored responses, shared with the other gates.
func (l *sharedState) Responses() *stored.Responses {
	if p := l.openPeers(); p != nil {
		return p.responses
	}
	return l.localState.Responses()
}
