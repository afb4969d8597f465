// Package doctor checks a gate: its configuration, and its state if it is running.
package doctor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/internal/config"
	"github.com/amanycodes/pine-gate/internal/control"
)

// Finding is a problem that should be fixed.
type Finding struct {
	// Serious is set if the finding allows unauthorized access, loses data, or has
	// broken something.
	Serious bool   `json:"serious"`
	What    string `json:"what"`
	Do      string `json:"do"`
}

func serious(do, what string, args ...any) Finding {
	return Finding{true, fmt.Sprintf(what, args...), do}
}

func warning(do, what string, args ...any) Finding {
	return Finding{false, fmt.Sprintf(what, args...), do}
}

// Instance is a configuration and, if it is running, the state of its gate.
type Instance struct {
	now    time.Time
	config caddy.Config
	http   httpConfig
	app    *config.App

	servers map[string]*caddyhttp.Server
	gates   []gateSite
	admins  []adminSite

	// The state of the running gate; status is nil if none is running.
	status   *control.Status
	backends []control.Backend
	keys     []control.Key
	moreKeys bool // there are more keys than were fetched
	teams    control.TeamList
}

// httpConfig holds the fields of the HTTP app that are checked.
type httpConfig struct {
	GracePeriod   caddy.Duration             `json:"grace_period"`
	ShutdownDelay caddy.Duration             `json:"shutdown_delay"`
	Servers       map[string]json.RawMessage `json:"servers"`
}

// gateSite is a pinegate block and its server.
type gateSite struct {
	server string
	*config.Gate
}

// adminSite is a pinegate_admin block and its server.
type adminSite struct{ server string }

// New returns the instance of a configuration in Caddy's JSON.
func New(text []byte, now time.Time) (*Instance, error) {
	p := &Instance{now: now, app: new(config.App), servers: make(map[string]*caddyhttp.Server)}
	if err := json.Unmarshal(text, &p.config); err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	for name, into := range map[string]any{"http": &p.http, "pinegate": p.app} {
		if raw := p.config.AppsRaw[name]; raw != nil {
			if err := json.Unmarshal(raw, into); err != nil {
				return nil, fmt.Errorf("reading the app %s: %w", name, err)
			}
		}
	}
	for name, raw := range p.http.Servers {
		server := new(caddyhttp.Server)
		var tree any
		for _, into := range []any{server, &tree} {
			if err := json.Unmarshal(raw, into); err != nil {
				return nil, fmt.Errorf("reading the server %s: %w", name, err)
			}
		}
		p.servers[name] = server
		if err := p.findHandlers(name, tree); err != nil {
			return nil, fmt.Errorf("reading the server %s: %w", name, err)
		}
	}
	slices.SortStableFunc(p.gates, func(a, b gateSite) int { return strings.Compare(a.server, b.server) })
	slices.SortStableFunc(p.admins, func(a, b adminSite) int { return strings.Compare(a.server, b.server) })
	return p, nil
}

// findHandlers adds the gate's handlers in tree, at any depth.
func (p *Instance) findHandlers(server string, tree any) error {
	switch node := tree.(type) {
	case []any:
		for _, child := range node {
			if err := p.findHandlers(server, child); err != nil {
				return err
			}
		}
	case map[string]any:
		switch node["handler"] {
		case "pinegate":
			raw, err := json.Marshal(node)
			if err != nil {
				return err
			}
			gate := new(config.Gate)
			if err := json.Unmarshal(raw, gate); err != nil {
				return err
			}
			p.gates = append(p.gates, gateSite{server, gate})
			return nil
		case "pinegate_admin":
			p.admins = append(p.admins, adminSite{server})
			return nil
		}
		for _, name := range slices.Sorted(maps.Keys(node)) {
			if err := p.findHandlers(server, node[name]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Check runs all checks and returns their findings, serious ones first.
func (p *Instance) Check() []Finding {
	all := []Finding{}
	for _, check := range checks {
		all = append(all, check(p)...)
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		switch {
		case a.Serious == b.Serious:
			return 0
		case a.Serious:
			return -1
		}
		return 1
	})
	return all
}

// checks lists all checks. A check whose data is missing returns no findings.
var checks = []func(*Instance) []Finding{
	checkGate, checkStore, checkRedis, checkBackends, checkKeysEnd, checkKeysLimited, checkProxy,
	checkAdminEndpoint, checkAdminSite, checkTrusted, checkLogs, checkDebug, checkEnd, checkTimeouts,
	checkMemory, checkPrices, checkThrottle,
}

// reachable reports whether other machines can reach a listener.
func reachable(listen string) bool {
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil || address.IsUnixNetwork() || address.Host == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(address.Host)
	return err != nil || !ip.IsLoopback()
}

// open returns the listeners of a server that other machines can reach, and
// reports whether they use TLS, as far as the configuration shows.
func (p *Instance) open(server string) (listeners []string, tls bool) {
	s := p.servers[server]
	tls = len(s.TLSConnPolicies) > 0
	for _, listen := range s.Listen {
		if reachable(listen) {
			listeners = append(listeners, listen)
		}
		if _, port, err := net.SplitHostPort(listen); err == nil && port == "443" && (s.AutoHTTPS == nil || !s.AutoHTTPS.Disabled) {
			tls = true
		}
	}
	return listeners, tls
}

// gateServers returns the names of the servers that have a gate, each once.
func (p *Instance) gateServers() (names []string) {
	for _, g := range p.gates {
		if !slices.Contains(names, g.server) {
			names = append(names, g.server)
		}
	}
	return names
}
