package rollup

import (
	"time"

	"github.com/amanycodes/pine-gate/usage"
)

// Level is a width of the buckets that samples are kept in.
type Level int

// The levels.
const (
	Minutes Level = iota
	Hours
	Days
	NumLevels
)

const daySeconds = 86400

var levelSeconds = [NumLevels]int64{60, 3600, daySeconds}

var levelNames = [NumLevels]string{"minute", "hour", "day"}

// String returns the name of one bucket of the level, such as "minute".
func (l Level) String() string { return levelNames[l] }

func (l Level) floor(unix int64) int64 { return unix - unix%levelSeconds[l] }

// levelOf returns the level whose buckets make up a bucket of a query.
func levelOf(w usage.Width) Level {
	switch w {
	case usage.Minute:
		return Minutes
	case usage.Hour:
		return Hours
	}
	return Days
}

// DayOf returns the start of the UTC day that the unix time lies in.
func DayOf(unix int64) int64 { return Days.floor(unix) }

// Bucket is one bucket of one level.
type Bucket struct {
	Level Level
	Start int64 // unix seconds
}

// Range is the buckets of a level that start in [From, To), in unix seconds.
type Range struct {
	Level    Level
	From, To int64
}

// endOfTime is the start of the year 10000.
const endOfTime = 253402300800

// DaysSince returns the range of days from the day of since on.
func DaysSince(since time.Time) Range {
	return Range{Days, DayOf(max(0, since.Unix())), endOfTime}
}

// retentions returns the retention of each level for a retention of the daily
// sums; 0 means the default.
func retentions(retention time.Duration) [NumLevels]time.Duration {
	if retention <= 0 {
		retention = usage.DefaultRetention
	}
	return [NumLevels]time.Duration{
		min(usage.MinuteRetention, retention), min(usage.HourRetention, retention), max(usage.LeastRetention, retention),
	}
}

func stamp(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
