package backends

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Upstreams returns the addresses of a pool for display: with their scheme,
// without the scheme's default port, and with the base path unless it is the
// default. Other addresses, such as sockets and placeholders, are returned as
// configured.
func (t *Transport) Upstreams(pool reverseproxy.UpstreamPool) []string {
	if t.API == apiEcho {
		return []string{} // echo has no upstreams
	}
	texts := make([]string, 0, len(pool))
	for _, u := range pool {
		texts = append(texts, t.upstreamText(u.Dial))
	}
	return texts
}

func (t *Transport) upstreamText(dial string) string {
	address, err := caddy.ParseNetworkAddress(dial)
	if err != nil || strings.Contains(dial, "{") || address.IsUnixNetwork() || address.PortRangeSize() != 1 {
		return dial
	}
	hostport := address.JoinHostPort(0)
	probe := &http.Request{URL: &url.URL{Host: hostport}}
	t.SetScheme(probe)
	usual := map[string]string{"http": ":80", "https": ":443"}[probe.URL.Scheme]
	text := probe.URL.Scheme + "://" + strings.TrimSuffix(hostport, usual)
	if t.BasePath != t.dialect.Base {
		text += t.BasePath
	}
	return text
}
