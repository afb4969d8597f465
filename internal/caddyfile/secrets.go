package caddyfile

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/keys"
)

const aSecret = "sha256:<64 hex digits>, {env.NAME}, {file./path} or a clear secret, which is hashed"

// secretOwners maps the secrets of a gate, as they are written in the config, to
// descriptions of their owners: no two owners may share a secret. A placeholder
// represents the secret that it resolves to.
type secretOwners map[string]string

// read adds the secrets in the rest of the line to *to, in the form that the
// config may hold. Caddy stores the config, and shows it at its admin endpoint, so
// read hashes clear secrets. Its errors contain neither a secret nor the id of a
// key: the two may be in the wrong order.
func (owners secretOwners) read(d *caddyfile.Dispenser, to *[]string, name, owner string) error {
	if d.CountRemainingArgs() == 0 {
		return d.Errf("%q lacks a secret: expected %s", name, aSecret)
	}
	for d.NextArg() {
		sealed, err := sealSecret(d.Val())
		if err != nil {
			return d.Errf("%s: a secret: %v", name, err)
		}
		if other, taken := owners[sealed]; taken {
			return d.Errf("%s: a secret stands here already, as that of %s", name, other)
		}
		owners[sealed] = owner
		*to = append(*to, sealed)
	}
	return nil
}

// adminKey returns the subdirective `admin_key`.
func (owners secretOwners) adminKey(to *[]string) subdirective {
	return subdirective{repeats: true, parse: func(d *caddyfile.Dispenser) error {
		return owners.read(d, to, "admin_key", "the admin keys")
	}}
}

func sealSecret(text string) (string, error) {
	if err := config.CheckPlaceholder(text); err != nil {
		return "", err
	}
	return keys.SealSecret(text)
}

// credentialOf returns a subdirective with one credential, for which the config
// may hold a placeholder only. Errors do not contain the argument.
func credentialOf(to *string) subdirective {
	return subdirective{parse: func(d *caddyfile.Dispenser) error {
		name := d.Val()
		arg, err := argument(d, config.ExpectedPlaceholder)
		if err != nil {
			return err
		}
		if err := config.CheckCredential(arg); err != nil {
			return d.Errf("%s: %v", name, err)
		}
		*to = arg
		return nil
	}}
}
