package registry

import (
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// Redis is a storage that several gates share. It uses one hash tag, and so one
// node of a Cluster. Redis must not evict and should persist: keys that it loses
// are refused.
type Redis struct {
	client redis.UniversalClient
	prefix string
}

// NewRedis returns a storage whose keys begin with prefix. The caller closes the
// client, after the storage.
func NewRedis(client redis.UniversalClient, prefix string) *Redis {
	return &Redis{client, prefix + ":{registry}:"}
}

//go:embed lua/update.lua
var updateSource string

// update replaces an entry unless it has changed since it was read.
var update = redis.NewScript(updateSource)

// The keys in Redis. The entries of a kind are a hash under its name; changes is a
// sorted set of kind/id by the version of their last change.
func (r *Redis) meta() string          { return r.prefix + "meta" }
func (r *Redis) changes() string       { return r.prefix + "changes" }
func (r *Redis) entries(k Kind) string { return r.prefix + string(k) }

// Changes implements [Storage]. It reads the revision first: what changes during
// the call has a later one.
func (r *Redis) Changes(ctx context.Context, since Revision) (Changes, error) {
	revision, err := r.revision(ctx)
	if err != nil || revision == since {
		return Changes{Revision: revision}, err
	}
	changes := Changes{Revision: revision}
	if revision.Epoch != since.Epoch || revision.Version < since.Version {
		changes.Complete = true
		for _, kind := range []Kind{KindKey, KindTeam} {
			if err := r.all(ctx, kind, &changes); err != nil {
				return Changes{}, err
			}
		}
		return changes, nil
	}
	names, err := r.client.ZRangeByScore(ctx, r.changes(), &redis.ZRangeBy{
		Min: "(" + strconv.FormatUint(since.Version, 10), Max: "+inf",
	}).Result()
	if err != nil {
		return Changes{}, unavailable("reading what has changed", err)
	}
	changed := make(map[Kind][]string)
	for _, name := range names {
		kind, id, _ := strings.Cut(name, "/")
		changed[Kind(kind)] = append(changed[Kind(kind)], id)
	}
	for kind, ids := range changed {
		values, err := r.client.HMGet(ctx, r.entries(kind), ids...).Result()
		if err != nil {
			return Changes{}, unavailable("reading what has changed", err)
		}
		for i, value := range values {
			entry := Entry{Kind: kind, ID: ids[i]}
			if text, ok := value.(string); ok {
				entry.Value = []byte(text)
			}
			changes.Entries = append(changes.Entries, entry)
		}
	}
	return changes, nil
}

// revision returns the current revision. A Redis that was never written to has the
// epoch "none".
func (r *Redis) revision(ctx context.Context) (Revision, error) {
	values, err := r.client.HMGet(ctx, r.meta(), "epoch", "version").Result()
	if err != nil {
		return Revision{}, unavailable("reading the version", err)
	}
	epoch, _ := values[0].(string)
	text, _ := values[1].(string)
	if epoch == "" {
		return Revision{Epoch: "none"}, nil
	}
	version, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return Revision{}, fmt.Errorf("%w: its version is not a number", ErrUnavailable)
	}
	return Revision{epoch, version}, nil
}

// all reads the entries of a kind with HSCAN, so that Redis can serve others in
// between.
func (r *Redis) all(ctx context.Context, kind Kind, changes *Changes) error {
	const piece = 1000
	for cursor := uint64(0); ; {
		var pairs []string
		var err error
		pairs, cursor, err = r.client.HScan(ctx, r.entries(kind), cursor, "", piece).Result()
		if err != nil {
			return unavailable("reading all "+string(kind)+"s", err)
		}
		for i := 0; i+1 < len(pairs); i += 2 {
			changes.Entries = append(changes.Entries, Entry{kind, pairs[i], []byte(pairs[i+1])})
		}
		if cursor == 0 {
			return nil
		}
	}
}

// updateTries is how often an update is tried while others change the entry.
const updateTries = 20

// Update implements [Storage].
func (r *Redis) Update(ctx context.Context, kind Kind, id string, change func([]byte) ([]byte, error)) error {
	for range updateTries {
		text, err := r.client.HGet(ctx, r.entries(kind), id).Result()
		if err != nil && !errors.Is(err, redis.Nil) {
			return unavailable("reading "+string(kind), err)
		}
		var old []byte
		if text != "" {
			old = []byte(text)
		}
		value, err := change(old)
		if err != nil {
			return err
		}
		done, err := update.Run(ctx, r.client, []string{r.entries(kind), r.changes(), r.meta()},
			id, text, string(value), string(kind)+"/"+id, rand.Text()).Bool()
		switch {
		case err != nil:
			return unavailable("writing "+string(kind), err)
		case done:
			return nil
		}
	}
	return fmt.Errorf("%w: %s %q changes all the time", ErrUnavailable, kind, id)
}

// Close implements [Storage]. It does not close the client.
func (r *Redis) Close() error { return nil }

func unavailable(doing string, err error) error {
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, doing, err)
}
