package usage

import "hash/maphash"

// recentWindow is how many of the last ids are known at least.
const recentWindow = 1 << 15

// recent knows the ids that were recorded lately. A gate settles a request
// once by construction; this catches what comes twice nevertheless, such as a
// delivery that is repeated soon. It keeps 64-bit hashes under a seed of its
// own: that two of the window's ids share one is less likely than one in 10¹⁴.
type recent struct {
	seed     maphash.Seed
	now, old map[uint64]struct{} // two generations: nothing is deleted one by one
}

func newRecent() recent {
	return recent{
		seed: maphash.MakeSeed(),
		now:  make(map[uint64]struct{}, recentWindow),
		old:  make(map[uint64]struct{}, recentWindow),
	}
}

func (r *recent) hash(id string) uint64 { return maphash.String(r.seed, id) }

func (r *recent) has(hash uint64) bool {
	if _, ok := r.now[hash]; ok {
		return true
	}
	_, ok := r.old[hash]
	return ok
}

func (r *recent) add(hash uint64) {
	if len(r.now) == recentWindow {
		r.now, r.old = r.old, r.now
		clear(r.now)
	}
	r.now[hash] = struct{}{}
}
