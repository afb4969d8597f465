package caddyfile

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"golang.org/x/net/http/httpguts"

	"github.com/amanycodes/pine-gate/internal/backends"
	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// backendParser splits a backend's block into its own subdirectives and those of
// reverse_proxy, which it passes to reverse_proxy's parser, so that all of its
// syntax works and its messages keep their lines.
type backendParser struct {
	helper  httpcaddyfile.Helper
	backend *config.Backend

	api                  string
	apiKeys, passHeaders []string

	upstreams upstreams
	dynamic   bool

	// Tokens for reverse_proxy: its directive with the upstreams, and the block.
	head, rest  []caddyfile.Token
	open, close caddyfile.Token
	unknown     []string // the first tokens of the lines in rest
}

// parseBackend parses a backend and its block. [backendParser.finish] returns its
// configuration.
func parseBackend(h httpcaddyfile.Helper, d *caddyfile.Dispenser, names definitions) (*backendParser, error) {
	p := &backendParser{helper: h, backend: new(config.Backend), api: wire.DialectNamed("").Name}
	p.head = []caddyfile.Token{d.Token()}
	var err error
	if p.backend.Name, err = names.add(d, "backend"); err != nil {
		return nil, err
	}
	name := *d // the position of errors about the whole block
	for d.NextArg() {
		token, err := p.upstreams.add(d)
		if err != nil {
			return nil, err
		}
		p.head = append(p.head, token)
	}
	p.findBraces(*d)
	if err := parseBlock(d, p.subdirectives(), p.passOn); err != nil {
		return nil, err
	}

	if p.backend.Queue > 0 && p.backend.MaxInflight == 0 {
		return nil, name.Errf("backend %q: queue without max_inflight, so that nobody would wait: expected both, as in max_inflight 32 and queue 200 30s", p.backend.Name)
	}
	switch configured := p.upstreams.count > 0 || p.dynamic; {
	case p.api == "echo" && configured:
		return nil, name.Errf("backend %q: api echo answers by itself: expected no upstreams", p.backend.Name)
	case p.api == "echo" && len(p.apiKeys) > 0:
		return nil, name.Errf("backend %q: api echo calls nobody: expected no api_key", p.backend.Name)
	case p.api == "echo" && p.backend.Discover > 0:
		return nil, name.Errf("backend %q: api echo has no models to tell: expected no discover", p.backend.Name)
	case p.api == "echo":
		p.head = append(p.head, sameLine(p.head[0], echoUpstream))
	case !configured:
		return nil, name.Errf("backend %q has no upstream: expected host:port, http(s)://host[:port][/path] or unix/path", p.backend.Name)
	}
	return p, nil
}

// findBraces records the tokens of the block's braces for reverse_proxy's block: a
// new token would not belong to the same import. It takes the dispenser by value,
// so that the caller's is not moved.
func (p *backendParser) findBraces(d caddyfile.Dispenser) {
	if d.Next() {
		p.open = d.Token()
	}
	for d.Next() {
		p.close = d.Token()
	}
}

// sameLine returns a copy of token with another text.
func sameLine(token caddyfile.Token, text string) caddyfile.Token {
	token.Text = text
	return token
}

func (p *backendParser) subdirectives() subdirectives {
	b := p.backend
	set := func(to *string, value string) func() { return func() { *to = value } }
	apis := make(map[string]func())
	for _, name := range backends.APIs() {
		apis[name] = set(&p.api, name)
	}
	usage := func(on bool) func() { return func() { b.IncludeUsage = &on } }
	return subdirectives{
		"api":                 oneOf(apis),
		"api_key":             listOf(&p.apiKeys, "{env.NAME} or {file./path}", config.CheckCredential),
		"models":              listOf(&b.Models, "patterns of models", aPattern),
		"discover":            {parse: p.parseDiscover},
		"rename":              {repeats: true, parse: p.parseRename},
		"limit":               limitsOf(&b.Limits),
		"first_token_timeout": valueOf(&b.FirstTokenTimeout, aDuration, parseDuration),
		"idle_timeout":        valueOf(&b.IdleTimeout, aDuration, parseDuration),
		"max_inflight":        valueOf(&b.MaxInflight, aCount, parseCount),
		"queue":               {parse: p.parseQueue},
		"on_disconnect":       {parse: p.parseOnDisconnect},
		"include_usage":       oneOf(map[string]func(){"on": usage(true), "off": usage(false)}),
		"continuous_usage":    flagOf(&b.ContinuousUsage),
		"proxy":               oneOf(map[string]func(){"direct": set(&b.Forward, "direct"), "reverse_proxy": set(&b.Forward, "reverse_proxy")}),
		"pass_header":         listOf(&p.passHeaders, "names of headers", checkPassHeader),
		"to":                  {repeats: true, parse: p.parseTo},
		"dynamic":             {parse: p.parseDynamic},
		"transport":           {parse: p.parseTransport},
	}
}

