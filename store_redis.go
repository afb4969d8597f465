package pinegate

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/amanycodes/pine-gate/limiter"
)

// checkRedisURL refuses a URL with a password in clear, which would stand in the
// config. No error quotes one.
func checkRedisURL(text string) error {
	if strings.ContainsAny(text, "{}") {
		return parseCredential(text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("a URL can't be read: expected " + aRedisURL)
	}
	if _, has := u.User.Password(); has {
		return errors.New("a password in a URL would stand in the config, which is stored and shown: write it as password {env.NAME}, or the whole URL as {env.NAME}")
	}
	return (&limiter.RedisOptions{URLs: []string{text}}).Check()
}

// check finds what is wrong with what stands in the config, as JSON may bring it
// past the Caddyfile's parser.
func (c *RedisConfig) check() error {
	if len(c.URLs) == 0 {
		return errors.New("store redis lacks a URL: expected " + aRedisURL)
	}
	for _, u := range c.URLs {
		if err := checkRedisURL(u); err != nil {
			return fmt.Errorf("store redis: %w", err)
		}
	}
	if _, err := limiter.ParseOutage(c.Outage); err != nil {
		return fmt.Errorf("store redis: outage: %w", err)
	}
	for name, password := range map[string]string{"password": c.Password, "sentinel_password": c.SentinelPassword} {
		if password == "" {
			continue
		}
		if err := parseCredential(password); err != nil {
			return fmt.Errorf("store redis: %s: %w", name, err)
		}
	}
	switch {
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

// options reads what is behind placeholders and files, and reaches for no network.
func (c *RedisConfig) options() (limiter.RedisOptions, error) {
	if err := c.check(); err != nil {
		return limiter.RedisOptions{}, err
	}
	opts := limiter.RedisOptions{
		Sentinel: c.Sentinel, Prefix: c.Prefix, Timeout: time.Duration(c.Timeout),
		Username: c.Username, SentinelUsername: c.SentinelUsername,
	}
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
	if err := opts.Check(); err != nil {
		return opts, fmt.Errorf("store redis: %w", err)
	}
	return opts, nil
}

// credentials reads the user and the password anew: a password is changed by
// changing what is behind its placeholder. They are those of the first URL, but
// for what stands beside it.
func (c *RedisConfig) credentials() (username, password string, err error) {
	var address string
	if err := resolveInto(&address, "a URL", c.URLs[0]); err != nil {
		return "", "", err
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", "", errors.New("store redis: a URL can't be read: expected " + aRedisURL)
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

// resolveInto reads what is behind a word of the block, if it is a placeholder.
// No error quotes it.
func resolveInto(to *string, name, text string) error {
	if !strings.Contains(text, "{") {
		*to = text
		return nil
	}
	value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
	if err != nil {
		return fmt.Errorf("store redis: %s: %w", name, err)
	}
	// Files end with a line's end.
	if *to = strings.TrimRight(value, "\r\n"); *to == "" {
		return fmt.Errorf("store redis: %s: nothing is behind %s", name, text)
	}
	return nil
}

func (c *RedisTLSConfig) config() (*tls.Config, error) {
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

// key tells one store of limits from another, by what stands in the config: where
// there are secrets, by their placeholders. What is kept beside it is of the
// ledger that quotas are seeded from.
func (c *RedisConfig) key(ledger string) (string, error) {
	text, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("encoding the store: %w", err)
	}
	sum := sha256.Sum256(append(text, ledger...))
	return "redis " + hex.EncodeToString(sum[:]), nil
}
