package pinegate

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// parseAdminHandler parses the directive `pinegate_admin`.
func parseAdminHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	admin := new(AdminHandler)
	if err := admin.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return admin, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	pinegate_admin [<matcher>] {
//		admin_key <secret>...
//	}
//
// At least one secret is required; several are for rotating. A secret is
// `sha256:<64 hex digits>`, `{env.NAME}`, `{file./path}`, or clear text, which
// is hashed while adapting.
func (a *AdminHandler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	head := caddyfile.NewDispenser([]caddyfile.Token{d.Token()})
	head.Next()
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), head.Val())
	}
	owners := make(secretOwners)
	if err := parseBlock(d, words{"admin_key": owners.adminKey(&a.AdminKeys)}, nil); err != nil {
		return err
	}
	if len(a.AdminKeys) == 0 {
		return head.Errf("%q lacks a key, and would be open: expected a block with admin_key", head.Val())
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*AdminHandler)(nil)