// defaultDrain is the time of `on_disconnect drain` without an argument.
const defaultDrain = caddy.Duration(time.Minute)

func (p *backendParser) parseOnDisconnect(d *caddyfile.Dispenser) error {
	const expected = "cancel or drain [<max>]"
	what, err := argument(d, expected)
	if err != nil {
		return err
	}
	switch what {
	case "cancel":
		return nil
	case "drain":
	default:
		return d.Errf("on_disconnect: unknown word %q: expected %s", what, expected)
	}
	p.backend.Drain = defaultDrain
	if !d.NextArg() {
		return nil
	}
	if p.backend.Drain, err = parseDuration(d.Val()); err != nil {
		return d.Errf("on_disconnect: %v: expected %s", err, aDuration)
	}
	return nil
}

func (p *backendParser) parseQueue(d *caddyfile.Dispenser) error {
	const expected = "how many wait and how long at most, as in queue 200 30s"
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("queue: expected %s", expected)
	}
	var err error
	if p.backend.Queue, err = parseCount(args[0]); err != nil {
		return d.Errf("queue: %v: expected %s", err, expected)
	}
	if p.backend.Queue > config.MaxQueue {
		return d.Errf("queue: %q are too many: expected %d at most", args[0], config.MaxQueue)
	}
	if p.backend.QueueTimeout, err = parseDuration(args[1]); err != nil {
		return d.Errf("queue: %v: expected %s", err, expected)
	}
	return nil
}

func (p *backendParser) parseDiscover(d *caddyfile.Dispenser) error {
	const expected = aDuration + ", at least a second, or off"
	value, err := argument(d, expected)
	if err != nil {
		return err
	}
	if value == "off" {
		p.backend.DiscoverOff = true
		return nil
	}
	if p.backend.Discover, err = parseDuration(value); err != nil {
		return d.Errf("discover: %v: expected %s", err, expected)
	}
	if time.Duration(p.backend.Discover) < config.MinDiscover {
		return d.Errf("discover: %s is too often: expected %s", value, expected)
	}
	return nil
}

// refused maps subdirectives of reverse_proxy that would break the gate to the
// reasons.
var refused = map[string]string{
	"flush_interval":   "events are flushed at once anyway, and anything else would hold them back",
	"response_buffers": "it would hold back the events of a stream",
	"request_buffers":  "the gate holds the body already, up to max_body, and sends it again for each retry",
}

// passOn adds segment to the lines for reverse_proxy.
func (p *backendParser) passOn(segment caddyfile.Segment) error {
	d := caddyfile.NewDispenser(segment)
	d.Next()
	if why, ok := refused[d.Val()]; ok {
		return d.Errf("%q does not belong in a backend: %s", d.Val(), why)
	}
	p.unknown = append(p.unknown, d.Val())
	p.rest = append(p.rest, segment...)
	return nil
}

func (p *backendParser) parseTo(d *caddyfile.Dispenser) error {
	tokens := []caddyfile.Token{d.Token()}
	for d.NextArg() {
		token, err := p.upstreams.add(d)
		if err != nil {
			return err
		}
		tokens = append(tokens, token)
	}
	if len(tokens) == 1 {
		return d.Errf("%q lacks its arguments: expected upstreams", "to")
	}
	p.rest = append(p.rest, tokens...)
	return nil
}

func (p *backendParser) parseDynamic(d *caddyfile.Dispenser) error {
	p.dynamic = true
	p.rest = append(p.rest, d.NextSegment()...)
	return nil
}

