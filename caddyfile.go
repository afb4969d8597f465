package pinegate

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycaddyfile "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/internal/caddyfile"
)

func init() {
	httpcaddyfile.RegisterGlobalOption("pinegate", parseGlobalOption)
	httpcaddyfile.RegisterHandlerDirective("pinegate", parseGate)
	httpcaddyfile.RegisterHandlerDirective("pinegate_admin", parseAdmin)
	httpcaddyfile.RegisterDirectiveOrder("pinegate", httpcaddyfile.Before, "reverse_proxy")
	httpcaddyfile.RegisterDirectiveOrder("pinegate_admin", httpcaddyfile.Before, "reverse_proxy")
}

// parseGlobalOption parses the global option `pinegate`. There is one app, so a
// second block is an error: it would be unclear which lines count.
func parseGlobalOption(d *caddycaddyfile.Dispenser, existing any) (any, error) {
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

func parseGate(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	gate, err := caddyfile.ParseGate(h)
	if err != nil {
		return nil, err
	}
	return &Handler{Gate: *gate}, nil
}

func parseAdmin(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	admin := new(AdminHandler)
	if err := admin.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return admin, nil
}

// UnmarshalCaddyfile sets up the app from Caddyfile tokens: see [caddyfile.ParseApp]
// for the syntax.
func (a *App) UnmarshalCaddyfile(d *caddycaddyfile.Dispenser) error {
	return caddyfile.ParseApp(d, &a.App)
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens: see
// [caddyfile.ParseAdmin] for the syntax.
func (h *AdminHandler) UnmarshalCaddyfile(d *caddycaddyfile.Dispenser) error {
	return caddyfile.ParseAdmin(d, &h.Admin)
}

var (
	_ caddycaddyfile.Unmarshaler = (*App)(nil)
	_ caddycaddyfile.Unmarshaler = (*AdminHandler)(nil)
)
