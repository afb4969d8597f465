package replica

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/amanycodes/pine-gate/usage/boltdb"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
)

// generationSeries holds the series of a generation, by id from first.
type generationSeries struct {
	first  uint32
	stored int64 // number of series in Redis
	series []*rollup.Series
}

// movedChunks is the position of a generation's chunks among all that are read.
type movedChunks struct {
	from, count uint32 // in the generation
	to          uint32
}

// fetchSeries appends the series of all generations to found, and returns the
// positions of their chunks.
func (l *Ledger) fetchSeries(ctx context.Context, wanted []generationDay, found *others) (map[string]movedChunks, error) {
	var generations []string
	chunks := map[string]movedChunks{}
	for _, w := range wanted {
		if _, ok := chunks[w.generation]; !ok {
			chunks[w.generation] = movedChunks{}
			generations = append(generations, w.generation)
		}
	}
	if err := l.updateSeries(ctx, generations); err != nil {
		return nil, err
	}
	for _, id := range generations {
		g := l.reads.series[id]
		chunks[id] = movedChunks{
			from: rollup.ChunkOf(g.first), count: uint32(len(g.series) / rollup.ChunkSize),
			to: uint32(len(found.series) / rollup.ChunkSize),
		}
		found.series = append(found.series, g.series...)
	}
	return chunks, nil
}

// updateSeries reads the series of the generations that are unknown, or that
// have more series in Redis.
func (l *Ledger) updateSeries(ctx context.Context, generations []string) error {
	if l.reads.known > maxKnownSeries {
		l.reads.series, l.reads.labels, l.reads.known = map[string]*generationSeries{}, map[rollup.Labels]*rollup.Series{}, 0
	}
	for some := range slices.Chunk(generations, readKeys) {
		stored := make([]*redis.IntCmd, len(some))
		err := l.call(ctx, func(ctx context.Context) error {
			pipe := l.client.Pipeline()
			for i, id := range some {
				stored[i] = pipe.HLen(ctx, l.keys.series(id))
			}
			_, err := pipe.Exec(ctx)
			return err
		})
		if err != nil {
			return err
		}
		for i, id := range some {
			if g := l.reads.series[id]; g != nil && g.stored == stored[i].Val() {
				continue
			}
			if err := l.readSeries(ctx, id); err != nil {
				return err
			}
		}
	}
	return nil
}

// readSeries reads the series of a generation.
func (l *Ledger) readSeries(ctx context.Context, id string) error {
	var rows map[string]string
	err := l.call(ctx, func(ctx context.Context) (err error) {
		rows, err = l.client.HGetAll(ctx, l.keys.series(id)).Result()
		return err
	})
	if err != nil {
		return err
	}
	g, err := l.decodeSeries(rows)
	if err != nil {
		return fmt.Errorf("generation %s: %w", id, err)
	}
	if old := l.reads.series[id]; old != nil {
		l.reads.known -= len(old.series)
	}
	l.reads.series[id] = g
	l.reads.known += len(g.series)
	return nil
}

// decodeSeries parses the hash of a generation's series.
func (l *Ledger) decodeSeries(rows map[string]string) (*generationSeries, error) {
	g := &generationSeries{stored: int64(len(rows))}
	first, last := uint32(1<<32-1), uint32(0)
	for field := range rows {
		if len(field) != 4 {
			return nil, fmt.Errorf("invalid id %q of a series", field)
		}
		n := binary.BigEndian.Uint32([]byte(field))
		first, last = min(first, n), max(last, n)
	}
	if len(rows) > 0 {
		g.first = rollup.FirstOf(rollup.ChunkOf(first))
		g.series = make([]*rollup.Series, (last-g.first)/rollup.ChunkSize*rollup.ChunkSize+rollup.ChunkSize)
	}
	for field, value := range rows {
		_, row, ok := strings.Cut(value, " ")
		decoded, err := boltdb.DecodeSeries([]byte(row))
		if !ok || err != nil {
			return nil, fmt.Errorf("invalid series %q", field)
		}
		s := l.reads.labels[decoded.Labels]
		if s == nil {
			s = &rollup.Series{SeriesRow: rollup.SeriesRow{Labels: decoded.Labels}}
			l.reads.labels[decoded.Labels] = s
		}
		g.series[binary.BigEndian.Uint32([]byte(field))-g.first] = s
	}
	return g, nil
}