// parseTransport accepts reverse_proxy's transport http, whose options the gate's
// own transport supports. Other transports would not meter answers.
func (p *backendParser) parseTransport(d *caddyfile.Dispenser) error {
	start := *d
	name, err := argument(d, "http")
	if err != nil {
		return err
	}
	if name != "http" {
		return d.Errf("transport: unknown word %q: expected http, whose options the gate's own transport has", name)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() == "versions" {
			for d.NextArg() {
				if d.Val() == "3" {
					return d.Errf("versions: HTTP/3 to a backend goes round dial_allow: expected 1.1, 2 or h2c")
				}
			}
		}
	}
	p.rest = append(p.rest, start.NextSegment()...)
	return nil
}

func (p *backendParser) parseRename(d *caddyfile.Dispenser) error {
	args := d.RemainingArgs()
	if len(args) != 2 {
		return d.Errf("rename: expected two arguments, the public name of a model and the backend's")
	}
	for _, arg := range args {
		if err := aPattern(arg); err != nil || strings.Contains(arg, "*") {
			return d.Errf("rename: %q is no name of a model: expected one without white space and '*'", arg)
		}
	}
	if _, again := p.backend.Rename[args[0]]; again {
		return d.Errf("rename: %q is renamed already", args[0])
	}
	if p.backend.Rename == nil {
		p.backend.Rename = make(map[string]string)
	}
	p.backend.Rename[args[0]] = args[1]
	return nil
}

// checkPassHeader refuses headers that the transport never passes on. It tests the
// header in a GET, which passes none by default.
func checkPassHeader(name string) error {
	if !httpguts.ValidHeaderFieldName(name) {
		return fmt.Errorf("%q is no name of a header", name)
	}
	name = http.CanonicalHeaderKey(name)
	header := http.Header{name: {""}}
	if len(backends.ForwardHeader(header, wire.ListModels, []string{name})) == 0 {
		return fmt.Errorf("%s is never passed on: set what the backend needs with api_key or header_up", name)
	}
	return nil
}

// finish runs reverse_proxy's parser, replaces its transport with the gate's and
// returns the backend's configuration.
func (p *backendParser) finish(dialAllow []string) (*config.Backend, error) {
	tokens := p.head
	if len(p.rest) > 0 {
		tokens = append(append(append(tokens, p.open), p.rest...), p.close)
	}
	proxy := new(reverseproxy.Handler)
	err := proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens))
	if err == nil {
		err = proxy.FinalizeUnmarshalCaddyfile(p.helper)
	}
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", p.backend.Name, p.expecting(err))
	}
	if proxy.TransportRaw, err = p.transport(proxy.TransportRaw, dialAllow); err != nil {
		return nil, fmt.Errorf("backend %q: encoding its transport: %w", p.backend.Name, err)
	}
	var warnings []caddyconfig.Warning
	p.backend.ProxyRaw = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", &warnings)
	if len(warnings) > 0 {
		return nil, fmt.Errorf("backend %q: encoding its reverse_proxy: %s", p.backend.Name, warnings[0].Message)
	}
	return p.backend, nil
}

// expecting adds the backend's own subdirectives to reverse_proxy's error about an
// unknown one, which may be a misspelled one of the backend's.
func (p *backendParser) expecting(err error) error {
	for _, name := range p.unknown {
		if strings.HasPrefix(err.Error(), "unrecognized subdirective "+name+",") {
			return fmt.Errorf("%w: expected a subdirective of reverse_proxy or one of %s", err, p.subdirectives())
		}
	}
	return err
}

// transport returns the gate's transport with the options of reverse_proxy's, which
// it embeds: TLS, timeouts and versions are kept.
func (p *backendParser) transport(raw json.RawMessage, dialAllow []string) (json.RawMessage, error) {
	options := make(map[string]any)
	if raw != nil {
		if err := json.Unmarshal(raw, &options); err != nil {
			return nil, err
		}
		if options["protocol"] != "http" {
			return nil, errors.New("expected the transport http")
		}
	}
	options["protocol"] = "pinegate"
	if p.api != wire.DialectNamed("").Name {
		options["api"] = p.api
	}
	if base := p.upstreams.base(p.api); base != "" {
		options["base_path"] = base
	}
	if version := p.upstreams.apiVersion; version != "" {
		options["api_version"] = version
	} else if header := backends.AzureKeyHeader(p.api); p.upstreams.azure && header != "" {
		options["key_header"] = strings.ToLower(header)
	}
	for name, values := range map[string][]string{
		"api_keys": p.apiKeys, "dial_allow": dialAllow, "pass_headers": p.passHeaders,
	} {
		if len(values) > 0 {
			options[name] = values
		}
	}
	return json.Marshal(options)
}
