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

// dialTimeout is the timeout of a dial. An admission waits no longer than its own timeout; the
// connection then serves the next one.
const dialTimeout = time.Second

// NewClient returns a client of the Redis in opts, for other data that a gate keeps there. It opens no
// connection. The caller must close the client.
func NewClient(opts Options) (redis.UniversalClient, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	client, _, err := newClient(&opts)
	return client, err
}

// newClient returns a client of a standalone Redis, a Sentinel set or a Cluster, and reports whether it
// is a Cluster.
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
		// Verify each node by its own name, not by that of the first.
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

// parseURL parses a URL. Its errors do not quote it, because it may contain a password.
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

// agreed returns the options that all URLs have in common apart from their addresses, or an error if
// they differ.
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

// singleOptions returns the options of one connection pool. It overrides go-redis's defaults, which
// send a command up to 4 times, dial 5 times before reporting an error, wait 5 seconds for each reply
// regardless of the context, and query the server's features on each connection.
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
	// Redis executes one call at a time, so more connections do not make it faster. Callers wait for a
	// free connection until their timeout.
	o.PoolSize = max(16, 8*runtime.GOMAXPROCS(0))
	o.PipelinePoolSize = 2 // the settler and maintain
	o.MinIdleConns = 1
	o.ConnMaxIdleTime = 5 * time.Minute
	return &o
}

// mayTalk reports an error if Redis requires a password on a new connection. A script call would not
// return that error: Redis closes an unauthenticated connection on a long command.
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

// clusterOptions returns the options of a Cluster client. The client follows MOVED and ASK, and meanwhile
// also resends calls that a node did not answer. That is harmless, because every script is idempotent by
// the id of a reservation.
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

// failed wraps the error of a call. On a Cluster it also makes the client reload the slot map, which the
// client does by itself after a redirect, but not when the node is gone.
func (r *Store) failed(err error) error {
	if c, ok := r.client.(*redis.ClusterClient); ok {
		c.ReloadState(context.Background())
	}
	return unavailable(err)
}
