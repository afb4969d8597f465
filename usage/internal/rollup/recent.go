package rollup

import "hash/maphash"

// recentWindow is the least number of ids that recent holds.
const recentWindow = 1 << 15

// recent is the set of the most recently recorded ids. A gate settles a request
// once by design; the set catches duplicates nevertheless, such as a record of
// the journal that is replayed. It holds 64-bit hashes with a random seed: the
// odds that two ids of the window collide are below 1 in 10¹⁴.
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
