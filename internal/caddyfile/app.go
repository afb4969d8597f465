package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/config"
)

// ParseApp parses the global option `pinegate`. Everything in it is optional.
// Syntax:
//
//	pinegate {
//		store file [<dir>] {
//			sync always|<duration>
//			retention <duration>
//		}
//		store memory
//		store redis <url>... {
//			outage local|deny|allow
//			replicas <n>
//			timeout <duration>
//			prefix <text>
//			journal <dir>
//			retention <duration>
//			username <name>
//			password <placeholder>
//			sentinel <master>
//			sentinel_username <name>
//			sentinel_password <placeholder>
//			tls {
//				ca <file>...
//				cert <file>
//				key <file>
//				server_name <name>
//			}
//		}
//		prices <file>...
//		metrics {
//			per_key
//			hide_models
//		}
//		webhook <url> {
//			secret <placeholder>
//		}
//	}
func ParseApp(d *caddyfile.Dispenser, app *config.App) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), "pinegate")
	}
	return parseBlock(d, subdirectives{
		"store":   {parse: func(d *caddyfile.Dispenser) error { return parseStore(d, app) }},
		"prices":  listOf(&app.Prices, "files in the format of model_prices_and_context_window.json", nil),
		"metrics": {parse: func(d *caddyfile.Dispenser) error { return parseMetrics(d, app) }},
		"webhook": {parse: func(d *caddyfile.Dispenser) error { return parseWebhook(d, app) }},
	}, nil)
}

func parseStore(d *caddyfile.Dispenser, app *config.App) error {
	const expected = "file, memory or redis"
	kind, err := argument(d, expected)
	if err != nil {
		return err
	}
	store := &config.Store{Type: kind}
	app.Store = store
	switch kind {
	case config.KindMemory:
		return nil
	case config.KindFile:
		if d.NextArg() {
			store.Dir = d.Val()
		}
		if d.NextArg() {
			return d.Errf("unexpected argument %q after the directory of %q", d.Val(), "store file")
		}
		return parseBlock(d, subdirectives{
			"sync":      {parse: func(d *caddyfile.Dispenser) error { return parseSync(d, store) }},
			"retention": valueOf(&store.Retention, aDuration, parseDuration),
		}, nil)
	case config.KindRedis:
		return parseRedis(d, store)
	}
	return d.Errf("store: unknown word %q: expected %s", kind, expected)
}

func parseSync(d *caddyfile.Dispenser, store *config.Store) error {
	const expected = "always, or " + aDuration
	arg, err := argument(d, expected)
	if err != nil {
		return err
	}
	if arg == "always" {
		store.SyncAlways = true
		return nil
	}
	if store.Sync, err = parseDuration(arg); err != nil {
		return d.Errf("sync: %v: expected %s", err, expected)
	}
	return nil
}

func parseMetrics(d *caddyfile.Dispenser, app *config.App) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), "metrics")
	}
	app.Metrics = new(config.Metrics)
	return parseBlock(d, subdirectives{
		"per_key":     flagOf(&app.Metrics.PerKey),
		"hide_models": flagOf(&app.Metrics.HideModels),
	}, nil)
}

func parseWebhook(d *caddyfile.Dispenser, app *config.App) error {
	start := *d
	address, err := argument(d, config.ExpectedWebhook)
	if err != nil {
		return err
	}
	if err := config.CheckWebhookURL(address); err != nil {
		return d.Errf("webhook: %v", err)
	}
	if d.NextArg() {
		return d.Err("webhook: unexpected argument after the URL: expected '{'")
	}
	w := &config.Webhook{URL: address}
	if err := parseBlock(d, subdirectives{"secret": credentialOf(&w.Secret)}, nil); err != nil {
		return err
	}
	if w.Secret == "" {
		return start.Err("webhook: it lacks its secret, which signs what is sent: expected a block with secret " + config.ExpectedPlaceholder)
	}
	app.Webhook = w
	return nil
}
