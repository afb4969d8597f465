package backends

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/backends/echo"
	"github.com/amanycodes/pine-gate/internal/backends/health"
	"github.com/amanycodes/pine-gate/internal/wire"
)

func init() {
	caddy.RegisterModule(Transport{})
}

// apiEcho is the API of the backend inside the gate, which speaks all dialects.
const apiEcho = "echo"

const (
	defaultIdlePerHost      = 1024
	defaultHandshakeTimeout = 10 * time.Second
	defaultMaxHeaderBytes   = 256 << 10

	// A backend may compute for minutes without sending a byte, which looks like
	// a dead connection. Pings over HTTP/2 detect a dead one within half a
	// minute.
	pingAfter   = 20 * time.Second // of silence
	pingTimeout = 10 * time.Second
)

// Transport is reverse_proxy's HTTP transport, with all of its fields, for a
// model server. An [Attempt] in the request's context says what to send; a
// request without one, such as an active health check, only gets the credential.
//
// Some fields of the HTTP transport have other defaults: keep_alive
// max_idle_conns_per_host 1024, max_response_header_size 256 KiB, a TLS
// handshake_timeout of 10 seconds. An HTTP/2 connection that was silent for 20
// seconds is pinged, and closed if no reply comes within 10. `versions` can't
// hold 3, since dial_allow could not check its connections, and compression
// can't be on, since the gate reads the bodies. Behind a forward proxy
// (network_proxy, or HTTPS_PROXY in the environment) dial_allow checks the
// proxy's address.
type Transport struct {
	*reverseproxy.HTTPTransport

	// API is the dialect that the backend speaks: openai or anthropic, or echo,
	// which answers inside the gate with the caller's own message and dials
	// nothing. Default: openai.
	API string `json:"api,omitempty"`

	// APIKeys are the credentials that the backend takes, as placeholders:
	// {env.NAME} or {file./path}. They are never written here in clear. Several
	// keys are used in turn. A refused key backs off while the others stay in
	// use, and one request is tried with up to three keys. After 429 the backoff
	// is Retry-After, an hour at most, or else a second, doubled by each further
	// refusal up to a minute; after 401, 402 and 403 it is 10 seconds, doubled
	// up to 10 minutes. If all keys back off, the one whose backoff ends first
	// is used. Files are read again within a second of a change; if the new
	// content is unusable the old key stays. Default: none is sent.
	APIKeys []string `json:"api_keys,omitempty"`

	// KeyHeader is the header that a key is sent in: authorization (as Bearer),
	// x-api-key or api-key, which is Azure's; there a token of Entra ID is
	// recognised and sent as Bearer. Default: authorization, or x-api-key if the
	// API is anthropic, or api-key if there is an api_version.
	KeyHeader string `json:"key_header,omitempty"`

	// BasePath replaces /v1 in front of the endpoints' paths. "/" means no
	// prefix. Default: that of the API, /v1.
	BasePath string `json:"base_path,omitempty"`

	// APIVersion is the api-version that Azure's classic API requires in the
	// query. If the base path ends in /openai, a request goes to the deployment
	// with the model's name: /openai/deployments/<model>/chat/completions.
	// Default: none, as for Azure's API v1 (base path /openai/v1) and for all
	// other providers.
	APIVersion string `json:"api_version,omitempty"`

	// DialAllow lists where the backend may be dialled, checked against the real
	// address of each connection: CIDRs, addresses, public, private, loopback.
	// Default: all but link-local, cloud metadata, unspecified and multicast
	// addresses, in every spelling.
	DialAllow []string `json:"dial_allow,omitempty"`

	// PassHeaders are names of headers that pass in both directions, in addition
	// to those that always do. Credentials, cookies, Location and headers that
	// frame a message can't be among them. The headers that reverse_proxy adds
	// about the caller (X-Forwarded-*, Forwarded, Via) go upstream only if they
	// are named here. Default: none.
	PassHeaders []string `json:"pass_headers,omitempty"`

	next        http.RoundTripper // the HTTP transport, or echo
	keys        *rotation
	dialect     *wire.Dialect // the default for echo, which speaks all of them
	keyHeader   string        // canonical
	deployments bool          // the path names the model's deployment
	pass        []string      // canonical
	keepAlive   *keepAlive
	now         func() time.Time
	logger      *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.pinegate",
		New: func() caddy.Module { return &Transport{HTTPTransport: new(reverseproxy.HTTPTransport)} },
	}
}

