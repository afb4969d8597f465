package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/amanycodes/pine-gate/internal/alerts"
)

// Webhook configures the webhook that alerts are sent to: by POST, as JSON, with the
// signatures of Standard Webhooks. See docs/alerts.md.
type Webhook struct {
	// The URL: https, or http on loopback. A URL that contains a credential is a
	// placeholder as a whole, `{env.NAME}` or `{file./path}`, because Caddy stores and
	// shows the configuration; the placeholder is resolved for each alert.
	URL string `json:"url"`

	// A placeholder for the secret of the signatures: `whsec_` and base64, or at least
	// 16 characters, which are used unchanged. It is resolved for each alert.
	Secret string `json:"secret"`
}

// ExpectedWebhook describes a webhook's URL in messages.
const ExpectedWebhook = "https://host/path, or {env.NAME} or {file./path} for all of it"

// CheckWebhookURL refuses URLs that alerts can't be sent to, and those with a
// credential in clear text. Its errors do not contain the URL.
func CheckWebhookURL(text string) error {
	if strings.ContainsAny(text, "{}") {
		return CheckCredential(text)
	}
	u, err := parseWebhookURL(text)
	if err != nil {
		return err
	}
	if u.User != nil {
		return errors.New("a URL with a credential would stand in the config, which is stored and shown: expected " + ExpectedWebhook)
	}
	return nil
}

func parseWebhookURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return nil, errors.New("it is no URL: expected " + ExpectedWebhook)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return nil, errors.New("alerts go over TLS, but on loopback: expected " + ExpectedWebhook)
	}
	return u, nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// Check refuses what the Caddyfile parser refuses, and placeholders that can't be
// resolved.
func (c *Webhook) Check() error {
	if err := CheckWebhookURL(c.URL); err != nil {
		return fmt.Errorf("webhook: the url: %w", err)
	}
	if c.Secret == "" {
		return errors.New("webhook: it lacks its secret: expected " + ExpectedPlaceholder)
	}
	if err := CheckCredential(c.Secret); err != nil {
		return fmt.Errorf("webhook: secret: %w", err)
	}
	_, err := c.Target()
	return err
}

// Target resolves the placeholders and returns the target of alerts. Its errors do
// not contain the resolved values.
func (c *Webhook) Target() (target alerts.Target, err error) {
	address := c.URL
	if strings.Contains(address, "{") {
		if address, err = resolve(address); err != nil {
			return target, fmt.Errorf("webhook: the url: %w", err)
		}
	}
	if target.URL, err = parseWebhookURL(address); err != nil {
		return target, fmt.Errorf("webhook: the url: %w", err)
	}
	secret, err := resolve(c.Secret)
	if err != nil {
		return target, fmt.Errorf("webhook: secret: %w", err)
	}
	if target.Key, err = alerts.ParseSecret(secret); err != nil {
		return target, fmt.Errorf("webhook: secret: %w", err)
	}
	return target, nil
}

// ExpectedPercents describes the percentages of an alert in messages.
const ExpectedPercents = "whole numbers from 1 to 100, as in 50 80 100"

// checkPercents refuses numbers that are no percentage of a quota, and
// duplicates.
func checkPercents(percents []int) error {
	for i, percent := range percents {
		switch {
		case percent < 1 || percent > 100:
			return fmt.Errorf("%d: expected %s", percent, ExpectedPercents)
		case slices.Contains(percents[:i], percent):
			return fmt.Errorf("%d stands here already", percent)
		}
	}
	return nil
}
