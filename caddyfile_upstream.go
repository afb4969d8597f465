package pinegate

import (
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// defaultBasePath is what stands before the path of an endpoint where the
// upstreams of a backend name no path.
const defaultBasePath = "/v1"

// echoUpstream is the upstream of the echo backend, which answers from within
// the gate: reverse_proxy wants one, and nothing dials it.
const echoUpstream = "echo.invalid:80"

// upstreams collects the upstreams of one backend.
type upstreams struct {
	count int

	// What replaces /v1, and where that was said; "" is the default.
	basePath string
	said     string
}

// add takes the path off the upstream on which d stands and returns the token
// that is left for reverse_proxy, which knows no paths.
func (u *upstreams) add(d *caddyfile.Dispenser) (caddyfile.Token, error) {
	token := d.Token()
	dial, basePath, err := splitUpstream(d)
	if err != nil {
		return token, err
	}
	if u.count > 0 && basePath != u.basePath {
		return token, d.Errf("upstream %q: its path %s differs from the path %s of %q: expected one path for all upstreams of a backend",
			d.Val(), shownPath(basePath), shownPath(u.basePath), u.said)
	}
	if u.count == 0 {
		u.basePath, u.said = basePath, d.Val()
	}
	u.count++
	token.Text = dial
	return token, nil
}

func shownPath(basePath string) string {
	if basePath == "" {
		return defaultBasePath
	}
	return basePath
}

// splitUpstream returns the upstream without its path, and the path without a
// slash at its end: "" where there is none or the default, "/" for the root.
func splitUpstream(d *caddyfile.Dispenser) (dial, basePath string, err error) {
	text := d.Val()
	if network, _, slash := strings.Cut(text, "/"); slash {
		switch network {
		case "unix", "unix+h2c", "tcp", "tcp4", "tcp6": // Caddy's form network/address
			return text, "", nil
		}
	}
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		scheme, rest = "", text
	}
	host, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, tail = rest[:i], rest[i:]
	}
	// What may hold a credential is not quoted.
	if strings.Contains(host, "@") {
		// reverse_proxy would drop it silently, or take it for a host.
		return "", "", d.Errf("an upstream holds a user or a password: expected http://host:port, with the credential in api_key or header_up")
	}
	if strings.ContainsAny(tail, "?#{}%") {
		return "", "", d.Errf("upstream %q: expected a plain path behind it, without a query, a fragment, a placeholder or an escape", host)
	}
	if !isURL {
		if tail != "" {
			return "", "", d.Errf("upstream %q: a path needs a scheme: expected http://%s or https://%s", text, text, text)
		}
		return text, "", nil
	}
	dial = scheme + "://" + host
	if tail == "" {
		return dial, "", nil
	}
	basePath = strings.TrimSuffix(tail, "/")
	switch {
	case basePath == "":
		return dial, "/", nil
	case path.Clean(basePath) != basePath:
		return "", "", d.Errf("upstream %q: expected a path without empty, '.' or '..' parts", text)
	case basePath == defaultBasePath:
		return dial, "", nil
	}
	return dial, basePath, nil
}
