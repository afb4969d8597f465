package backends

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	caddy.RegisterModule(Transport{})
}

// What a backend speaks.
const (
	apiOpenAI    = "openai"
	apiAnthropic = "anthropic"
	apiEcho      = "echo"
)

const (
	defaultBasePath         = "/v1"
	defaultIdlePerHost      = 1024
	defaultHandshakeTimeout = 10 * time.Second
	defaultMaxHeaderBytes   = 256 << 10
)

// Transport is reverse_proxy's HTTP transport, with all of its fields, for a
// model server. What a request asks for comes by an [Exchange]; a request
// without one, such as an active health check, gets the credential only.
//
// Of the fields of the HTTP transport, some have other defaults: keep_alive
// max_idle_conns_per_host 1024, max_response_header_size 256 KiB, a TLS
// handshake_timeout of 10 seconds. `versions` can't hold 3, whose connections
// dial_allow could not judge, and compression can't be on, since the gate reads
// what passes. Behind a forward proxy (network_proxy, or HTTPS_PROXY in the
// environment) dial_allow judges the proxy's address.
type Transport struct {
	*reverseproxy.HTTPTransport

	// API is the dialect that the backend speaks: openai, anthropic, or echo,
	// which answers in the process with what it was asked and dials nothing.
	// Default: openai.
	API string `json:"api,omitempty"`

	// APIKeys are the credentials that the backend takes, as placeholders:
	// {env.NAME} or {file./path}. They are never written here in clear. Several
	// are used in turn. Files are read again within a second of a change; where
	// the new content is unusable the old key stays. Default: none is sent.
	APIKeys []string `json:"api_keys,omitempty"`

	// BasePath replaces /v1 in front of the endpoints' paths. "/" means that
	// they stand at the root. Default: /v1.
	BasePath string `json:"base_path,omitempty"`

	// DialAllow says where the backend may be dialled, judged on the real
	// address of each connection: CIDRs, addresses, public, private, loopback.
	// Default: all but link-local, cloud metadata, unspecified and multicast
	// addresses, in every spelling.
	DialAllow []string `json:"dial_allow,omitempty"`

	// PassHeaders are names of headers that pass, in both directions, beside
	// those that always do. Credentials, cookies, Location and what frames a
	// message can't be among them. What reverse_proxy tells about the caller
	// (X-Forwarded-*, Forwarded, Via) goes upstream only where it is named
	// here. Default: none.
	PassHeaders []string `json:"pass_headers,omitempty"`

	next        http.RoundTripper // the HTTP transport, or echo
	credentials *credentials
	pass        []string // canonical
	now         func() time.Time
}

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.pinegate",
		New: func() caddy.Module { return &Transport{HTTPTransport: new(reverseproxy.HTTPTransport)} },
	}
}

// Provision makes the transport ready to use. It opens no connection.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.now = time.Now
	switch t.API {
	case "":
		t.API = apiOpenAI
	case apiOpenAI, apiAnthropic:
	case apiEcho:
		if len(t.APIKeys) > 0 {
			return errors.New("api_keys: echo takes no credential")
		}
	default:
		return fmt.Errorf("api: %q is none of openai, anthropic and echo", t.API)
	}
	var err error
	if t.BasePath, err = cleanBasePath(t.BasePath); err != nil {
		return err
	}
	if err := checkPassHeaders(t.PassHeaders); err != nil {
		return err
	}
	for _, name := range t.PassHeaders {
		t.pass = append(t.pass, http.CanonicalHeaderKey(name))
	}
	policy, err := ParseDialAllow(t.DialAllow)
	if err != nil {
		return err
	}
	if t.credentials, err = newCredentials(t.APIKeys); err != nil {
		return err
	}
	if err := t.provisionHTTP(ctx, policy); err != nil {
		return err
	}
	t.next = t.HTTPTransport
	if t.API == apiEcho {
		t.next = echo{base: t.BasePath, now: t.now}
	}
	return nil
}

// provisionHTTP sets the defaults of the HTTP transport and puts the dial
// policy around its dialers.
func (t *Transport) provisionHTTP(ctx caddy.Context, policy DialPolicy) error {
	if slices.Contains(t.Versions, "3") {
		return errors.New("versions: a backend can't be spoken to by HTTP/3, whose connections dial_allow could not judge")
	}
	if t.Compression != nil && *t.Compression {
		return errors.New("compression: can't be on, since the gate reads what passes")
	}
	t.Compression = new(bool)
	if t.KeepAlive == nil {
		t.KeepAlive = new(reverseproxy.KeepAlive)
	}
	if t.KeepAlive.MaxIdleConnsPerHost == 0 {
		t.KeepAlive.MaxIdleConnsPerHost = defaultIdlePerHost
	}
	if t.MaxResponseHeaderSize == 0 {
		t.MaxResponseHeaderSize = defaultMaxHeaderBytes
	}
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	rt := t.Transport
	if rt.TLSHandshakeTimeout == 0 {
		rt.TLSHandshakeTimeout = defaultHandshakeTimeout
	}
	rt.DialContext = policy.guard(rt.DialContext)
	if rt.DialTLSContext != nil { // it goes round DialContext
		rt.DialTLSContext = policy.guard(rt.DialTLSContext)
	}
	return nil
}

