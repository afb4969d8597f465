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

// Config is a key as it is written in configs and keys files.
type Config struct {
	// The name of the key in counters, usage, logs and metrics: 1 to 64 letters,
	// digits, `.`, `_` and `-`. Keys with the same id, in any site or replica, are
	// the same key. Required.
	ID string `json:"id"`

	// The secrets that callers present, all for one quota: several while
	// rotating. Each is `sha256:` and 64 hexadecimal digits, or a placeholder,
	// `{env.NAME}` or `{file./path}`, which stands for a hash or a clear secret.
	// A keys file may hold clear secrets too, since it is never shown: 20 to 512
	// printable ASCII characters. At least one.
	Secrets []string `json:"secrets"`

	Spec
}

// Spec holds the permissions and limits of a key. It is the same for the keys of
// a config, of a keys file, and those that are created at runtime.
type Spec struct {
	// The team whose limits the key shares, named as keys are. A team that is
	// not declared has no limits. Default: none.
	Team string `json:"team,omitempty"`

	// Patterns of the models that the key may use; `*` stands for any run of
	// characters. `["none"]`: no model. Default: every configured model.
	Models []string `json:"models,omitempty"`

	// The endpoints that the key may use: chat, completions, responses, embeddings,
	// messages, images, audio, moderations, rerank. Default: all.
	Endpoints []string `json:"endpoints,omitempty"`

	// The limits of the key, as in `60 requests/minute burst 10`; one for each
	// unit and window. Default: those of the gate.
	Limits []limiter.Limit `json:"limits,omitempty"`

	// When the key expires: an RFC 3339 time, from which on it is refused, or a
	// date, which is the last day, in UTC, on which it works. Default: never.
	Expires string `json:"expires,omitempty"`

	// The client addresses that the key works from: networks (`10.0.0.0/8`) or
	// single addresses. Default: any.
	AllowIP []string `json:"allow_ip,omitempty"`

	// Refuses the key without deleting it. Default: false.
	Disabled bool `json:"disabled,omitempty"`
}

// Key holds the permissions and limits of a key. It is immutable.
type Key struct {
	ID, Team  string
	Models    pattern.List    // nil: every model; empty: none
	Endpoints []string        // groups of endpoints; nil: all
	Limits    []limiter.Limit // its own, without the gate's defaults
	Expires   time.Time       // zero: never
	AllowIP   []netip.Prefix  // nil: any address
	Disabled  bool
	Runtime   bool // created at runtime, in a [Runtime]
}

// AllowsModel reports whether the key may use the model with this public name.
func (k *Key) AllowsModel(name string) bool { return k.Models == nil || k.Models.Match(name) }

// AllowsEndpoint reports whether the key may use a group of endpoints, as
// wire.Endpoint.Group returns it. The empty group, for what the gate answers
// itself, needs no permission.
func (k *Key) AllowsEndpoint(group string) bool {
	return group == "" || k.Endpoints == nil || slices.Contains(k.Endpoints, group)
}

// AllowsIP reports whether the key may be used from addr. It unmaps an IPv4
// address that is mapped into IPv6, and ignores a zone.
func (k *Key) AllowsIP(addr netip.Addr) bool {
	if k.AllowIP == nil {
		return true
	}
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(k.AllowIP, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// Expired reports whether the key has expired at now: it is valid until the
// instant before Expires.
func (k *Key) Expired(now time.Time) bool { return !k.Expires.IsZero() && !now.Before(k.Expires) }

// outsideID reports whether r is not allowed in ids. Characters that separate
// names in counters, metrics, URLs and CSV files are not. (With a regular
// expression, a million keys take six times as long to read.)
func outsideID(r rune) bool {
	return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-')
}

const maxIDLength = 64

// CheckID returns an error unless id is valid for a key or team: 1 to 64 letters,
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

// Key validates the config, except for its secrets, and returns its key. The error
// names the key and the field.
func (c *Config) Key() (*Key, error) {
	key, err := c.Spec.Key(c.ID)
	var field *FieldError
	if errors.As(err, &field) && field.Field != "id" {
		return nil, c.wrap(field.Field, field.Err)
	}
	return key, err
}

func (c *Config) wrap(field string, err error) error {
	return fmt.Errorf("key %q: %s: %w", c.ID, field, err)
}

// FieldError is an invalid field of a spec.
type FieldError struct {
	Field string // its name in JSON
	Err   error
}

func (e *FieldError) Error() string {
	if e.Field == "id" {
		return "id of a key: " + e.Err.Error()
	}
	return e.Field + ": " + e.Err.Error()
}

func (e *FieldError) Unwrap() error { return e.Err }

// Key validates the spec and returns the key that it describes. The error is a
// *FieldError.
func (s *Spec) Key(id string) (*Key, error) {
	if err := CheckID(id); err != nil {
		return nil, &FieldError{"id", err}
	}
	k := &Key{ID: id, Team: s.Team, Disabled: s.Disabled}
	var err error
	if s.Team != "" {
		if err := CheckID(s.Team); err != nil {
			return nil, &FieldError{"team", err}
		}
	}
	if k.Models, err = parseModels(s.Models); err != nil {
		return nil, &FieldError{"models", err}
	}
	if k.Endpoints, err = parseEndpoints(s.Endpoints); err != nil {
		return nil, &FieldError{"endpoints", err}
	}
	if k.Limits, err = checkLimits(s.Limits); err != nil {
		return nil, &FieldError{"limits", err}
	}
	if k.Expires, err = parseExpires(s.Expires); err != nil {
		return nil, &FieldError{"expires", err}
	}
	if k.AllowIP, err = parseNetworks(s.AllowIP); err != nil {
		return nil, &FieldError{"allow_ip", err}
	}
	return k, nil
}

// errEmptyList is the error for a list that a program wrote without entries: it
// could mean all or nothing.
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

// checkLimits returns an error if two limits would share a counter.
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
		// "expires 2026-12-31" is expected to work on that day.
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
		// Client addresses are unmapped, so the network must be too.
		if network.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q: reaches beyond the mapped IPv4 addresses", text)
		}
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-96)
	}
	return network.Masked(), nil
}
