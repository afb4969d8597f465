package pinegate

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
)

// parseGlobalOption parses the global option `pinegate`. There is one app, so a
// second block is an error: merged ones would leave open which line counts.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Errf("%q stands here already: expected one block of it", d.Val())
	}
	app := new(App)
	d.Reset()
	if err := app.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "pinegate", Value: caddyconfig.JSON(app, nil)}, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens. Everything is
// optional. Syntax:
//
//	pinegate {
//		store file [<dir>] {
//			sync always|<duration>
//			retention <duration>
//		}
//		store memory
//		store redis <url>... {
//			outage shadow|deny|allow
//			replicas <n>
//			timeout <duration>
//			prefix <text>
//			slices on|off
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
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), "pinegate")
	}
	return parseBlock(d, words{
		"store":   {parse: a.parseStore},
		"prices":  listWord(&a.Prices, "files in the format of model_prices_and_context_window.json", nil),
		"metrics": {parse: a.parseMetrics},
		"webhook": {parse: a.parseWebhook},
	}, nil)
}

func (a *App) parseStore(d *caddyfile.Dispenser) error {
	const expected = "file, memory or redis"
	kind, err := argument(d, expected)
	if err != nil {
		return err
	}
	a.Store = &StoreConfig{Type: kind}
	switch kind {
	case "memory":
		return nil
	case "file":
		if d.NextArg() {
			a.Store.Dir = d.Val()
		}
		if d.NextArg() {
			return d.Errf("unexpected argument %q after the directory of %q", d.Val(), "store file")
		}
		return parseBlock(d, words{
			"sync":      {parse: a.Store.parseSync},
			"retention": singleWord(&a.Store.Retention, aDuration, parseDuration),
		}, nil)
	case "redis":
		return a.Store.parseRedis(d)
	}
	return d.Errf("store: unknown word %q: expected %s", kind, expected)
}

// parseSync parses how often the store syncs.
func (c *StoreConfig) parseSync(d *caddyfile.Dispenser) error {
	const expected = "always, or " + aDuration
	arg, err := argument(d, expected)
	if err != nil {
		return err
	}
	if arg == "always" {
		c.SyncAlways = true
		return nil
	}
	if c.Sync, err = parseDuration(arg); err != nil {
		return d.Errf("sync: %v: expected %s", err, expected)
	}
	return nil
}

func (a *App) parseMetrics(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), "metrics")
	}
	a.Metrics = new(MetricsConfig)
	return parseBlock(d, words{
		"per_key":     flagWord(&a.Metrics.PerKey),
		"hide_models": flagWord(&a.Metrics.HideModels),
	}, nil)
}

var _ caddyfile.Unmarshaler = (*App)(nil)
