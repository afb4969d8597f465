package usage

import (
	_ "embed"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	//go:embed lua/blocks.lua
	blocksLua string
	//go:embed lua/mark.lua
	markLua string
	//go:embed lua/beat.lua
	beatLua string
	//go:embed lua/lost.lua
	lostLua string
	//go:embed lua/look.lua
	lookLua string

	blocksScript = redis.NewScript(blocksLua)
	markScript   = redis.NewScript(markLua)
	beatScript   = redis.NewScript(beatLua)
	lostScript   = redis.NewScript(lostLua)
	lookScript   = redis.NewScript(lookLua)
)

// The names of keys in Redis. The index has one hash tag and each run another:
//
//	<prefix>:{usage}:gates           sorted set: runs of the gates that live, by when they don't any more
//	<prefix>:{usage}:rebuilding      sorted set: runs that are waited for, by until when
//	<prefix>:{usage}:epoch           how often Redis came back from an old copy
//	<prefix>:{usage}:runs:<day>      set: runs that have sums on a day
//	<prefix>:{usage}:mark:<run>      the entry of its journal up to which a run is here
//	<prefix>:{usage/<run>}:mark      the same, beside the run's sums
//	<prefix>:{usage/<run>}:tuples    hash: tuples by id
//	<prefix>:{usage/<run>}:<level>:<day>   hash: the blocks of a day by start and chunk
type sharedKeys struct{ prefix string }

func (k sharedKeys) index(name string) string      { return k.prefix + ":{usage}:" + name }
func (k sharedKeys) gates() string                 { return k.index("gates") }
func (k sharedKeys) rebuilding() string            { return k.index("rebuilding") }
func (k sharedKeys) epoch() string                 { return k.index("epoch") }
func (k sharedKeys) indexMark(run string) string   { return k.index("mark:" + run) }
func (k sharedKeys) runs(day int64) string         { return k.index("runs:" + dayName(day)) }
func (k sharedKeys) ofRun(run, name string) string { return k.prefix + ":{usage/" + run + "}:" + name }
func (k sharedKeys) mark(run string) string        { return k.ofRun(run, "mark") }
func (k sharedKeys) tuples(run string) string      { return k.ofRun(run, "tuples") }
func (k sharedKeys) blocks(run string, l level, day int64) string {
	return k.ofRun(run, levelNames[l]+":"+dayName(day))
}

func dayName(day int64) string { return time.Unix(day, 0).UTC().Format(time.DateOnly) }

// slack is for how much longer things are kept in Redis than they are read: the
// clocks of gates differ, and a day begins before its last second.
const slack = 48 * time.Hour

// ttl is for how many milliseconds the sums of a day are kept.
func (r *rollup) ttl(l level, day int64) int64 {
	return max(time.Unix(day, 0).Add(r.retention[l]+slack).Sub(r.now()), slack).Milliseconds()
}

// appendNumbered puts a number before a value, as blocks.lua wants it.
func appendNumbered(number uint64, value []byte) []byte {
	b := strconv.AppendUint(make([]byte, 0, len(value)+12), number, 10)
	return append(append(b, ' '), value...)
}
