package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/limiter/failover"
	redislimit "github.com/amanycodes/pine-gate/limiter/redis"
)

// Redis configures the Redis through which several gates share limits and
// usage, and what limits do while it is unavailable.
//
// Each gate writes its records to a journal in the directory of the store, and
// delivers them from there in the background: see [replica.Ledger]. A quota
// that is not in Redis, at the first request of its window or after Redis has
// lost data, is seeded with the usage of all gates.
//
// Credentials are placeholders, `{env.NAME}` or `{file./path}`. The user and
// password of Redis are read for each new connection, so that a file may change
// at any time; those of sentinels when the store is opened.
type Redis struct {
	// URLs of Redis or Valkey: `redis://host:port/database`, `rediss://` for
	// TLS, or `unix:///path`. Several URLs are nodes of one Cluster, or the
	// sentinels of `sentinel`. A URL that contains a password is a placeholder
	// as a whole.
	URLs []string `json:"urls"`

	// What limits do while Redis is unavailable. `local`: each gate enforces
	// its share of every limit in memory, from the last known state, and
	// charges Redis when it is available again. `deny`: every request is
	// refused with 503. `allow`: every request is admitted. Default: `local`.
	Outage string `json:"outage,omitempty"`

	// The number of gates by which `local` divides limits. Default: the number
	// counted in Redis before the outage; a gate that is started without Redis
	// counts only itself. Zero means the default.
	Replicas int `json:"replicas,omitempty"`

	// How long an admission may wait for Redis before Redis counts as
	// unavailable; after that no request waits until it is available again.
	// Default: 50ms. Zero means the default.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// The prefix of all keys in Redis: gates with the same prefix share their
	// limits. Default: `pinegate`.
	Prefix string `json:"prefix,omitempty"`

	// The name of the master that the sentinels at the URLs monitor. Default:
	// no sentinels.
	Sentinel string `json:"sentinel,omitempty"`

	// The user of Redis, who must be permitted scripts and their commands on
	// keys with the prefix. Default: the default user.
	Username string `json:"username,omitempty"`

	// The user's password: a placeholder. Default: none.
	Password string `json:"password,omitempty"`

	// The user of the sentinels and its password, a placeholder. Default: none.
	SentinelUsername string `json:"sentinel_username,omitempty"`
	SentinelPassword string `json:"sentinel_password,omitempty"`

	// TLS settings besides `rediss://`; with them `redis://` uses TLS, too.
	// Certificates are always verified. Default: TLS for `rediss://`, with the
	// system's roots.
	TLS *RedisTLS `json:"tls,omitempty"`
}

// RedisTLS configures TLS to Redis. Files are read when the store is opened.
type RedisTLS struct {
	// PEM files of trusted authorities. Default: the system's.
	CA []string `json:"ca,omitempty"`

	// PEM files of the gate's own certificate and key, if Redis requires one.
	// Default: none.
	Cert string `json:"cert,omitempty"`
	Key  string `json:"key,omitempty"`

	// The name in Redis's certificate. Default: the host of the URL.
	ServerName string `json:"server_name,omitempty"`
}

// ExpectedRedisURL describes a URL of Redis in messages.
const ExpectedRedisURL = "redis://host:port, rediss://host:port or unix:///path, or a placeholder for all of it"

