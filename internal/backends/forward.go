package backends

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Forwarder sends requests to a backend.
type Forwarder interface {
	// Forward sends the request that ex describes for in, and writes the
	// response to w. ctx is derived from in's, and may end the attempt earlier.
	//
	// It returns nil once a response has been written, and if the caller left
	// before one came: ex.Err distinguishes the two. After any other error w is
	// unchanged. A response that breaks off ends in a panic with
	// [http.ErrAbortHandler], as with reverse_proxy, so that the caller's
	// connection is cut: nothing else shows that the response is incomplete.
	Forward(ctx context.Context, w http.ResponseWriter, in *http.Request, ex *Attempt) error
}

// How a backend's requests are forwarded: by a [Direct] or a [Proxied].
const (
	ForwardDirect  = "direct"
	ForwardProxied = "reverse_proxy"
)

// Forwarding is a backend's forwarder, and why it is that one.
type Forwarding struct {
	Forwarder
	Way    string // ForwardDirect or ForwardProxied
	Reason string // what needs reverse_proxy, or that the configuration says so
}

// NewForwarder returns the forwarder of a backend. proxy is its provisioned
// reverse_proxy over a [Transport], and config the JSON of that. way is "" for a
// [Direct] if config needs nothing that only reverse_proxy does, and a [Proxied]
// otherwise. It returns an error if way is ForwardDirect and config needs
// reverse_proxy.
func NewForwarder(proxy *reverseproxy.Handler, config json.RawMessage, way string) (Forwarding, error) {
	transport := proxy.Transport.(*Transport)
	reason := "configured"
	if way != ForwardProxied {
		to, needs := plain(config, transport)
		if needs == "" {
			return Forwarding{&Direct{transport: transport, to: to}, ForwardDirect, ""}, nil
		}
		reason = needs
	}
	if way == ForwardDirect {
		return Forwarding{}, fmt.Errorf("proxy direct: %s needs reverse_proxy: remove it, or write proxy reverse_proxy", reason)
	}
	return Forwarding{
		&Proxied{Proxy: proxy, PassHeaders: transport.pass, Routes: len(proxy.HandleResponse) > 0}, ForwardProxied, reason,
	}, nil
}

// Proxied forwards through reverse_proxy, with all of its features.
type Proxied struct {
	Proxy       caddyhttp.MiddlewareHandler
	PassHeaders []string // see [ForwardHeader]

	// Routes is set if the operator's own routes (handle_response) may write a
	// response and then return an error.
	Routes bool
}

// Forward implements [Forwarder].
func (p *Proxied) Forward(ctx context.Context, w http.ResponseWriter, in *http.Request, ex *Attempt) error {
	if !p.Routes {
		return p.Proxy.ServeHTTP(w, ex.Request(ctx, in, p.PassHeaders), nothingNext)
	}
	begun := &begunWriter{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}}
	err := p.Proxy.ServeHTTP(begun, ex.Request(ctx, in, p.PassHeaders), nothingNext)
	if err != nil && begun.begun {
		// No other response and no error may follow what was written.
		ex.Err = err
		panic(http.ErrAbortHandler)
	}
	return err
}

// begunWriter records whether a response has been started.
type begunWriter struct {
	*caddyhttp.ResponseWriterWrapper
	begun bool
}

func (w *begunWriter) WriteHeader(status int) {
	w.begun = w.begun || status >= 200
	w.ResponseWriterWrapper.WriteHeader(status)
}

func (w *begunWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseWriterWrapper.Write(p)
}

func (w *begunWriter) ReadFrom(r io.Reader) (int64, error) {
	w.begun = true
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// nothingNext is the end of the handler chain: no other handler follows
// reverse_proxy.
var nothingNext = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
