package backends

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// DialPolicy restricts the addresses that a backend may have. It checks
// addresses, not names: a name's address is checked when it is dialled.
//
// The zero value, and an empty dial_allow, allows everything but link-local
// addresses, where clouds keep their metadata services, and the metadata
// addresses that lie elsewhere. Otherwise one of the entries must contain the
// address. In both cases the unspecified address, multicast, broadcast, and the
// metadata services need an entry that contains nothing else.
//
// An IPv6 address that stands for an IPv4 address (mapped, compatible,
// translated, NAT64, 6to4, Teredo) is checked as that one.
type DialPolicy struct {
	prefixes                  []netip.Prefix
	public, private, loopback bool
}

// DialRefusedError is returned for an address that the policy refuses. Its text
// does not contain the address: a dial error may reach more than the logs.
type DialRefusedError struct{ Addr netip.Addr }

func (*DialRefusedError) Error() string { return errOutside.Error() }

// Unwrap returns a reverse_proxy DialError: nothing was sent, so another
// upstream may be tried.
func (*DialRefusedError) Unwrap() error { return errOutside }

var errOutside = reverseproxy.NewDialError(errors.New("the address of the backend is outside dial_allow"))

// ParseDialAllow parses the words of dial_allow: CIDRs, single addresses, and
//
//   - public: what is routed on the Internet;
//   - private: RFC 1918, unique local fc00::/7, and the shared space
//     100.64.0.0/10 of carriers and overlay networks;
//   - loopback: 127.0.0.0/8 and ::1.
func ParseDialAllow(words []string) (DialPolicy, error) {
	var p DialPolicy
	for _, word := range words {
		switch word {
		case "public":
			p.public = true
		case "private":
			p.private = true
		case "loopback":
			p.loopback = true
		default:
			prefix, err := parsePrefix(word)
			if err != nil {
				return DialPolicy{}, err
			}
			p.prefixes = append(p.prefixes, prefix)
		}
	}
	return p, nil
}

// parsePrefix parses a CIDR or a single address. It converts IPv4-mapped ones to
// IPv4.
func parsePrefix(word string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(word)
	if err != nil {
		addr, err := netip.ParseAddr(word)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("dial_allow: %q is none of an address, a CIDR, public, private and loopback", word)
		}
		prefix = netip.PrefixFrom(addr, addr.BitLen())
	}
	if addr := prefix.Addr(); addr.Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("dial_allow: %q is wider than the IPv4 addresses it is written with", word)
		}
		prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// Check returns a *DialRefusedError if a backend may not have this address.
func (p DialPolicy) Check(addr netip.Addr) error {
	plain := addr.Unmap().WithZone("")
	meanings, own := embedded(plain)
	if own {
		meanings = append(meanings, plain)
	}
	for _, m := range append(meanings, plain) {
		if !p.tolerates(m) {
			return &DialRefusedError{addr}
		}
	}
	if p.isDefault() || p.contains(plain) {
		return nil
	}
	for _, m := range meanings {
		if !p.holds(m) {
			return &DialRefusedError{addr}
		}
	}
	return nil
}

func (p DialPolicy) isDefault() bool {
	return len(p.prefixes) == 0 && !p.public && !p.private && !p.loopback
}

// tolerates reports whether addr passes the rules that public, private and
// loopback do not lift: link-local addresses need a CIDR, and the unspecified
// address, multicast, broadcast and metadata services an entry of their own.
func (p DialPolicy) tolerates(addr netip.Addr) bool {
	if addr.IsUnspecified() || addr.IsMulticast() || addr == broadcast || metadata[addr] {
		return p.names(addr)
	}
	if addr.IsLinkLocalUnicast() {
		return p.contains(addr)
	}
	return true
}

// holds reports whether a keyword or a CIDR allows the address.
func (p DialPolicy) holds(addr netip.Addr) bool {
	return p.loopback && addr.IsLoopback() ||
		p.private && isPrivate(addr) ||
		p.public && isPublic(addr) ||
		p.contains(addr)
}

func (p DialPolicy) contains(addr netip.Addr) bool {
	for _, prefix := range p.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// names reports whether an entry contains this address and nothing else.
func (p DialPolicy) names(addr netip.Addr) bool {
	for _, prefix := range p.prefixes {
		if prefix.IsSingleIP() && prefix.Addr() == addr {
			return true
		}
	}
	return false
}

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// metadata holds the addresses at which clouds serve credentials.
var metadata = map[netip.Addr]bool{
	netip.MustParseAddr("169.254.169.254"): true, // most of them
	netip.MustParseAddr("169.254.170.2"):   true, // AWS: roles of containers
	netip.MustParseAddr("fd00:ec2::254"):   true, // AWS
	netip.MustParseAddr("fd00:ec2::23"):    true, // AWS: roles of pods
	netip.MustParseAddr("fd20:ce::254"):    true, // Google
	netip.MustParseAddr("100.100.100.200"): true, // Alibaba
	netip.MustParseAddr("168.63.129.16"):   true, // Azure
	netip.MustParseAddr("192.0.0.192"):     true, // Oracle
}

var shared = netip.MustParsePrefix("100.64.0.0/10") // RFC 6598

func isPrivate(addr netip.Addr) bool { return addr.IsPrivate() || shared.Contains(addr) }

// special holds the blocks of IANA's special-purpose registries that are not
// reachable over the Internet and not covered by a predicate of netip.
var special = prefixes(
	"0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
	"2001:2::/48", "2001:10::/28", "2001:20::/28", "2001:db8::/32", "3fff::/20",
)

var globalUnicast = netip.MustParsePrefix("2000::/3")

func isPublic(addr netip.Addr) bool {
	if addr.IsLoopback() || isPrivate(addr) || addr.Is6() && !globalUnicast.Contains(addr) {
		return false
	}
	for _, prefix := range special {
		if prefix.Contains(addr) {
			return false
		}
	}
	return true
}

// Forms of an IPv6 address that stand for an IPv4 address.
var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, deprecated
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
)

