// Package throttle blunts the guessing of keys: it bounds, for each client
// address, how many requests may fail authentication, before any key is looked
// at.
//
// An IPv6 address counts by its /64, which is what one host or home is given;
// an IPv4 address mapped into IPv6 counts as itself.
//
// An address that has used up its failures is refused unseen, but for keys
// that were good from it within the hour: behind one address may be an office,
// and one bad client in it must not lock out the others.
//
// Memory is bounded. Both tables have a fixed capacity; what falls out of them
// when they are full is said where they are defined.
package throttle
