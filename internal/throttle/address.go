package throttle

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"

	"github.com/amanycodes/pine-gate/internal/keys"
)

// address is what a client counts as: an IPv4 address mapped into IPv6, or
// the /64 of an IPv6 one. The invalid address, of clients on a unix socket, is
// one like others.
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

// shardOf picks by a keyed hash: nobody can aim addresses at one shard.
func (t *Throttle) shardOf(a address) *tableShard {
	return &t.table[maphash.Comparable(t.seed, a)%uint64(len(t.table))]
}

// tag stands for an address and a key in the memory of what was accepted. It
// is a keyed hash, so nobody can search for two that have the same; should
// two have it after all, a key is looked at that would have been refused
// unseen, and found wanting.
func (t *Throttle) tag(addr netip.Addr, h keys.Hash) uint64 {
	return maphash.Comparable(t.seed, struct {
		address address
		hash    keys.Hash
	}{addressOf(addr), h})
}
