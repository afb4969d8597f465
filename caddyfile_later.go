package pinegate

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// later holds what the grammar knows and this version does not enforce yet, and
// what to write meanwhile. A word that is accepted and then does nothing would
// let its author trust in it, so these are refused.
var later = map[string]string{
	// global option
	"webhook": "",

	// site
	"alert": "",
}

// notYet returns an error at d's token if the phrase, a word or a word and its
// argument, is one that this version does not support.
func notYet(d *caddyfile.Dispenser, phrase string) error {
	instead, ok := later[phrase]
	switch {
	case !ok:
		return nil
	case instead == "":
		return d.Errf("the word %q is not supported by this version yet", phrase)
	default:
		return d.Errf("the word %q is not supported by this version yet: %s", phrase, instead)
	}
}
