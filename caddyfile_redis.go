package pinegate

import (
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const (
	aRedisURL    = "redis://host:port, rediss://host:port or unix:///path, or a placeholder for all of it"
	aPlaceholder = "{env.NAME} or {file./path}"
)

// parseRedis reads the URLs and the block of `store redis`.
func (c *StoreConfig) parseRedis(d *caddyfile.Dispenser) error {
	r := new(RedisConfig)
	c.Redis = r
	if err := listWord(&r.URLs, aRedisURL, checkRedisURL).parse(d); err != nil {
		return err
	}
	start := *d
	set := func(mode string) func() { return func() { r.Outage = mode } }
	err := parseBlock(d, words{
		"outage":   choiceWord(map[string]func(){"shadow": set("shadow"), "deny": set("deny"), "allow": set("allow")}),
		"replicas": singleWord(&r.Replicas, "a positive number", parseReplicas),
		"slices": {parse: func(d *caddyfile.Dispenser) error {
			return d.Err("slices is gone: every request is decided in Redis; remove the line")
		}},
		"timeout":           singleWord(&r.Timeout, aDuration, parseDuration),
		"prefix":            textWord(&r.Prefix, "what the names of keys begin with"),
		"journal":           textWord(&c.Dir, "a directory"),
		"retention":         singleWord(&c.Retention, aDuration, parseDuration),
		"username":          textWord(&r.Username, "the name of a user"),
		"password":          credentialWord(&r.Password),
		"sentinel":          textWord(&r.Sentinel, "the name of the master"),
		"sentinel_username": textWord(&r.SentinelUsername, "the name of a user"),
		"sentinel_password": credentialWord(&r.SentinelPassword),
		"tls":               {parse: r.parseTLS},
	}, nil)
	if err != nil {
		return err
	}
	if err := r.check(); err != nil {
		return start.WrapErr(err)
	}
	return nil
}

func (r *RedisConfig) parseTLS(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), "tls")
	}
	r.TLS = new(RedisTLSConfig)
	return parseBlock(d, words{
		"ca":          listWord(&r.TLS.CA, "PEM files", nil),
		"cert":        textWord(&r.TLS.Cert, "a PEM file"),
		"key":         textWord(&r.TLS.Key, "a PEM file"),
		"server_name": textWord(&r.TLS.ServerName, "a host name"),
	}, nil)
}

// credentialWord is a word with one secret that must be sent, so that the config
// can only hold a placeholder of it. No error quotes the secret.
func credentialWord(to *string) word {
	return word{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		arg, err := argument(d, aPlaceholder)
		if err != nil {
			return err
		}
		if err := parseCredential(arg); err != nil {
			return d.Errf("%s: %v", name, err)
		}
		*to = arg
		return nil
	}}
}

func parseReplicas(text string) (int, error) {
	n, err := parseCount(text)
	if err != nil {
		return 0, err
	}
	if n > math.MaxInt32 {
		return 0, fmt.Errorf("%s is too large", text)
	}
	return int(n), nil
}
