package backends

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// outgoing holds what an attempt needs to be sent besides the fields of
// [Attempt], whichever forwarder it comes from.
type outgoing struct {
	ctx    context.Context
	method string
	server *url.URL    // scheme and host
	host   string      // the Host header
	header http.Header // owned by outgoing; holds no credential but those of header_up
}

// proxied returns the outgoing request for req, which comes from reverse_proxy.
// It does not modify req, which reverse_proxy reuses and logs.
func (t *Transport) proxied(req *http.Request) outgoing {
	o := outgoing{untraced{req.Context()}, req.Method, req.URL, req.Host, stripped(req.Header, t.pass)}
	if dial, ok := reverseproxy.GetDialInfo(o.ctx); ok && (o.host == "" || o.host == dial.Address) {
		// For TLS reverse_proxy sets the address; any other value was set by the
		// operator's header_up and stays.
		o.host = t.host(dial.Network, dial.Address, dial.Port)
	}
	return o
}

// host returns the Host header for an upstream. It is the upstream's address
// without TLS, too, where Caddy keeps the caller's Host: a provider must not
// learn the name by which a caller reached the gate. The scheme's default port
// is omitted, and a socket's path is replaced by a name.
func (t *Transport) host(network, address, port string) string {
	usual := "80"
	if t.TLSEnabled() {
		usual = "443"
	}
	switch {
	case strings.HasPrefix(network, "unix"):
		return "localhost"
	case port == usual:
		return strings.TrimSuffix(address, ":"+usual)
	}
	return address
}

// request returns the request to send, with the key in o's header. It returns
// false for a model that can't be part of the backend's paths.
//
// The result shares nothing with the caller's own request, least of all its
// body: net/http may read what it sends for a while after the attempt has ended,
// when the caller's body is the server's again.
func (t *Transport) request(o *outgoing, ex *Attempt, key *apiKey) (*http.Request, bool) {
	target, ok := t.url(o.server, ex)
	if !ok {
		return nil, false
	}
	// net/http reports a connection before it writes to it, on the goroutine of
	// the round trip: if no connection was reported, the request was not sent.
	if ex.trace.GotConn == nil {
		ex.trace.GotConn = func(info httptrace.GotConnInfo) { t.gotConn(info, ex) }
	}
	ctx := httptrace.WithClientTrace(o.ctx, &ex.trace)
	out := http.Request{
		Method: o.method, URL: target, Host: o.host, Header: o.header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody,
	}
	if ex.HasBody {
		out.Body = ex.Body.Reader()
		out.ContentLength = ex.Body.Len()
		out.GetBody = func() (io.ReadCloser, error) { return ex.Body.Reader(), nil }
	} else {
		delete(o.header, "Content-Type")
	}
	o.header["Accept-Encoding"] = identity
	if _, named := o.header[replayable]; !named {
		o.header[replayable] = nil
	}
	t.authorise(o.header, key)
	return out.WithContext(ctx), true
}

var identity = []string{"identity"}

// authorise sets the key and the API's version in a header.
func (t *Transport) authorise(h http.Header, key *apiKey) {
	if d := t.dialect; d.VersionHeader != "" && h.Get(d.VersionHeader) == "" {
		h[d.VersionHeader] = d.Version
	}
	if key != nil {
		h[key.header] = key.value
	}
}
