package redis

import (
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Check reports an error if the options are invalid. It does not use the network, so that a configuration
// can be validated without running it. [New] accepts options that pass. Errors contain no secrets.
func (o *Options) Check() error {
	if len(o.URLs) == 0 {
		return errors.New("redis: no URL")
	}
	if strings.ContainsAny(o.Prefix, "{}") {
		return fmt.Errorf("redis: prefix %q: braces would put all keys on one node", o.Prefix)
	}
	all := make([]*redis.Options, len(o.URLs))
	for i, u := range o.URLs {
		parsed, err := parseURL(u)
		if err != nil {
			return fmt.Errorf("redis URL %d of %d: %w", i+1, len(o.URLs), err)
		}
		all[i] = parsed
	}
	base, err := agreed(all)
	switch {
	case err != nil:
		return err
	case o.Sentinel == "" && len(all) > 1 && base.DB != 0:
		return errors.New("redis: a Cluster has only database 0")
	case o.Sentinel != "" && base.Network == "unix":
		return errors.New("redis: sentinels are reached by redis:// or rediss://, not by a unix socket")
	}
	return nil
}
