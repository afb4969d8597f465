package routing

import "github.com/cespare/xxhash/v2"

// maxStart bounds in bytes how much of a conversation's start is hashed.
const maxStart = 4 << 10

// stickySeed returns a hash that is equal, in all gates, for all requests that
// must go to the same backend. Each backend's hash is mixed with it, and the
// lowest result wins (rendezvous hashing, Thaler and Ravishankar 1996): if a
// backend leaves, only its own conversations move.
func (q *Request) stickySeed(policy Policy) uint64 {
	seed := xxhash.Sum64String(q.Key)
	if policy == PolicyStickyKey {
		return seed
	}
	start := q.ConversationStart(q.Body)
	return mix(seed) ^ xxhash.Sum64(start[:min(len(start), maxStart)])
}

// mix returns a hash of x: the finalizer of SplitMix64 (Steele, Lea and Flood
// 2014).
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
