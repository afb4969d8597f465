package keys

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
)

// Config is a key as configs and keys files hold it.
type Config struct {
	// Names the key in counters, usage, logs and metrics: 1 to 64 letters,
	// digits, `.`, `_` and `-`. Whatever has the same id, in any site or
	// replica, is the same key. Required.
	ID string `json:"id"`

	// The secrets that callers present, all for one quota: several while
	// rotating. Each is `sha256:` and 64 hexadecimal digits, or a placeholder,
	// `{env.NAME}` or `{file./path}`, which stands for a hash or a clear secret.
	// A keys file, which is shown nowhere, may hold clear secrets too: 20 to
	// 512 printable ASCII characters. At least one.
	Secrets []string `json:"secrets"`

	// The team whose limits the key shares, named as keys are. A team that is
	// declared nowhere has no limits. Default: none.
	Team string `json:"team,omitempty"`

	// Patterns of the models that it may use; `*` stands for any run of
	// characters. `["none"]`: none at all. Default: every model configured.
	Models []string `json:"models,omitempty"`

	// The endpoints that it may use: chat, completions, responses, embeddings,
	// messages, images, audio, moderations, rerank. Default: all.
	Endpoints []string `json:"endpoints,omitempty"`

	// Its limits, as in `60 requests/minute burst 10`; one for each unit and
	// window. Default: those of the gate.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// When it ends: an RFC 3339 time, from which on it is refused, or a date,
	// which is the last day, in UTC, on which it works. Default: never.
	Expires string `json:"expires,omitempty"`

	// The client addresses that it works from: networks (`10.0.0.0/8`) or single
	// addresses. Default: any.
	AllowIP []string `json:"allow_ip,omitempty"`

	// Refuses the key without forgetting it. Default: false.
	Disabled bool `json:"disabled,omitempty"`
}

// Key is what a caller who holds one of its secrets may do. It is immutable.
type Key struct {
	ID, Team  string
	Models    pattern.List    // nil: every model; empty: none
	Endpoints []string        // groups of endpoints; nil: all
	Limits    []limiter.Limit // its own; the gate's defaults are not in it
	Expires   time.Time       // zero: never
	AllowIP   []netip.Prefix  // nil: any address
	Disabled  bool
	Runtime   bool // made while the gate runs, by a [Runtime]
}

// AllowsModel tells whether the key may use a model, by its public name.
func (k *Key) AllowsModel(name string) bool { return k.Models == nil || k.Models.Match(name) }

// AllowsEndpoint tells whether the key may use a group of endpoints, which is
// what wire.Endpoint.Group returns. The empty group, of what the gate answers
// itself, needs no permission.
func (k *Key) AllowsEndpoint(group string) bool {
	return group == "" || k.Endpoints == nil || slices.Contains(k.Endpoints, group)
}

