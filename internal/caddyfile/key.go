package caddyfile

import (
	"strconv"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// parseKey parses a key and its optional block:
//
//	key <id> <secret>... {
//		team <name>
//		models <pattern>...|none
//		endpoints <name>...
//		limit <n> <unit>[/<window>] [burst <n>]
//		expires <date>
//		allow_ip <cidr>...
//		disabled
//	}
//
// The package keys validates the values, for keys files too. parseKey validates the
// key after each line, so that an error has the right line.
func parseKey(d *caddyfile.Dispenser, ids definitions, owners secretOwners) (keys.Config, error) {
	var key keys.Config
	id, err := ids.add(d, "key")
	if err != nil {
		return key, err
	}
	if err := owners.read(d, &key.Secrets, "key", "the key in line "+strconv.Itoa(d.Line())); err != nil {
		return key, err
	}
	key.ID = id
	valid := func() error {
		_, err := key.Key()
		return err
	}
	return key, parseBlock(d, subdirectives{
		"team":      checked(textOf(&key.Team, "the team's name"), valid),
		"models":    checked(listOf(&key.Models, "patterns of models, or none", nil), valid),
		"endpoints": checked(listOf(&key.Endpoints, "names of endpoints", nil), valid),
		"limit":     checked(limitsOf(&key.Limits), valid),
		"expires":   checked(textOf(&key.Expires, "a date or a time, as in 2027-12-31"), valid),
		"allow_ip":  checked(listOf(&key.AllowIP, "addresses or networks", nil), valid),
		"disabled":  flagOf(&key.Disabled),
	}, nil)
}
