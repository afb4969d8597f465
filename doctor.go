package pinegate

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

	"github.com/amanycodes/pine-gate/internal/control"
)

// finding is something that the doctor would change.
type finding struct {
	// Serious is what lets somebody in, loses something or has stopped working.
	Serious bool   `json:"serious"`
	What    string `json:"what"`
	Do      string `json:"do"`
}

func serious(do, what string, args ...any) finding {
	return finding{true, fmt.Sprintf(what, args...), do}
}

func warning(do, what string, args ...any) finding {
	return finding{false, fmt.Sprintf(what, args...), do}
}

// patient is what the doctor looks at: a configuration, and where it runs, what its
// gate tells of itself.
type patient struct {
	now    time.Time
	config caddy.Config
	http   httpConfig
	app    *App

	servers map[string]*caddyhttp.Server
	gates   []gateSite
	admins  []adminSite

	// Told by the gate; nil: none runs.
	status   *control.Status
	backends []control.Backend
	keys     []control.Key
	moreKeys bool // than were looked at
	teams    control.TeamList
}

// httpConfig is what of the HTTP app the doctor looks at.
type httpConfig struct {
	GracePeriod   caddy.Duration             `json:"grace_period"`
	ShutdownDelay caddy.Duration             `json:"shutdown_delay"`
	Servers       map[string]json.RawMessage `json:"servers"`
}

// gateSite is a pinegate block and the server that it is in.
type gateSite struct {
	server string
	*Handler
}

// adminSite is a pinegate_admin block, likewise.
type adminSite struct{ server string }

// newPatient reads a configuration in Caddy's JSON.
func newPatient(config []byte, now time.Time) (*patient, error) {
	p := &patient{now: now, app: new(App), servers: make(map[string]*caddyhttp.Server)}
	if err := json.Unmarshal(config, &p.config); err != nil {
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

// findHandlers finds the gate's handlers, however deep they are in routes.
func (p *patient) findHandlers(server string, tree any) error {
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
			h := new(Handler)
			if err := json.Unmarshal(raw, h); err != nil {
				return err
			}
			p.gates = append(p.gates, gateSite{server, h})
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

// examine makes all checks. What is serious comes first.
func (p *patient) examine() []finding {
	all := []finding{}
	for _, check := range checks {
		all = append(all, check(p)...)
	}
	slices.SortStableFunc(all, func(a, b finding) int {
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

// checks are what the doctor looks for. Each finds nothing where it is told nothing.
var checks = []func(*patient) []finding{
	checkGate, checkStore, checkRedis, checkBackends, checkKeysEnd, checkKeysLimited, checkProxy,
	checkAdminEndpoint, checkAdminSite, checkTrusted, checkLogs, checkDebug, checkEnd, checkTimeouts,
	checkMemory, checkPrices, checkThrottle,
}

// reachable tells whether a listener can be reached from other machines.
func reachable(listen string) bool {
	address, err := caddy.ParseNetworkAddress(listen)
	if err != nil || address.IsUnixNetwork() || address.Host == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(address.Host)
	return err != nil || !ip.IsLoopback()
}

// open are the listeners of a server that can be reached from other machines, and
// whether they speak TLS, as far as the configuration says.
func (p *patient) open(server string) (listeners []string, tls bool) {
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

// gateServers are the names of the servers that have a gate, each once.
func (p *patient) gateServers() (names []string) {
	for _, g := range p.gates {
		if !slices.Contains(names, g.server) {
			names = append(names, g.server)
		}
	}
	return names
}
