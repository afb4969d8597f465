package pinegate

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/alerts"
)

// WebhookConfig says where alerts are sent: by POST, as JSON, signed as Standard
// Webhooks has it. See docs/alerts.md.
type WebhookConfig struct {
	// Its URL: https, or http on this machine's loopback. One that holds a
	// credential is a placeholder as a whole, `{env.NAME}` or `{file./path}`, since
	// the config is stored and shown; what is behind it is read for each alert.
	URL string `json:"url"`

	// A placeholder for the secret of the signatures: `whsec_` and base64, or at
	// least 16 characters, which are taken as they are. It is read for each alert.
	Secret string `json:"secret"`
}

const aWebhook = "https://host/path, or {env.NAME} or {file./path} for all of it"

// checkWebhookURL refuses what is no URL to send alerts to. It quotes nothing: it
// may hold a credential.
func checkWebhookURL(text string) error {
	if strings.ContainsAny(text, "{}") {
		return parseCredential(text)
	}
	u, err := parseWebhookURL(text)
	if err != nil {
		return err
	}
	if u.User != nil {
		return errors.New("a URL with a credential would stand in the config, which is stored and shown: expected " + aWebhook)
	}
	return nil
}

func parseWebhookURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "":
		return nil, errors.New("it is no URL: expected " + aWebhook)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return nil, errors.New("alerts go over TLS, but on loopback: expected " + aWebhook)
	}
	return u, nil
}

func isLoopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// check refuses what the Caddyfile would refuse, and what can't be resolved.
func (c *WebhookConfig) check() error {
	if err := checkWebhookURL(c.URL); err != nil {
		return fmt.Errorf("webhook: the url: %w", err)
	}
	if c.Secret == "" {
		return errors.New("webhook: it lacks its secret: expected " + aPlaceholder)
	}
	if err := parseCredential(c.Secret); err != nil {
		return fmt.Errorf("webhook: secret: %w", err)
	}
	_, err := c.target()
	return err
}

// target reads what is behind the placeholders. No error quotes it.
func (c *WebhookConfig) target() (target alerts.Target, err error) {
	address := c.URL
	if strings.Contains(address, "{") {
		if address, err = behind(address); err != nil {
			return target, fmt.Errorf("webhook: the url: %w", err)
		}
	}
	if target.URL, err = parseWebhookURL(address); err != nil {
		return target, fmt.Errorf("webhook: the url: %w", err)
	}
	secret, err := behind(c.Secret)
	if err != nil {
		return target, fmt.Errorf("webhook: secret: %w", err)
	}
	if target.Key, err = alerts.ParseSecret(secret); err != nil {
		return target, fmt.Errorf("webhook: secret: %w", err)
	}
	return target, nil
}

// behind reads what a placeholder stands for, without white space around it: files
// end with a line's end.
func behind(placeholder string) (string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(placeholder, true, true)
	if err != nil {
		return "", err
	}
	if value = strings.TrimSpace(value); value == "" {
		return "", fmt.Errorf("nothing is behind %s", placeholder)
	}
	return value, nil
}

const aPercent = "whole numbers from 1 to 100, as in 50 80 100"

// checkPercents refuses what is no percentage of a quota.
func checkPercents(percents []int) error {
	for i, percent := range percents {
		switch {
		case percent < 1 || percent > 100:
			return fmt.Errorf("%d: expected %s", percent, aPercent)
		case slices.Contains(percents[:i], percent):
			return fmt.Errorf("%d stands here already", percent)
		}
	}
	return nil
}

// alerts is what is told of quotas of the gate's requests, nil where nothing is.
func (h *Handler) alerts(app *App) (*handlers.Alerts, error) {
	if len(h.Alert) == 0 {
		return nil, nil
	}
	if err := checkPercents(h.Alert); err != nil {
		return nil, fmt.Errorf("alert: %w", err)
	}
	percents := slices.Sorted(slices.Values(h.Alert))
	return &handlers.Alerts{Percents: percents, Budgets: &app.state.budgets, Webhook: app.state.webhook}, nil
}

// How long alerts that wait for the webhook may take when the state is closed: when
// the process exits, and when it goes on without it.
const (
	exitAlerts  = 2 * time.Second
	closeAlerts = 30 * time.Second
)

// closeWebhook sends what waits and holds up nothing but an exit.
func (s *state) closeWebhook() {
	if caddy.Exiting() {
		s.webhook.Close(exitAlerts)
		return
	}
	go s.webhook.Close(closeAlerts)
}

// configureWebhook says where alerts go. It must be called with s.mu held.
func (s *state) configureWebhook(app *App) {
	if app.Webhook == nil {
		s.webhook.Configure(nil)
		return
	}
	s.webhook.Configure(app.Webhook.target)
}

// reportAlert tells what became of an alert that was to be sent.
func (s *state) reportAlert(a alerts.Alert, outcome alerts.Outcome, reason error) {
	if h := s.health.Load(); h != nil {
		h.metrics.Webhook(string(outcome))
	}
	logger := caddy.Log().Named("pinegate")
	fields := []zap.Field{zap.String("alert_id", a.ID()), zap.String("outcome", string(outcome)), zap.Error(reason)}
	switch outcome {
	case alerts.Delivered:
	case alerts.Retried:
		logger.Warn("an alert did not reach the webhook, and is sent again", fields...)
	default:
		logger.Error("an alert did not reach the webhook", fields...)
	}
}
