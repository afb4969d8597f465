package caddyfile

import (
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/config"
)

// parseRedis parses the URLs and the block of `store redis`.
func parseRedis(d *caddyfile.Dispenser, c *config.Store) error {
	r := new(config.Redis)
	c.Redis = r
	if err := listOf(&r.URLs, config.ExpectedRedisURL, config.CheckRedisURL).parse(d); err != nil {
		return err
	}
	start := *d
	err := parseBlock(d, subdirectives{
		"outage":            outageOf(&r.Outage),
		"replicas":          valueOf(&r.Replicas, "a positive number", parseReplicas),
		"slices":            gone("slices is gone: every request is decided in Redis; remove the line"),
		"timeout":           valueOf(&r.Timeout, aDuration, parseDuration),
		"prefix":            textOf(&r.Prefix, "what the names of keys begin with"),
		"journal":           textOf(&c.Dir, "a directory"),
		"retention":         valueOf(&c.Retention, aDuration, parseDuration),
		"username":          textOf(&r.Username, "the name of a user"),
		"password":          credentialOf(&r.Password),
		"sentinel":          textOf(&r.Sentinel, "the name of the master"),
		"sentinel_username": textOf(&r.SentinelUsername, "the name of a user"),
		"sentinel_password": credentialOf(&r.SentinelPassword),
		"tls":               {parse: func(d *caddyfile.Dispenser) error { return parseTLS(d, r) }},
	}, nil)
	if err != nil {
		return err
	}
	if err := r.Check(); err != nil {
		return start.WrapErr(err)
	}
	return nil
}

// outageOf parses the behavior of limits while Redis is unavailable.
func outageOf(to *string) subdirective {
	set := func(mode string) func() { return func() { *to = mode } }
	modes := oneOf(map[string]func(){"local": set("local"), "deny": set("deny"), "allow": set("allow")})
	return subdirective{parse: func(d *caddyfile.Dispenser) error {
		if next := *d; next.NextArg() && next.Val() == "shadow" {
			return d.Err("outage: shadow is called local now: write outage local")
		}
		return modes.parse(d)
	}}
}

func parseTLS(d *caddyfile.Dispenser, r *config.Redis) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), "tls")
	}
	r.TLS = new(config.RedisTLS)
	return parseBlock(d, subdirectives{
		"ca":          listOf(&r.TLS.CA, "PEM files", nil),
		"cert":        textOf(&r.TLS.Cert, "a PEM file"),
		"key":         textOf(&r.TLS.Key, "a PEM file"),
		"server_name": textOf(&r.TLS.ServerName, "a host name"),
	}, nil)
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