// CheckRedisURL refuses URLs with a password in clear text, which would be part of
// the configuration. Its errors do not contain the URL.
func CheckRedisURL(text string) error {
	if strings.ContainsAny(text, "{}") {
		return CheckCredential(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("a URL can't be read: expected " + ExpectedRedisURL)
	}
	if _, has := u.User.Password(); has {
		return errors.New("a password in a URL would stand in the config, which is stored and shown: write it as password {env.NAME}, or the whole URL as {env.NAME}")
	}
	_, err = redislimit.Opener(redislimit.ClientOptions{URLs: []string{text}})
	return err
}

// Check refuses what the Caddyfile parser refuses: a JSON configuration has not
// passed it.
func (c *Redis) Check() error {
	if len(c.URLs) == 0 {
		return errors.New("store redis lacks a URL: expected " + ExpectedRedisURL)
	}
	for _, u := range c.URLs {
		if err := CheckRedisURL(u); err != nil {
			return fmt.Errorf("store redis: %w", err)
		}
	}
	if _, err := failover.ParseMode(c.Outage); err != nil {
		return fmt.Errorf("store redis: outage: %w", err)
	}
	for name, password := range map[string]string{"password": c.Password, "sentinel_password": c.SentinelPassword} {
		if password == "" {
			continue
		}
		if err := CheckCredential(password); err != nil {
			return fmt.Errorf("store redis: %s: %w", name, err)
		}
	}
	switch {
	case strings.ContainsAny(c.Prefix, "{}"):
		return fmt.Errorf("store redis: prefix %q: braces would put all keys on one node", c.Prefix)
	case c.Replicas < 0:
		return fmt.Errorf("store redis: replicas %d: expected a positive number", c.Replicas)
	case c.Timeout < 0:
		return fmt.Errorf("store redis: timeout %s: expected a positive duration", time.Duration(c.Timeout))
	case c.Sentinel == "" && (c.SentinelUsername != "" || c.SentinelPassword != ""):
		return errors.New("store redis: a user of sentinels without sentinel <master>")
	case c.TLS != nil && (c.TLS.Cert == "") != (c.TLS.Key == ""):
		return errors.New("store redis: tls: expected both cert and key, or neither")
	}
	return nil
}

// Opener checks the configuration, resolves placeholders, reads files and returns a
// function that opens a client of Redis. It does not use the network.
func (c *Redis) Opener() (open func() redis.UniversalClient, err error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	opts, err := c.clientOptions()
	if err != nil {
		return nil, err
	}
	if open, err = redislimit.Opener(opts); err != nil {
		return nil, fmt.Errorf("store redis: %w", err)
	}
	return open, nil
}

// clientOptions resolves placeholders, reads files and returns the options of the
// client.
func (c *Redis) clientOptions() (redislimit.ClientOptions, error) {
	opts := redislimit.ClientOptions{Sentinel: c.Sentinel, Username: c.Username, SentinelUsername: c.SentinelUsername}
	opts.URLs = make([]string, len(c.URLs))
	for i, u := range c.URLs {
		if err := resolveInto(&opts.URLs[i], "a URL", u); err != nil {
			return opts, err
		}
	}
	if err := resolveInto(&opts.Password, "password", c.Password); err != nil {
		return opts, err
	}
	if err := resolveInto(&opts.SentinelPassword, "sentinel_password", c.SentinelPassword); err != nil {
		return opts, err
	}
	if strings.Contains(c.URLs[0]+c.Password, "{") {
		opts.Credentials = c.credentials
	}
	if c.TLS != nil {
		var err error
		if opts.TLS, err = c.TLS.config(); err != nil {
			return opts, fmt.Errorf("store redis: tls: %w", err)
		}
	}
	return opts, nil
}

// credentials resolves the placeholders again and returns the user and the
// password, so that a file may change between two connections. They default to
// those of the first URL.
func (c *Redis) credentials() (username, password string, err error) {
	var address string
	if err := resolveInto(&address, "a URL", c.URLs[0]); err != nil {
		return "", "", err
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", "", errors.New("store redis: a URL can't be read: expected " + ExpectedRedisURL)
	}
	username = u.User.Username()
	password, _ = u.User.Password()
	if c.Username != "" {
		username = c.Username
	}
	if c.Password != "" {
		err = resolveInto(&password, "password", c.Password)
	}
	return username, password, err
}

// resolveInto sets to to text, or to its value if it is a placeholder. Its errors
// name the field and do not contain the value.
func resolveInto(to *string, name, text string) error {
	if !strings.Contains(text, "{") {
		*to = text
		return nil
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return fmt.Errorf("store redis: %s: %w", name, err)
	}
	// Files end with a newline.
	if *to = strings.TrimRight(value, "\r\n"); *to == "" {
		return fmt.Errorf("store redis: %s: nothing is behind %s", name, text)
	}
	return nil
}

// config reads the files and returns the TLS configuration.
func (c *RedisTLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.ServerName}
	if len(c.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
	}
	for _, file := range c.CA {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading an authority: %w", err)
		}
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", file)
		}
	}
	if c.Cert != "" {
		own, err := tls.LoadX509KeyPair(c.Cert, c.Key)
		if err != nil {
			return nil, fmt.Errorf("reading the certificate and key: %w", err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}

// Key returns a string that identifies the configuration, with placeholders in
// place of secrets.
func (c *Redis) Key() string {
	text, _ := json.Marshal(c) // strings, numbers and booleans never fail
	return string(text)
}
