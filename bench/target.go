package main

import (
	"errors"
	"fmt"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// target is where requests are sent to, and what came of them.
type target struct {
	name    string
	url     string
	process *process    // nil: it has none of its own, so no CPU to measure
	own     *server     // a Caddy that the bench has started
	redis   *redisStore // that the gateway has its limits in, if it has

	key, model func(caller int) string
	keys       int // among which requests take turns
	header     string

	callers  []*caller
	requests [][]byte // by the caller whose key and model they have
	samples  []sample // of each round
	since    counters // at the beginning of the last turn
	memory   memory
}

const chatPath = "/v1/chat/completions"

// ownTarget is a gateway that the bench has started.
func ownTarget(kind gatewayKind, s *server) *target {
	return &target{name: kind.name, url: "http://" + s.address, own: s, key: benchKey, model: benchModel, keys: max(kind.callers, 1)}
}

// startTargets starts the gateways that are to be measured. stop ends them.
func startTargets(s settings, dir string, mock *httptest.Server) (targets []*target, stop func(), err error) {
	var started []*server
	stop = func() {
		for _, t := range targets {
			t.hangUp()
		}
		for _, s := range slices.Backward(started) {
			s.stop()
		}
	}
	defer func() {
		if err != nil {
			stop()
		}
	}()
	fmt.Println()
	targets = append(targets, &target{name: "direct", url: mock.URL, key: benchKey, model: benchModel, keys: 1})
	for _, kind := range gatewayKinds {
		if kind.name != bare && len(s.only) > 0 && !slices.Contains(s.only, kind.name) {
			continue
		}
		var store *redisStore
		if kind.redis {
			if store, err = startRedis(dir); err != nil {
				return nil, nil, err
			}
			if store == nil {
				if slices.Contains(s.only, kind.name) {
					return nil, nil, errors.New(kind.name + ": there is no redis-server")
				}
				fmt.Println("no redis-server is installed: leaving out", kind.name)
				continue
			}
			started = append(started, store.server)
		}
		g, err := startGateway(s.caddy, dir, kind, mock.Listener.Addr().String(), store.address())
		if err != nil {
			return nil, nil, err
		}
		started = append(started, g)
		t := ownTarget(kind, g)
		p, err := processOf(g.command.Process.Pid)
		if err != nil {
			return nil, nil, err
		}
		t.process, t.redis = &p, store
		fmt.Printf("  %s: profiles at http://%s/debug/pprof/\n", t.name, g.admin)
		targets = append(targets, t)
	}
	for _, o := range s.others {
		t, err := o.target()
		if err != nil {
			return nil, nil, err
		}
		targets = append(targets, t)
	}
	return targets, stop, nil
}

// chat is the turn-th chat, of which each is of the next key.
func (t *target) chat(turn int) []byte {
	if t.requests == nil {
		for i := range t.keys {
			t.requests = append(t.requests, t.post(i, chatRequest(t.model(i))))
		}
	}
	return t.requests[turn%t.keys]
}

// stream is a request for a stream, of the turn-th key.
func (t *target) stream(turn int, s stream) []byte {
	i := turn % t.keys
	return t.post(i, s.request(t.model(i)))
}

// post is a whole HTTP request.
func (t *target) post(caller int, body string) []byte {
	address := strings.TrimPrefix(t.url, "http://")
	host, base, _ := strings.Cut(address, "/")
	if base != "" {
		base = "/" + base
	}
	return fmt.Appendf(nil, "POST %s%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nAccept: application/json\r\n%sContent-Length: %d\r\n\r\n%s",
		base, chatPath, host, t.key(caller), t.header, len(body), body)
}

// connect gives the target so many callers.
func (t *target) connect(n int) error {
	u, err := url.Parse(t.url)
	if err != nil {
		return err
	}
	for range n {
		t.callers = append(t.callers, &caller{address: u.Host})
	}
	t.chat(0) // so that no two callers make the requests
	return nil
}

// hangUp ends the callers' connections.
func (t *target) hangUp() {
	for _, c := range t.callers {
		if c.conn != nil {
			c.close()
		}
	}
	t.callers = nil
}

// other is a gateway that runs already.
type other struct {
	name, url  string
	pid        int
	key, model string
	header     []string
}

// parseOther reads name=http://host:port,pid=123 and what may follow.
func parseOther(text string) (o other, err error) {
	for i, part := range strings.Split(text, ",") {
		name, value, ok := strings.Cut(part, "=")
		switch {
		case !ok || value == "":
			return o, fmt.Errorf("%q is to be name=value", part)
		case i == 0:
			o.name, o.url = name, strings.TrimSuffix(value, "/")
		case name == "pid":
			o.pid, err = strconv.Atoi(value)
		case name == "key":
			o.key = value
		case name == "model":
			o.model = value
		case name == "header":
			o.header = append(o.header, value)
		default:
			return o, fmt.Errorf("%q is none of pid, key, model and header", name)
		}
		if err != nil {
			return o, fmt.Errorf("%s: %w", name, err)
		}
	}
	if !strings.HasPrefix(o.url, "http://") || o.pid == 0 {
		return o, errors.New("a name, a URL that begins with http:// and a pid are needed")
	}
	return o, nil
}

func (o other) target() (*target, error) {
	p, err := processOf(o.pid)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.name, err)
	}
	always := func(value, usual string) func(int) string {
		if value == "" {
			value = usual
		}
		return func(int) string { return value }
	}
	t := &target{name: o.name, url: o.url, process: &p, key: always(o.key, benchKey(0)), model: always(o.model, benchModel(0)), keys: 1}
	for _, line := range o.header {
		t.header += line + "\r\n"
	}
	return t, nil
}
