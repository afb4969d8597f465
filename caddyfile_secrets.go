package pinegate

import (
	"errors"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/keys"
)

const aSecret = "sha256:<64 hex digits>, {env.NAME}, {file./path} or a clear secret, which is hashed"

// secretOwners keeps whose the secrets of a gate are: one secret opens one
// thing only. A secret behind a placeholder is known by the placeholder.
type secretOwners map[string]string

// read reads secrets up to the end of the line into the form in which the
// config may hold them. The config is stored, and shown to whoever asks Caddy's
// admin endpoint, so that a clear secret is hashed here and no error tells one.
// Nor does an error tell a key's id: the two may be in the wrong order.
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

// adminKey is the word `admin_key`.
func (owners secretOwners) adminKey(to *[]string) word {
	return word{repeats: true, parse: func(d *caddyfile.Dispenser) error {
		return owners.read(d, to, "admin_key", "the admin keys")
	}}
}

func sealSecret(text string) (string, error) {
	if err := checkPlaceholder(text); err != nil {
		return "", err
	}
	return keys.SealSecret(text)
}

// checkPlaceholder refuses placeholders with something around them and those
// that Caddy has rewritten. It passes what holds no brace at all.
func checkPlaceholder(text string) error {
	switch {
	case strings.HasPrefix(text, "{http.request.uri.path.file"):
		// {file.name} is Caddy's short form for a part of the request's path.
		return errors.New("{file.NAME} without a slash is a part of the request's path in a Caddyfile: write the whole path, as in {file./run/secrets/NAME}")
	case !strings.ContainsAny(text, "{}"):
		return nil
	case strings.HasPrefix(text, "{") && strings.IndexByte(text, '}') == len(text)-1 && strings.Count(text, "{") == 1:
		return nil
	default:
		return errors.New("a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it")
	}
}

// parseCredential checks what is to be sent to a backend. A hash can't be sent,
// and in clear it would stand in the config.
func parseCredential(text string) error {
	if err := checkPlaceholder(text); err != nil {
		return err
	}
	for _, prefix := range []string{"{env.", "{file."} {
		if strings.HasPrefix(text, prefix) && len(text) > len(prefix)+len("}") {
			return nil
		}
	}
	return errors.New("a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too)")
}
