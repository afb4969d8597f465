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

// ClientOptions are the options of [Opener]. URLs is required; the zero value of every other field is
// useful.
type ClientOptions struct {
	// URLs are the addresses of Redis: redis://, rediss:// (TLS) or unix://, optionally with a user, a
	// password and a database number: redis://user:password@host:6379/0. Several URLs are nodes of one
	// Cluster; the client discovers the other nodes. Give at least two nodes of a Cluster. With
	// Sentinel, the URLs are those of the sentinels.
	URLs []string

	// Sentinel is the name of the master that the sentinels at URLs monitor. Default: no sentinels.
	Sentinel string

	// Username and Password are the credentials of Redis, and override those in a URL. Default: those
	// of the URLs.
	Username, Password string

	// Credentials returns the user and the password for each new connection to Redis, so that they may
	// change while the client is open; open connections keep theirs. If it returns an error, which must
	// not contain secrets, the connection fails. Default: Username and Password, or those of the URLs.
	Credentials func() (username, password string, err error)

	// SentinelUsername and SentinelPassword are the credentials of the sentinels. Default: none.
	SentinelUsername, SentinelPassword string

	// TLS is the TLS configuration for rediss: URLs. If set, redis: URLs use TLS too. Default: Go's,
	// with the system's root certificates.
	TLS *tls.Config
}

// Opener checks the options and returns a function that opens a client of a standalone Redis, a Sentinel
// set or a Cluster. A gate uses one client for everything: each call has a timeout of its own, and there
// are enough connections that slow calls do not delay admissions. Opener does not use the network, so that
// a configuration can be validated without running it. Its errors contain no secrets.
func Opener(opts ClientOptions) (open func() redis.UniversalClient, err error) {
	if len(opts.URLs) == 0 {
		return nil, errors.New("redis: no URL")
	}
	parsed := make([]*redis.Options, len(opts.URLs))
	addrs := make([]string, len(parsed))
	for i, u := range opts.URLs {
		if parsed[i], err = parseURL(u); err != nil {
			return nil, fmt.Errorf("redis URL %d of %d: %w", i+1, len(opts.URLs), err)
		}
		addrs[i] = parsed[i].Addr
	}
	base, err := agreed(parsed)
	if err != nil {
		return nil, err
	}
	opts.override(base)
	switch {
	case opts.Sentinel != "" && base.Network == "unix":
		return nil, errors.New("redis: sentinels are reached by redis:// or rediss://, not by a unix socket")
	case opts.Sentinel != "":
		return func() redis.UniversalClient { return redis.NewFailoverClient(failoverOptions(&opts, base, addrs)) }, nil
	case len(addrs) > 1 && base.DB != 0:
		return nil, errors.New("redis: a Cluster has only database 0")
	case len(addrs) > 1:
		return func() redis.UniversalClient { return redis.NewClusterClient(clusterOptions(base, addrs)) }, nil
	default:
		return func() redis.UniversalClient { return redis.NewClient(singleOptions(base)) }, nil
	}
}

// override replaces what o overrides in base, the options of a URL.
func (o *ClientOptions) override(base *redis.Options) {
	if o.Username != "" {
		base.Username = o.Username
	}
	if o.Password != "" {
		base.Password = o.Password
	}
	if credentials := o.Credentials; credentials != nil {
		base.CredentialsProviderContext = func(context.Context) (username, password string, err error) {
			if username, password, err = credentials(); err != nil {
				err = &limiter.Unavailable{Reason: limiter.ReasonAuth, Err: err}
			}
			return username, password, err
		}
	}
	if o.TLS != nil {
		base.TLSConfig = o.TLS.Clone()
	} else if len(o.URLs) > 1 && base.TLSConfig != nil {
		// Verify each node by its own name, not by that of the first.
		base.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
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
	// free connection until their timeout. Of slow calls, to usage and to keys, only a few run at once.
	o.PoolSize = max(16, 8*runtime.GOMAXPROCS(0))
	o.PipelinePoolSize = 6 // the settler, maintain, two of usage, stored responses, cooldowns
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

func failoverOptions(opts *ClientOptions, base *redis.Options, addrs []string) *redis.FailoverOptions {
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
