package backends

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// Direct forwards to a plain backend without reverse_proxy: one whose config
// only has its addresses and a transport. reverse_proxy would add nothing, and
// costs as much CPU as the rest of the gate: it copies the header and the
// request twice, sets placeholders and creates loggers that nobody uses.
//
// Direct does what reverse_proxy does, except for what is only visible inside
// Caddy: it sets no {http.reverse_proxy.*} placeholders and logs no "upstream
// roundtrip" at DEBUG, and /reverse_proxy/upstreams counts none of its requests.
type Direct struct {
	transport *Transport
	to        []upstream // each attempt picks one at random, as with lb_policy random
}

// upstream is an address of a backend, in the form that requests use.
type upstream struct {
	server url.URL // scheme and host
	host   string  // the Host header
}

// plain returns the addresses of a backend if its reverse_proxy config needs
// nothing that only reverse_proxy does, else what needs it. Every field that is
// not listed here does.
func plain(config json.RawMessage, t *Transport) (to []upstream, needs string) {
	var fields map[string]json.RawMessage
	var upstreams []map[string]json.RawMessage
	if json.Unmarshal(config, &fields) != nil || fields["upstreams"] != nil && json.Unmarshal(fields["upstreams"], &upstreams) != nil {
		return nil, "an odd configuration"
	}
	if name := otherThan(fields, "handler", "transport", "upstreams"); name != "" {
		return nil, name
	}
	if len(upstreams) == 0 {
		return nil, "no upstreams"
	}
	if needs := t.needsProxy(); needs != "" {
		return nil, needs
	}
	for _, u := range upstreams {
		if name := otherThan(u, "dial"); name != "" {
			return nil, "upstreams." + name
		}
		var dial string
		_ = json.Unmarshal(u["dial"], &dial) // "" is no address
		// A placeholder may differ for each request. A net/http URL can't
		// express a socket, nor IPv4 as opposed to IPv6.
		address, err := caddy.ParseNetworkAddress(dial)
		if err != nil || strings.Contains(dial, "{") || address.Network != "tcp" || address.PortRangeSize() != 1 || address.StartPort == 0 {
			return nil, "upstream " + dial
		}
		to = append(to, t.upstream(address))
	}
	return to, ""
}

// otherThan returns the first of the names of fields, in their order, that is not
// among known, or "".
func otherThan(fields map[string]json.RawMessage, known ...string) string {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(known, name) {
			return name
		}
	}
	return ""
}

// needsProxy returns the field of the transport that needs what reverse_proxy adds
// to a request, which is the caller's address and placeholders, or "".
func (t *Transport) needsProxy() string {
	switch {
	case t.ProxyProtocol != "":
		return "transport.proxy_protocol"
	case t.TLS != nil && strings.Contains(t.TLS.ServerName, "{"):
		return "transport.tls_server_name"
	case slices.ContainsFunc(t.pass, aboutCaller):
		return "pass_header"
	}
	return ""
}

func (t *Transport) upstream(address caddy.NetworkAddress) upstream {
	hostport := address.JoinHostPort(0)
	probe := &http.Request{URL: &url.URL{Host: hostport}}
	t.SetScheme(probe)
	port := strconv.FormatUint(uint64(address.StartPort), 10)
	return upstream{*probe.URL, t.host(address.Network, hostport, port)}
}

// statusClientClosed is the status of nginx and Caddy for a caller who left.
const statusClientClosed = 499

// Forward implements [Forwarder].
func (d *Direct) Forward(ctx context.Context, w http.ResponseWriter, in *http.Request, ex *Attempt) error {
	to := &d.to[0]
	if len(d.to) > 1 {
		to = &d.to[rand.IntN(len(d.to))]
	}
	header := ForwardHeader(in.Header, ex.Endpoint, d.transport.pass)
	if _, named := header["User-Agent"]; !named {
		header["User-Agent"] = noAgent // else net/http sends its own
	}
	res, err := d.transport.answer(outgoing{ctx, in.Method, &to.server, to.host, header}, ex)
	if errors.Is(err, context.Canceled) { // the caller has left
		w.WriteHeader(statusClientClosed) // for the access log only
		return nil
	}
	if err != nil {
		return err
	}
	if err := answer(w, res, ex); err != nil {
		// Flush what has been written, so that the caller sees where the
		// response broke off.
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	return nil
}

// answer writes a response as it arrives. It returns an error if the body breaks
// off.
func answer(w http.ResponseWriter, res *http.Response, ex *Attempt) error {
	defer res.Body.Close()
	header := w.Header()
	delete(header, "Server") // this server is a proxy and sends Via instead, as reverse_proxy does
	if len(header["Via"]) == 0 && res.ProtoMajor == 1 && res.ProtoMinor == 1 {
		header["Via"] = usualVia
	} else {
		header["Via"] = append(slices.Clip(header["Via"]), via(res))
	}
	for name, values := range res.Header {
		if before, ok := header[name]; ok {
			values = append(slices.Clip(before), values...)
		}
		header[name] = values
	}
	w.WriteHeader(res.StatusCode)
	return copyBody(w, res, ex)
}

// Header values that all requests share. They must not be modified in place, and
// have no spare capacity to append to.
var (
	noAgent  = []string{""}
	usualVia = []string{"1.1 Caddy"}
)

func via(res *http.Response) string {
	return strconv.Itoa(res.ProtoMajor) + "." + strconv.Itoa(res.ProtoMinor) + " Caddy"
}

// copyBody copies a body. A stream is flushed after each read, and its header
// before the first one, so that bytes that the backend sent at once leave at
// once, in one piece.
func copyBody(w http.ResponseWriter, res *http.Response, ex *Attempt) error {
	flush := func() {}
	pool := buffers
	events := isEvents(res.Header)
	if events {
		pool = eventBuffers
	}
	if res.ContentLength < 0 || events {
		controller := http.NewResponseController(w)
		flush = func() { _ = controller.Flush() } // if the caller left, the next write fails
	}
	flush()
	space := pool.Get().(*[]byte)
	defer pool.Put(space)
	buf := *space
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				ex.Left = true
				return err
			}
			flush()
		}
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}

// isEvents reports whether a response is an event stream, even if it has a
// length.
func isEvents(header http.Header) bool { return isMedia(header, "text/event-stream") }

// isMedia reports whether a response is of a media type, ignoring parameters.
func isMedia(header http.Header, want string) bool {
	media, _, _ := strings.Cut(header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), want)
}

// copyBuffer is how many bytes of a response are read at once, and eventBuffer
// how many of an event stream: a stream holds its buffer for as long as it is
// open, and net/http seldom returns more than 4 KiB of it at once.
const (
	copyBuffer  = 32 << 10
	eventBuffer = 8 << 10
)

// Buffers are reused for other callers' responses: only the bytes that were just
// read into one are written.
var buffers, eventBuffers = bufferPool(copyBuffer), bufferPool(eventBuffer)

func bufferPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any {
		b := make([]byte, size)
		return &b
	}}
}