// Provision sets up the transport. It opens no connection.
func (t *Transport) Provision(ctx caddy.Context) error {
	t.now = time.Now
	t.logger = ctx.Logger()
	t.keepAlive = new(keepAlive)
	if err := t.provisionAPI(); err != nil {
		return err
	}
	var err error
	if t.BasePath, err = cleanBasePath(cmp.Or(t.BasePath, t.dialect.Base)); err != nil {
		return err
	}
	if t.APIVersion != "" && !IsAPIVersion(t.APIVersion) {
		return fmt.Errorf("api_version: %q is none; write it like 2024-10-21", t.APIVersion)
	}
	t.deployments = t.APIVersion != "" && t.dialect.Azure.Classic != "" && strings.HasSuffix(t.BasePath, t.dialect.Azure.Classic)
	if t.keyHeader, err = t.headerOfKeys(); err != nil {
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
	if t.keys, err = newRotation(t.APIKeys, t.keyHeader); err != nil {
		return err
	}
	if err := t.provisionHTTP(ctx, policy); err != nil {
		return err
	}
	t.next = t.HTTPTransport
	if t.API == apiEcho {
		t.next = echo.Server{Base: t.BasePath}
	}
	return nil
}

// provisionAPI sets the dialect that the backend speaks.
func (t *Transport) provisionAPI() error {
	if t.API == apiEcho {
		if len(t.APIKeys) > 0 {
			return errors.New("api_keys: echo takes no credential")
		}
		t.dialect = wire.DialectNamed("")
		return nil
	}
	if t.dialect = wire.DialectNamed(t.API); t.dialect == nil {
		return fmt.Errorf("api: %q is none of %s", t.API, enumerate(APIs()))
	}
	t.API = t.dialect.Name
	return nil
}

// enumerate returns names as text: "a, b and c".
func enumerate(names []string) string {
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// APIs returns the values that `api` takes.
func APIs() []string {
	var names []string
	for _, d := range wire.Dialects() {
		names = append(names, d.Name)
	}
	return append(names, apiEcho)
}

// Speaks reports whether a backend of an API has endpoint e.
func Speaks(api string, e wire.Endpoint) bool {
	if api == apiEcho {
		return echo.Has(e)
	}
	d := wire.DialectNamed(api)
	return d != nil && d.Speaks(e)
}

// PagesModels reports whether a request for the backend's list of models
// includes the page size.
func (t *Transport) PagesModels() bool { return t.dialect.PageSize }

// headerOfKeys returns the canonical name of the header that keys are sent in.
func (t *Transport) headerOfKeys() (string, error) {
	name := http.CanonicalHeaderKey(t.KeyHeader)
	switch {
	case slices.Contains(wire.KeyHeaders, name):
		return name, nil
	case name != "":
		return "", fmt.Errorf("key_header: %q is none of %s", t.KeyHeader, strings.ToLower(enumerate(wire.KeyHeaders)))
	case t.APIVersion != "" && t.dialect.Azure.KeyHeader != "":
		return t.dialect.Azure.KeyHeader, nil
	}
	return t.dialect.KeyHeader, nil
}

// Share makes the transport keep the backoffs of its keys in state, which
// outlives the transport. It may be called while requests are in flight.
func (t *Transport) Share(state *health.BackendState) { t.keys.backoffs.Store(state.Keys()) }

// provisionHTTP sets the defaults of the HTTP transport and applies the dial
// policy to its dialers.
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
	rt.HTTP2 = &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingTimeout}
	rt.DialContext = policy.guard(rt.DialContext)
	if rt.DialTLSContext != nil { // it bypasses DialContext
		rt.DialTLSContext = policy.guard(rt.DialTLSContext)
	}
	return nil
}

// cleanBasePath checks a base path and returns it as a prefix: "" for the root.
func cleanBasePath(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Path != base || base[0] != '/' || strings.ContainsAny(base, "{}%\\") ||
		strings.Contains(base, "//") || strings.Contains(base+"/", "/../") || strings.Contains(base+"/", "/./") {
		return "", fmt.Errorf("base_path: %q is no plain path; write it like /openai/v1, without query, escapes or dots", base)
	}
	return strings.TrimSuffix(base, "/"), nil
}

// RoundTrip sends a request to the backend and returns its response, filtered
// for the caller. With an attempt, every error is an *AttemptError. It wraps
// context.Canceled only if the caller has left: reverse_proxy then logs 499,
// returns nil and does not count a failure of the backend. If the gate itself
// cancelled the attempt, the error wraps the cause (context.WithCancelCause).
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	ex := AttemptFrom(req.Context())
	if ex == nil {
		out := req.WithContext(req.Context()) // a copy
		if out.Header = req.Header.Clone(); out.Header == nil {
			out.Header = make(http.Header)
		}
		out.URL = copyURL(req.URL) // the scheme is set in it
		key, _ := t.keys.first(t.now())
		t.authorise(out.Header, key)
		res, err := t.next.RoundTrip(out)
		if err != nil {
			return nil, scrub(err, secretsOf(out.Header)) // reverse_proxy logs it
		}
		return res, nil
	}
	return t.answer(t.proxied(req), ex)
}

