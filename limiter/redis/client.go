package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/amanycodes/pine-gate/limiter"
)

// dialTimeout is how long a connection may take to come up. An admission waits for no more than its
// own budget; the connection is there for the next.
const dialTimeout = time.Second

// NewClient makes a client of the Redis that the options name, for what else a gate keeps there. It
// opens no connection, and it is the caller's to close.
func NewClient(opts Options) (redis.UniversalClient, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	client, _, err := newClient(&opts)
	return client, err
}

// newClient makes the client of a standalone Redis, a Sentinel set or a Cluster.
func newClient(opts *Options) (_ redis.UniversalClient, cluster bool, _ error) {
	parsed := make([]*redis.Options, len(opts.URLs))
	for i, u := range opts.URLs {
		o, err := parseURL(u)
		if err != nil {
			return nil, false, fmt.Errorf("redis URL %d of %d: %w", i+1, len(opts.URLs), err)
		}
		parsed[i] = o
	}
	base, err := agreed(parsed)
	if err != nil {
		return nil, false, err
	}
	if opts.Username != "" {
		base.Username = opts.Username
	}
	if opts.Password != "" {
		base.Password = opts.Password
	}
	if opts.Credentials != nil {
		base.CredentialsProviderContext = func(context.Context) (username, password string, err error) {
			if username, password, err = opts.Credentials(); err != nil {
				err = &limiter.Unavailable{Reason: limiter.ReasonAuth, Err: err}
			}
			return username, password, err
		}
	}
	if opts.TLS != nil {
		base.TLSConfig = opts.TLS.Clone()
	} else if len(parsed) > 1 && base.TLSConfig != nil {
		// The name to be verified is that of each node, not of the first.
		base.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	addrs := make([]string, len(parsed))
	for i, o := range parsed {
		addrs[i] = o.Addr
	}
	switch {
	case opts.Sentinel != "":
		return redis.NewFailoverClient(failoverOptions(opts, base, addrs)), false, nil
	case len(addrs) > 1:
		if base.DB != 0 {
			return nil, false, errors.New("redis: a Cluster has only database 0")
		}
		return redis.NewClusterClient(clusterOptions(base, addrs)), true, nil
	default:
		return redis.NewClient(singleOptions(base)), false, nil
	}
}

// parseURL reads a URL. Its errors do not quote it, for it may hold a password.
func parseURL(s string) (*redis.Options, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("not a URL: expected redis://, rediss:// or unix://")
	}
	switch u.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, fmt.Errorf("unknown scheme %q: expected redis, rediss or unix", u.Scheme)
	}
	for name := range u.Query() {
		if name != "db" {
			return nil, fmt.Errorf("unknown parameter %q: expected db, or none", name)
		}
	}
	o, err := redis.ParseURL(s)
	if err != nil {
		return nil, errors.New("expected redis://[user:password@]host[:port][/database], or unix://[user:password@]/path[?db=database]")
	}
	return o, nil
}

// agreed returns what all URLs say beside their addresses.
func agreed(all []*redis.Options) (*redis.Options, error) {
	first := all[0]
	for i, o := range all {
		if o.Username != first.Username || o.Password != first.Password || o.DB != first.DB || (o.TLSConfig == nil) != (first.TLSConfig == nil) {
			return nil, fmt.Errorf("redis URL %d of %d: user, password, database and scheme must be those of the first", i+1, len(all))
		}
		if o.Network == "unix" && len(all) > 1 {
			return nil, fmt.Errorf("redis URL %d of %d: a unix socket is one Redis, not a node of several", i+1, len(all))
		}
	}
	return first, nil
}

// singleOptions are the options of one connection pool. Several of go-redis's defaults would hurt: it
// sends a command up to 4 times, dials 5 times before it reports an error, waits 5 seconds for each
// answer whatever the context says, and asks each server on each connection what it can.
func singleOptions(base *redis.Options) *redis.Options {
	o := *base
	o.Protocol = 2
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	o.OnConnect = mayTalk
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.DialTimeout = dialTimeout
	o.ContextTimeoutEnabled = true
	// Redis answers one call at a time: more connections do not make it faster, and callers who come
	// when all are taken wait for one as long as their budget lasts.
	o.PoolSize = max(16, 8*runtime.GOMAXPROCS(0))
	o.PipelinePoolSize = 2 // the settler and the keeper
	o.MinIdleConns = 1
	o.ConnMaxIdleTime = 5 * time.Minute
	return &o
}

// mayTalk reports an error if Redis wants a password for a new connection. Of a script's call it would
// not say so: to who has not logged in it closes the connection where a command is long.
func mayTalk(ctx context.Context, c *redis.Conn) error {
	if err := c.Ping(ctx).Err(); err != nil && reasonOf(err) == limiter.ReasonAuth {
		return err
	}
	return nil
}

func failoverOptions(opts *Options, base *redis.Options, addrs []string) *redis.FailoverOptions {
	o := singleOptions(base)
	return &redis.FailoverOptions{
		MasterName: opts.Sentinel, SentinelAddrs: addrs,
		SentinelUsername: opts.SentinelUsername, SentinelPassword: opts.SentinelPassword,
		Username: o.Username, Password: o.Password, CredentialsProviderContext: o.CredentialsProviderContext, DB: o.DB, TLSConfig: o.TLSConfig,
		OnConnect: o.OnConnect, Protocol: o.Protocol, DisableIdentity: o.DisableIdentity,
		MaxRetries: o.MaxRetries, DialerRetries: o.DialerRetries, DialTimeout: o.DialTimeout,
		ContextTimeoutEnabled: true, PoolSize: o.PoolSize, PipelinePoolSize: o.PipelinePoolSize,
		MinIdleConns: o.MinIdleConns, ConnMaxIdleTime: o.ConnMaxIdleTime,
	}
}

// clusterOptions are those of a Cluster. Its client follows MOVED and ASK, and while it does it also
// sends again what a node did not answer; that is harmless, because every script goes by the id of a
// reservation.
func clusterOptions(base *redis.Options, addrs []string) *redis.ClusterOptions {
	o := singleOptions(base)
	return &redis.ClusterOptions{
		Addrs: addrs, Username: o.Username, Password: o.Password, CredentialsProviderContext: o.CredentialsProviderContext, TLSConfig: o.TLSConfig,
		OnConnect: o.OnConnect, Protocol: o.Protocol, DisableIdentity: o.DisableIdentity, MaintNotificationsConfig: o.MaintNotificationsConfig,
		MaxRetries: o.MaxRetries, DialerRetries: o.DialerRetries, DialTimeout: o.DialTimeout,
		ContextTimeoutEnabled: true, PoolSize: o.PoolSize, PipelinePoolSize: o.PipelinePoolSize,
		ConnMaxIdleTime: o.ConnMaxIdleTime, DisableRoutingPolicies: true,
		ClusterStateReloadInterval: 10 * time.Second,
	}
}

// failed wraps the error of a call. On a Cluster it has the client ask again which node has what: it
// does so by itself when a node sends it elsewhere, but not when that node is gone.
func (r *Store) failed(err error) error {
	if c, ok := r.client.(*redis.ClusterClient); ok {
		c.ReloadState(context.Background())
	}
	return unavailable(err)
}
