// Package throttle limits key guessing. For each client address, it bounds the
// number of requests that may fail authentication, and it does so before any
// key is looked up.
//
// An IPv6 address counts as its /64, which is what one host or household is
// assigned. An IPv4 address mapped into IPv6 counts as itself.
//
// An address over its limit is refused without a look-up, except for keys that
// were accepted from it within the hour. An office may share one address, and
// one bad client in it must not lock out the others.
//
// Memory is bounded. Both tables have a fixed capacity; tableShard and
// acceptedShard document what they evict when they are full.
package throttle