// answer sends an attempt and returns the response, filtered for the caller. Its
// errors are those of RoundTrip.
func (t *Transport) answer(o outgoing, ex *Attempt) (*http.Response, error) {
	res, err := t.attempt(&o, ex)
	if err != nil {
		ex.Err = err
		return nil, err
	}
	return res, nil
}

// attempt sends a request, again with another key if one is refused, and returns
// the response for the caller.
func (t *Transport) attempt(o *outgoing, ex *Attempt) (*http.Response, error) {
	key, number := t.keys.first(t.now())
	for tries := 1; ; tries++ {
		start := t.now()
		res, secrets, err := t.send(o, ex, key)
		ex.Latency = t.now().Sub(start)
		if err != nil {
			ex.judge(verdictOfError(o.ctx, ex.connected), 0, 0, t.now())
			return nil, attemptError(o.ctx, err, secrets)
		}
		now := t.now()
		wait := retryAfter(res.Header, now)
		refusal := ex.readRefusal(res)
		if key != nil && refusesKey(res.StatusCode) && refusal.about == aboutBackend {
			if rest := t.keys.refused(key, res.StatusCode, wait, start, now); rest > 0 {
				t.logBackoff(number, res.StatusCode, rest)
				if other, n := t.keys.next(now); other != nil && tries < maxKeyTries {
					key, number = other, n
					o.header = maps.Clone(o.header) // net/http may still read the old one
					continue
				}
				wait = t.keys.soonest(now)
			}
		} else if key != nil && res.StatusCode < http.StatusInternalServerError {
			t.keys.accepted(key, start)
		}
		return t.inbound(res, ex, secrets, wait, refusal)
	}
}

// send sends a request once. secrets are the credentials in its header.
func (t *Transport) send(o *outgoing, ex *Attempt, key *apiKey) (res *http.Response, secrets []string, err error) {
	ex.RoundTrips++
	ex.Status, ex.CallerStatus = 0, 0
	ex.UpstreamRequestID, ex.Flag, ex.Err, ex.unbegun = "", "", nil, false
	ex.connected, ex.sent = false, t.now()
	out, ok := t.request(o, ex, key)
	if !ok {
		return noDeployment(ex.Endpoint), nil, nil
	}
	if t.API == apiEcho { // it has no connection, so gotConn is never called
		ex.Dispatched, ex.connected = true, true
	}
	ex.Watchdog.expect(waitFirst)
	for range maxStaleTries {
		if res, err = t.next.RoundTrip(out); err == nil || !ex.stale(o.ctx, err) {
			break
		}
		out = out.WithContext(out.Context()) // a copy: net/http may still hold the one before
		out.Body = ex.Body.Reader()
	}
	if err == nil {
		t.keepAlive.heed(res)
		err = ex.begin(res)
	}
	if !ex.unbegun {
		ex.Watchdog.expect(waitNone)
	}
	return res, secretsOf(out.Header), err
}

// logBackoff logs that a key is not used for a while, by its number in api_keys.
func (t *Transport) logBackoff(number, status int, wait time.Duration) {
	level := zap.InfoLevel
	if status != http.StatusTooManyRequests {
		level = zap.WarnLevel // the operator has to act
	}
	t.logger.Log(level, "backend refused an API key; using the others",
		zap.Int("api_key", number), zap.Int("of", len(t.keys.keys)), zap.Int("status", status), zap.Duration("for", wait))
}

func copyURL(u *url.URL) *url.URL {
	out := *u
	return &out
}

// attemptError returns the error of a round trip that had no response.
func attemptError(ctx context.Context, err error, secrets []string) error {
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx) // context.Canceled if the caller has left
	case errors.Is(err, context.Canceled):
		// The caller is still there, and reverse_proxy treats context.Canceled
		// as one that left.
		err = errors.New("the round trip was cancelled")
	}
	return &AttemptError{Err: scrub(err, secrets)}
}

// scrub replaces an error whose text holds a secret: net/http quotes what it
// can't parse of a response.
func scrub(err error, secrets []string) error {
	if wire.HoldsSecret(err.Error(), secrets) {
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
