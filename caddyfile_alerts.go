package pinegate

import (
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// parseAlert reads the percentages behind `alert`, with or without a sign for them.
func (p *gateParser) parseAlert(d *caddyfile.Dispenser) error {
	args, err := arguments(d, aPercent)
	if err != nil {
		return err
	}
	for _, arg := range args {
		percent, err := strconv.Atoi(strings.TrimSuffix(arg, "%"))
		if err != nil || percent < 1 || percent > 100 {
			return d.Errf("alert: %q: expected %s", arg, aPercent)
		}
		if slices.Contains(p.gate.Alert, percent) {
			return d.Errf("alert: %d stands here already", percent)
		}
		p.gate.Alert = append(p.gate.Alert, percent)
	}
	return nil
}

// parseWebhook reads the URL and the block of `webhook`.
func (a *App) parseWebhook(d *caddyfile.Dispenser) error {
	start := *d
	address, err := argument(d, aWebhook)
	if err != nil {
		return err
	}
	if err := checkWebhookURL(address); err != nil {
		return d.Errf("webhook: %v", err)
	}
	if d.NextArg() {
		return d.Err("webhook: unexpected argument after the URL: expected '{'")
	}
	w := &WebhookConfig{URL: address}
	if err := parseBlock(d, words{"secret": credentialWord(&w.Secret)}, nil); err != nil {
		return err
	}
	if w.Secret == "" {
		return start.Err("webhook: it lacks its secret, which signs what is sent: expected a block with secret " + aPlaceholder)
	}
	a.Webhook = w
	return nil
}
