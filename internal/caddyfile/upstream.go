package caddyfile

import (
	"net/url"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// defaultBasePath is the base path of the default API. Upstreams may also have it
// written out.
var defaultBasePath = wire.DialectNamed("").Base

// echoUpstream is the upstream of the echo backend, which answers within the gate:
// reverse_proxy requires an upstream, but this one is never dialed.
const echoUpstream = "echo.invalid:80"

// upstreams collects the upstreams of one backend.
type upstreams struct {
	count int

	// The path before those of endpoints, and Azure's api-version; "" is the default.
	basePath, apiVersion string
	first                string // the upstream that set both

	azure bool // it is one of Azure's hosts
}

// add records the path of the upstream at which d is positioned, and returns the
// token without the path for reverse_proxy, which does not support paths.
func (u *upstreams) add(d *caddyfile.Dispenser) (caddyfile.Token, error) {
	token := d.Token()
	split, err := splitUpstream(d)
	if err != nil {
		return token, err
	}
	if u.count > 0 && shownPath(split.basePath) != shownPath(u.basePath) {
		return token, d.Errf("upstream %q: its path %s differs from the path %s of %q: expected one path for all upstreams of a backend",
			d.Val(), shownPath(split.basePath), shownPath(u.basePath), u.first)
	}
	if u.count > 0 && split.apiVersion != u.apiVersion {
		return token, d.Errf("upstream %q: its api-version differs from that of %q: expected one for all upstreams of a backend", d.Val(), u.first)
	}
	if u.count == 0 {
		u.basePath, u.apiVersion, u.first = split.basePath, split.apiVersion, d.Val()
	}
	u.count++
	u.azure = u.azure || split.azure
	token.Text = split.dial
	return token, nil
}

// base returns the prefix of the paths of endpoints, "" for the default. For
// Azure's hosts, the default is where Azure serves the backend's API.
func (u *upstreams) base(api string) string {
	d := wire.DialectNamed(api)
	switch {
	case shownPath(u.basePath) != defaultBasePath:
		return u.basePath
	case u.azure:
		return backends.AzureBase(api, u.apiVersion)
	case d != nil && u.basePath == d.Base:
		return ""
	}
	return u.basePath
}

func shownPath(basePath string) string {
	if basePath == "" {
		return defaultBasePath
	}
	return basePath
}

// upstream holds the parts of one upstream.
type upstream struct {
	dial       string // for reverse_proxy
	basePath   string // without a slash at its end: "" is the default, "/" the root
	apiVersion string
	azure      bool
}

// splitUpstream parses the upstream at which d is positioned.
func splitUpstream(d *caddyfile.Dispenser) (upstream, error) {
	text := d.Val()
	if network, _, slash := strings.Cut(text, "/"); slash {
		switch network {
		case "unix", "unix+h2c", "tcp", "tcp4", "tcp6": // Caddy's form network/address
			return upstream{dial: text}, nil
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
	// Errors do not contain parts that may hold a credential.
	if strings.Contains(host, "@") {
		// reverse_proxy would drop it silently, or interpret it as a host.
		return upstream{}, d.Errf("an upstream holds a user or a password: expected http://host:port, with the credential in api_key or header_up")
	}
	split := upstream{azure: backends.IsAzure((&url.URL{Host: host}).Hostname())}
	tail, version, versioned := strings.Cut(tail, "?api-version=")
	if strings.ContainsAny(tail, "?#{}%") || versioned && !backends.IsAPIVersion(version) {
		return upstream{}, d.Errf("upstream %q: expected a plain path behind it, without a query (but ?api-version=, as in 2024-10-21, which Azure wants), a fragment, a placeholder or an escape", host)
	}
	split.apiVersion = version
	if !isURL {
		if tail != "" || versioned {
			return upstream{}, d.Errf("upstream %q: a path needs a scheme: expected http://%s or https://%s", text, text, text)
		}
		split.dial = text
		return split, nil
	}
	split.dial = scheme + "://" + host
	if tail == "" {
		return split, nil
	}
	basePath := strings.TrimSuffix(tail, "/")
	switch {
	case basePath == "" && split.azure: // Azure serves nothing at the root
	case basePath == "":
		split.basePath = "/"
	case path.Clean(basePath) != basePath:
		return upstream{}, d.Errf("upstream %q: expected a path without empty, '.' or '..' parts", text)
	case strings.HasSuffix(basePath, wire.Chat.Path()):
		return upstream{}, d.Errf("upstream %q: expected the path before that of an endpoint, without %s", text, wire.Chat.Path())
	default:
		split.basePath = basePath
	}
	return split, nil
}
