package boltdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/amanycodes/pine-gate/usage"
	"github.com/amanycodes/pine-gate/usage/internal/rollup"
	"github.com/amanycodes/pine-gate/usage/journal"
)

// entryKind is the kind of an entry of the journal.
type entryKind uint8

const (
	entryFinal      entryKind = 1 // usage of a request
	entryCheckpoint entryKind = 2 // usage of a request so far
	entryForgotten  entryKind = 3 // a request used nothing: its checkpoints do not count
	entryDelivered  entryKind = 4 // a generation was delivered through an offset
)

// entryVersion is the version of the entries that appendEntry returns:
//
//	1 byte    version
//	1 byte    kind
//	1 byte    flags
//	strings   id, key, team, endpoint, model, backend, upstream model, outcome,
//	          each prefixed with its length
//	numbers   varints: start (seconds, nanoseconds), status, input, cache read,
//	          cache write, output, reasoning, cost, first token, duration,
//	          attempts
//
// The entry of a forgotten request has its id only. A delivered generation has its
// id and the offset, as input.
const entryVersion = 1

const (
	flagPriced = 1 << iota
	flagEstimated
	flagFlagged
)

var errEntry = errors.New("invalid entry")

// appendEntry appends the entry of a record to b. It cuts names as the sums do.
func appendEntry(b []byte, kind entryKind, r *usage.Record) []byte {
	var flags uint8
	if r.Priced {
		flags |= flagPriced
	}
	if r.Estimated {
		flags |= flagEstimated
	}
	if r.Flagged {
		flags |= flagFlagged
	}
	b = append(b, entryVersion, uint8(kind), flags)
	b = appendString(b, r.ID)
	if kind == entryForgotten {
		return b
	}
	for _, name := range [...]string{r.Key, r.Team, r.Endpoint, r.Model, r.Backend, r.UpstreamModel, string(r.Outcome)} {
		b = appendString(b, rollup.CutName(name))
	}
	for _, n := range [...]int64{
		r.Start.Unix(), int64(r.Start.Nanosecond()), int64(r.Status),
		r.Input, r.CacheRead, r.CacheWrite, r.Output, r.Reasoning, r.CostNano,
		int64(r.FirstToken), int64(r.Duration), int64(r.Attempts),
	} {
		b = binary.AppendVarint(b, n)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeEntry parses what appendEntry appended. It keeps no reference to b. The
// error wraps journal.ErrNewer for an entry of a newer version, and is errEntry
// otherwise.
func decodeEntry(b []byte) (kind entryKind, r *usage.Record, err error) {
	if len(b) < 3 {
		return 0, nil, errEntry
	}
	if b[0] > entryVersion {
		return 0, nil, fmt.Errorf("version %d of an entry: %w", b[0], journal.ErrNewer)
	}
	kind, r = entryKind(b[1]), new(usage.Record)
	r.Priced, r.Estimated, r.Flagged = b[2]&flagPriced != 0, b[2]&flagEstimated != 0, b[2]&flagFlagged != 0
	d := decoder{b: b[3:]}
	r.ID = d.string()
	switch {
	case b[0] != entryVersion || kind < entryFinal || kind > entryDelivered || r.ID == "":
		return 0, nil, errEntry
	case kind != entryForgotten:
		for _, name := range [...]*string{&r.Key, &r.Team, &r.Endpoint, &r.Model, &r.Backend, &r.UpstreamModel, (*string)(&r.Outcome)} {
			*name = d.string()
		}
		seconds, nanoseconds := d.number(), d.number()
		r.Start = time.Unix(seconds, nanoseconds)
		r.Status = int(d.number())
		for _, n := range [...]*int64{&r.Input, &r.CacheRead, &r.CacheWrite, &r.Output, &r.Reasoning, &r.CostNano, (*int64)(&r.FirstToken), (*int64)(&r.Duration)} {
			*n = d.number()
		}
		r.Attempts = int(d.number())
	}
	if d.failed || len(d.b) > 0 {
		return 0, nil, errEntry
	}
	return kind, r, nil
}

// decoder parses values from the front of b.
type decoder struct {
	b      []byte
	failed bool
}

func (d *decoder) string() string {
	length, n := binary.Uvarint(d.b)
	if n <= 0 || length > uint64(len(d.b)-n) {
		d.failed, d.b = true, nil
		return ""
	}
	s := string(d.b[n : n+int(length)])
	d.b = d.b[n+int(length):]
	return s
}

func (d *decoder) number() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) unsigned() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.failed, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}