// embedded returns the IPv4 addresses that addr stands for. own reports whether
// addr is also a destination itself, as an ordinary address always is.
func embedded(addr netip.Addr) (v4 []netip.Addr, own bool) {
	if !addr.Is6() || addr.IsUnspecified() || addr.IsLoopback() {
		return nil, true
	}
	b := addr.As16()
	at := func(i, j, k, l int) netip.Addr { return netip.AddrFrom4([4]byte{b[i], b[j], b[k], b[l]}) }
	switch {
	case compatible.Contains(addr), translated.Contains(addr), nat64.Contains(addr):
		return []netip.Addr{at(12, 13, 14, 15)}, false
	case sixToFour.Contains(addr):
		return []netip.Addr{at(2, 3, 4, 5)}, false
	case teredo.Contains(addr):
		client := netip.AddrFrom4([4]byte{^b[12], ^b[13], ^b[14], ^b[15]})
		return []netip.Addr{client, at(4, 5, 6, 7)}, false
	case nat64Local.Contains(addr):
		// The translator's own prefix may be of any length that RFC 6052 allows,
		// and the address does not show which: all readings count.
		for _, a := range []netip.Addr{at(6, 7, 9, 10), at(7, 9, 10, 11), at(9, 10, 11, 12), at(12, 13, 14, 15)} {
			if a.As4()[0] != 0 { // 0.0.0.0/8 is padding read at a wrong offset
				v4 = append(v4, a)
			}
		}
		return v4, len(v4) == 0
	case b[8]&0xfd == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe: // ISATAP, RFC 5214
		return []netip.Addr{at(12, 13, 14, 15)}, true
	}
	return nil, true
}

func prefixes(words ...string) []netip.Prefix {
	var list []netip.Prefix
	for _, word := range words {
		list = append(list, netip.MustParsePrefix(word))
	}
	return list
}

// CheckUpstream checks the dial address of a configured upstream. An address is
// checked against the policy. A host that a resolver could read as an address
// although it is none (127.1, 0x7f.1, 0177.0.0.1, 2130706433) is refused under
// any policy. Names, placeholders and unix sockets pass: names are checked when
// dialled, and sockets are the operator's own.
func (p DialPolicy) CheckUpstream(dial string) error {
	address, err := caddy.ParseNetworkAddress(dial)
	if err != nil {
		return fmt.Errorf("upstream %q: %w", dial, err)
	}
	if address.IsUnixNetwork() || strings.Contains(address.Host, "{") {
		return nil
	}
	host := strings.TrimSuffix(address.Host, ".")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		if endsInNumber(host) {
			return fmt.Errorf("upstream %q: write the address as four decimal numbers without leading zeros, or as IPv6", dial)
		}
		return nil
	}
	if p.Check(addr) != nil {
		return fmt.Errorf("upstream %q is outside dial_allow (%s)", dial, p)
	}
	return nil
}

// endsInNumber reports whether the last label of a host is a number, in which
// case the URL standard and the C library parse the whole host as an IPv4
// address.
func endsInNumber(host string) bool {
	label := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// String returns the policy's entries.
func (p DialPolicy) String() string {
	if p.isDefault() {
		return "default: all but link-local, metadata, unspecified and multicast addresses"
	}
	var words []string
	for _, prefix := range p.prefixes {
		words = append(words, prefix.String())
	}
	if p.public {
		words = append(words, "public")
	}
	if p.private {
		words = append(words, "private")
	}
	if p.loopback {
		words = append(words, "loopback")
	}
	return strings.Join(words, " ")
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// guard returns a dialer that checks the address of each connection before a
// byte of HTTP is sent: a name may resolve to anything, and to something else
// each time. Behind a forward proxy the address is the proxy's.
func (p DialPolicy) guard(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if err := p.checkConn(conn); err != nil {
			_ = conn.Close() // nothing was sent
			return nil, err
		}
		return conn, nil
	}
}

func (p DialPolicy) checkConn(conn net.Conn) error {
	switch remote := conn.RemoteAddr().(type) {
	case *net.TCPAddr:
		return p.Check(remote.AddrPort().Addr())
	case *net.UnixAddr:
		return nil
	}
	return reverseproxy.NewDialError(errors.New("dialled neither a TCP address nor a unix socket"))
}
