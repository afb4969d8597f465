package store

import (
	"bufio"
	"context"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// settingsTimeout bounds the query of the settings of Redis.
const settingsTimeout = 500 * time.Millisecond

// serverSettings returns the eviction policy of Redis, and whether it keeps an
// append-only file; of a Cluster, those of one of its nodes. A value is nil if
// Redis does not return it: the ACL of the user may permit nothing but keys.
func (l *sharedState) serverSettings(ctx context.Context) (eviction *string, appendOnly *bool) {
	client := l.connect().client
	ctx, cancel := context.WithTimeout(ctx, settingsTimeout)
	defer cancel()
	if value, ok := infoField(ctx, client, "memory", "maxmemory_policy"); ok {
		eviction = &value
	}
	if value, ok := infoField(ctx, client, "persistence", "aof_enabled"); ok {
		on := value == "1"
		appendOnly = &on
	}
	return eviction, appendOnly
}

// infoField returns a field of a section of Redis' INFO.
func infoField(ctx context.Context, client redis.UniversalClient, section, name string) (value string, ok bool) {
	text, err := client.Info(ctx, section).Result()
	if err != nil {
		return "", false
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), name+":"); ok {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}
