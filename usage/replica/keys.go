package replica

import (
	_ "embed"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

var (
	//go:embed lua/blocks.lua
	blocksLua string
	//go:embed lua/offset.lua
	offsetLua string
	//go:embed lua/heartbeat.lua
	heartbeatLua string
	//go:embed lua/lost.lua
	lostLua string
	//go:embed lua/find.lua
	findLua string

	blocksScript    = redis.NewScript(blocksLua)
	offsetScript    = redis.NewScript(offsetLua)
	heartbeatScript = redis.NewScript(heartbeatLua)
	lostScript      = redis.NewScript(lostLua)
	findScript      = redis.NewScript(findLua)
)

// keys are the names of keys in Redis. The index has one hash tag and each
// generation another. Older gates read them too, so their names do not change:
//
//	<prefix>:{usage}:gates           sorted set: generations of the live gates, by when they expire
//	<prefix>:{usage}:rebuilding      sorted set: generations that readers wait for, by until when
//	<prefix>:{usage}:epoch           how often Redis came back from an old copy
//	<prefix>:{usage}:runs:<day>      set: generations that have samples on a day
//	<prefix>:{usage}:mark:<generation>     the journal offset through which a generation is delivered
//	<prefix>:{usage/<generation>}:mark     the same, beside its samples
//	<prefix>:{usage/<generation>}:tuples   hash: series by id
//	<prefix>:{usage/<generation>}:<level>:<day>   hash: the blocks of a day by start and chunk
type keys struct{ prefix string }

func (k keys) index(name string) string             { return k.prefix + ":{usage}:" + name }
func (k keys) gates() string                        { return k.index("gates") }
func (k keys) rebuilding() string                   { return k.index("rebuilding") }
func (k keys) epoch() string                        { return k.index("epoch") }
func (k keys) indexOffset(generation string) string { return k.index("mark:" + generation) }
func (k keys) generations(day int64) string         { return k.index("runs:" + dayName(day)) }
func (k keys) ofGeneration(generation, n string) string {
	return k.prefix + ":{usage/" + generation + "}:" + n
}
func (k keys) offset(generation string) string { return k.ofGeneration(generation, "mark") }
func (k keys) series(generation string) string { return k.ofGeneration(generation, "tuples") }
func (k keys) blocks(generation string, l rollup.Level, day int64) string {
	return k.ofGeneration(generation, l.String()+":"+dayName(day))
}

func dayName(day int64) string { return time.Unix(day, 0).UTC().Format(time.DateOnly) }

// slack is how much longer Redis keeps keys than they are read: the clocks of
// gates differ, and a day begins before its last second.
const slack = 48 * time.Hour

// offsetTTL returns how many milliseconds offsets and series are kept. It is
// renewed while their gate is alive.
func (l *Ledger) offsetTTL() int64 {
	return (l.feed.Retention(rollup.Days) + slack).Milliseconds()
}

// ttl returns how many milliseconds the sums of a day are kept.
func (l *Ledger) ttl(level rollup.Level, day int64) int64 {
	return max(time.Unix(day, 0).Add(l.feed.Retention(level)+slack).Sub(l.feed.Now()), slack).Milliseconds()
}

// numbered returns value prefixed with number, as blocks.lua expects it.
func numbered(number uint64, value []byte) []byte {
	b := strconv.AppendUint(make([]byte, 0, len(value)+12), number, 10)
	return append(append(b, ' '), value...)
}
