package backends

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Upstreams are the addresses of a pool as people write them: with the scheme that
// they are spoken to by, without its own port, and with a base path that is not the
// usual one. What is no plain address, as a socket or a placeholder, is as it was
// written.
func (t *Transport) Upstreams(pool reverseproxy.UpstreamPool) []string {
	if t.API == apiEcho {
		return []string{} // it answers by itself
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
	if t.BasePath != defaultBasePath {
		text += t.BasePath
	}
	return text
}
