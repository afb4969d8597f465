package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/config"
)

// ParseAdmin parses the directive `pinegate_admin`. Syntax:
//
//	pinegate_admin [<matcher>] {
//		admin_key <secret>...
//	}
//
// At least one secret is required; several are for rotating. A secret is
// `sha256:<64 hex digits>`, `{env.NAME}`, `{file./path}`, or clear text, which
// is hashed while adapting.
func ParseAdmin(d *caddyfile.Dispenser, admin *config.Admin) error {
	d.Next() // the directive's name
	head := caddyfile.NewDispenser([]caddyfile.Token{d.Token()})
	head.Next()
	if d.NextArg() {
		return d.Errf("unexpected argument %q after %q: expected '{'", d.Val(), head.Val())
	}
	owners := make(secretOwners)
	if err := parseBlock(d, subdirectives{"admin_key": owners.adminKey(&admin.AdminKeys)}, nil); err != nil {
		return err
	}
	if len(admin.AdminKeys) == 0 {
		return head.Errf("%q lacks a key, and would be open: expected a block with admin_key", head.Val())
	}
	return nil
}