// AllowsIP tells whether the key works from a client address. An IPv4 address
// counts as itself when it comes mapped into IPv6; a zone is ignored.
func (k *Key) AllowsIP(addr netip.Addr) bool {
	if k.AllowIP == nil {
		return true
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(k.AllowIP, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Expired tells whether the key has ended: it works until the instant before
// Expires.
func (k *Key) Expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// outsideID keeps ids free of what separates names in counters, metrics, URLs
// and CSV files. (A regular expression is a sixth of the time in which a million
// keys are read.)
func outsideID(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
}

const maxIDLength = 64

// CheckID tells whether a name can be the id of a key or team: 1 to 64 letters,
// digits, `.`, `_` and `-`.
func CheckID(id string) error {
	switch {
	case id == "":
		return errors.New("it is empty")
	case strings.HasPrefix(id, livePrefix), strings.HasPrefix(id, testPrefix):
		// Ids are shown everywhere: don't quote it.
		return errors.New("it looks like a secret")
	case len(id) > maxIDLength, strings.ContainsFunc(id, outsideID):
		return errors.New("expected 1 to 64 letters, digits, '.', '_' and '-'")
	}
	return nil
}

// Key validates the config, all but its secrets, and returns the key that it
// describes. The error names the key and the field.
func (c Config) Key() (*Key, error) {
	if err := CheckID(c.ID); err != nil {
		return nil, fmt.Errorf("id of a key: %w", err)
	}
	k := &Key{ID: c.ID, Team: c.Team, Disabled: c.Disabled}
	var err error
	if c.Team != "" {
		if err := CheckID(c.Team); err != nil {
			return nil, c.wrap("team", err)
		}
	}
	if k.Models, err = parseModels(c.Models); err != nil {
		return nil, c.wrap("models", err)
	}
	if k.Endpoints, err = parseEndpoints(c.Endpoints); err != nil {
		return nil, c.wrap("endpoints", err)
	}
	if k.Limits, err = checkLimits(c.Limits); err != nil {
		return nil, c.wrap("limits", err)
	}
	if k.Expires, err = parseExpires(c.Expires); err != nil {
		return nil, c.wrap("expires", err)
	}
	if k.AllowIP, err = parseNetworks(c.AllowIP); err != nil {
		return nil, c.wrap("allow_ip", err)
	}
	return k, nil
}

func (c Config) wrap(field string, err error) error {
	return fmt.Errorf("key %q: %s: %w", c.ID, field, err)
}

// errEmptyList guards against the list that a program has written without
// putting anything in: whether that meant all or nothing can't be known.
var errEmptyList = errors.New("the list is empty: leave it out for all")

func parseModels(texts []string) (pattern.List, error) {
	switch {
	case texts == nil:
		return nil, nil
	case len(texts) == 0:
		return nil, fmt.Errorf(`%w, or write ["none"]`, errEmptyList)
	case len(texts) == 1 && texts[0] == "none":
		return pattern.List{}, nil
	case slices.Contains(texts, "none"):
		return nil, errors.New("none stands alone or not at all")
	}
	return pattern.ParseList(texts)
}

func parseEndpoints(names []string) ([]string, error) {
	if names == nil {
		return nil, nil
	}
	if len(names) == 0 {
		return nil, errEmptyList
	}
	groups := wire.Groups()
	for _, name := range names {
		if !slices.Contains(groups, name) {
			return nil, fmt.Errorf("unknown endpoint %q: expected %s", name, strings.Join(groups, ", "))
		}
	}
	return slices.Clone(names), nil
}

// checkLimits refuses two limits that would share a counter.
func checkLimits(limits []limiter.Limit) ([]limiter.Limit, error) {
	for i, a := range limits {
		for _, b := range limits[:i] {
			if a.Unit == b.Unit && a.Window == b.Window {
				return nil, fmt.Errorf("%v and %v limit the same", b, a)
			}
		}
	}
	return slices.Clone(limits), nil
}

func parseExpires(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		// Who writes "expires 2026-12-31" expects it to work on that day.
		return day.AddDate(0, 0, 1), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q: expected a date (2026-12-31) or an RFC 3339 time (2026-12-31T18:00:00Z)", text)
	}
	return t.UTC(), nil
}

func parseNetworks(texts []string) ([]netip.Prefix, error) {
	if texts == nil {
		return nil, nil
	}
	if len(texts) == 0 {
		return nil, errEmptyList
	}
	networks := make([]netip.Prefix, 0, len(texts))
	for _, text := range texts {
		network, err := parseNetwork(text)
		if err != nil {
			return nil, err
		}
		networks = append(networks, network)
	}
	return networks, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	expected := fmt.Errorf("%q: expected an address or a network such as 10.0.0.0/8", text)
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, expected
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, expected
	}
	if network.Addr().Is4In6() {
		// Clients' addresses are unmapped, so the network must be too.
		if network.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q: reaches beyond the mapped IPv4 addresses", text)
		}
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network.Masked(), nil
}
