package throttle

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// address is what one client counts as: an IPv4 address mapped into IPv6, or
// the /64 of an IPv6 address. All clients on a unix socket have the invalid
// address and count as one.
type address struct{ high, low uint64 }

func addressOf(addr netip.Addr) address {
	if !addr.IsValid() {
		return address{}
	}
	bytes := addr.As16()
	a := address{binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:])}
	if addr.Is6() && !addr.Is4In6() {
		a.low = 0
	}
	return a
}

// shardOf selects the shard by a keyed hash, so that nobody can aim addresses
// at one shard.
func (t *Throttle) shardOf(a address) *tableShard {
	return &t.table[maphash.Comparable(t.seed, a)%uint64(len(t.table))]
}

// tag returns the keyed hash of an address and a key in the table of accepted
// keys. Since it is keyed, nobody can search for a collision. A collision only
// causes the look-up of a key that would have been refused without one; the
// look-up then rejects it.
func (t *Throttle) tag(addr netip.Addr, h keys.Hash) uint64 {
	return maphash.Comparable(t.seed, struct {
		address address
		hash    keys.Hash
	}{addressOf(addr), h})
}