// cleanBasePath checks a base path and returns it as a prefix: "" for the root.
func cleanBasePath(base string) (string, error) {
	if base == "" {
		return defaultBasePath, nil
	}
	u, err := url.Parse(base)
	if err != nil || u.Path != base || base[0] != '/' || strings.ContainsAny(base, "{}%\\") ||
		strings.Contains(base, "//") || strings.Contains(base+"/", "/../") || strings.Contains(base+"/", "/./") {
		return "", fmt.Errorf("base_path: %q is no plain path; write it like /openai/v1, without query, escapes or dots", base)
	}
	return strings.TrimSuffix(base, "/"), nil
}

// RoundTrip sends a request to the backend and returns its answer as the caller
// may see it. With an exchange, every error is an *AttemptError. It wraps
// context.Canceled only where the caller has left: reverse_proxy then logs 499,
// returns nil and does not count a failure of the backend. Where the gate itself
// ended the attempt it wraps the cause that was given (context.WithCancelCause).
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ex := ExchangeFrom(req.Context())
	if ex == nil {
		out := req.WithContext(req.Context()) // a copy
		if out.Header = req.Header.Clone(); out.Header == nil {
			out.Header = make(http.Header)
		}
		out.URL = copyURL(req.URL) // the scheme is set in it
		t.credentials.set(out.Header, t.API, t.now())
		res, err := t.next.RoundTrip(out)
		if err != nil {
			return nil, scrub(err, secretsOf(out.Header)) // reverse_proxy logs it
		}
		return res, nil
	}
	ex.Attempts++
	ex.Status, ex.CallerStatus, ex.Latency = 0, 0, 0
	ex.UpstreamRequestID, ex.Flag, ex.Err = "", "", nil

	start := t.now()
	out := t.outbound(req, ex)
	ex.Dispatched = ex.Dispatched || t.API == apiEcho // it has no connection to wait for
	res, err := t.next.RoundTrip(out)
	ex.Latency = t.now().Sub(start)
	secrets := secretsOf(out.Header)
	if err != nil {
		ex.Err = attemptError(req.Context(), err, secrets)
		return nil, ex.Err
	}
	res, err = t.inbound(res, ex, secrets)
	if err != nil {
		ex.Err = err
		return nil, err
	}
	return res, nil
}

// outbound makes the request that is sent. reverse_proxy reuses and logs the
// one it gave, so nothing of that is changed.
func (t *Transport) outbound(req *http.Request, ex *Exchange) *http.Request {
	// net/http tells of a connection before it writes to it, on the goroutine
	// of the round trip: what is not told here has not left.
	ctx := httptrace.WithClientTrace(untraced{req.Context()}, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { ex.Dispatched = true },
	})
	out := req.WithContext(ctx) // a copy

	path := ex.Path
	if path == "" {
		path = ex.Endpoint.Path()
	}
	// Of the URL stays where to go. No query: the gate has judged none.
	out.URL = &url.URL{Scheme: req.URL.Scheme, Host: req.URL.Host, Path: t.BasePath + path}
	out.RequestURI = ""
	if dial, ok := reverseproxy.GetDialInfo(ctx); ok {
		t.setHost(out, dial)
	}

	out.Body, out.GetBody, out.ContentLength = http.NoBody, nil, 0
	if ex.HasBody {
		out.Body = ex.Body.Reader()
		out.ContentLength = ex.Body.Len()
		// Lets net/http send again on a connection that was closed while idle.
		out.GetBody = func() (io.ReadCloser, error) { return ex.Body.Reader(), nil }
	}
	out.Trailer, out.TransferEncoding, out.Close = nil, nil, false

	out.Header = stripped(req.Header, t.pass)
	if !ex.HasBody {
		delete(out.Header, "Content-Type")
	}
	out.Header["Accept-Encoding"] = []string{"identity"}
	t.credentials.set(out.Header, t.API, t.now())
	return out
}

// setHost makes the Host that of the upstream, also without TLS, where Caddy
// keeps the caller's: the name by which a caller reached the gate is no business
// of a provider. The handler sends none, and for TLS reverse_proxy sets the
// address; what differs was set by the operator's header_up and stays. The
// scheme's own port is left out, and a socket's path gives way to a name.
func (t *Transport) setHost(out *http.Request, dial reverseproxy.DialInfo) {
	if out.Host != "" && out.Host != dial.Address {
		return
	}
	out.Host = dial.Address
	port := "80"
	if t.TLSEnabled() {
		port = "443"
	}
	switch {
	case strings.HasPrefix(dial.Network, "unix"):
		out.Host = "localhost"
	case dial.Port == port:
		out.Host = strings.TrimSuffix(dial.Address, ":"+port)
	}
}

func copyURL(u *url.URL) *url.URL {
	out := *u
	return &out
}

// attemptError makes the error of a round trip that had no answer.
func attemptError(ctx context.Context, err error, secrets []string) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx) // context.Canceled where the caller has left
	case errors.Is(err, context.Canceled):
		// Nobody left, and reverse_proxy must not take it for that.
		err = errors.New("the round trip was cancelled")
	}
	return &AttemptError{Err: scrub(err, secrets)}
}

// scrub replaces an error whose text holds a secret: net/http quotes what it
// can't parse of an answer.
func scrub(err error, secrets []string) error {
	if holdsSecret(err.Error(), secrets) {
		return errSecret
	}
	return err
}

var errSecret = errors.New("the backend broke off (its error holds the credential and is not shown)")

// Interface guards
var (
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddy.CleanerUpper                               = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
)
