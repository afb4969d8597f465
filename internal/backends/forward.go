package backends

import (
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Forwarder has requests answered by a backend.
type Forwarder interface {
	// Forward sends what the attempt says for the request in, and writes the
	// answer to w. ctx is in's, or ends the attempt otherwise.
	//
	// It returns nil once an answer has been written, and where the caller has
	// left before one came: the attempt's Err says which. Any other error leaves w
	// untouched. An answer that breaks off midway ends in a panic with
	// [http.ErrAbortHandler], as with reverse_proxy, so that the caller's
	// connection is cut: nothing else shows that the answer is not whole.
	Forward(ctx context.Context, w http.ResponseWriter, in *http.Request, ex *Attempt) error
}

// NewForwarder returns the way to a backend of which reverse_proxy was
// provisioned, over a [Transport], from config: the [Direct] one where that
// asks for nothing of reverse_proxy, else the one through it.
func NewForwarder(proxy *reverseproxy.Handler, config json.RawMessage) Forwarder {
	transport := proxy.Transport.(*Transport)
	if to, ok := plain(config, transport); ok {
		return &Direct{transport: transport, to: to}
	}
	return &Proxied{Proxy: proxy, PassHeaders: transport.pass, Routes: len(proxy.HandleResponse) > 0}
}

// Proxied is the way through reverse_proxy, with all that it can do.
type Proxied struct {
	Proxy       caddyhttp.MiddlewareHandler
	PassHeaders []string // see [ForwardHeader]

	// Routes says that the operator's own routes (handle_response) may write an
	// answer, and fail afterwards.
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
		// Neither another answer nor an error may follow what was written.
		ex.Err = err
		panic(http.ErrAbortHandler)
	}
	return err
}

// begunWriter knows whether an answer has been begun.
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

// nothingNext ends a handler chain: whatever reverse_proxy does not answer
// itself, nobody else will.
var nothingNext = caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
