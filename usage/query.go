package usage

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	maxUnix = 253402300799 // the last second of the year 9999

	defaultRange = 30 * 24 * 60 * 60 // seconds
)

// Width is the width of a bucket, as `bucket_width` spells it.
type Width string

// The widths.
const (
	Minute Width = "1m"
	Hour   Width = "1h"
	Day    Width = "1d"
	Month  Width = "1mo"
)

// maxBuckets returns the most buckets that a page may hold, which is also the
// default. It is 0 for an unknown width.
func (w Width) maxBuckets() int {
	switch w {
	case Minute:
		return 1440
	case Hour:
		return 168
	case Day:
		return 31
	case Month:
		return 24
	}
	return 0
}

// seconds returns the width in seconds; 0 for a month, which varies.
func (w Width) seconds() int64 {
	switch w {
	case Minute:
		return 60
	case Hour:
		return 3600
	case Day:
		return 86400
	}
	return 0
}

// Floor returns the start of the bucket that the unix time lies in. Buckets
// begin at UTC's minutes, hours, days and months.
func (w Width) Floor(unix int64) int64 {
	if w != Month {
		return unix - unix%w.seconds()
	}
	t := time.Unix(unix, 0).UTC()
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC).Unix()
}

// Next returns the start of the bucket after the one that starts at start.
func (w Width) Next(start int64) int64 {
	if w != Month {
		return start + w.seconds()
	}
	return time.Unix(start, 0).UTC().AddDate(0, 1, 0).Unix()
}

// Dimension is a label that usage can be grouped by, as `group_by` spells it.
type Dimension string

// The dimensions.
const (
	ByKey      Dimension = "key"
	ByTeam     Dimension = "team"
	ByModel    Dimension = "model"
	ByBackend  Dimension = "backend"
	ByEndpoint Dimension = "endpoint"
)

var dimensions = []Dimension{ByKey, ByTeam, ByModel, ByBackend, ByEndpoint}

// Query is a query of usage. ParseQuery returns one; a Query made by hand needs
// Start and End.
type Query struct {
	Start, End time.Time   // the buckets that overlap [Start, End), each as a whole
	Width      Width       // of a bucket; default: a day
	GroupBy    []Dimension // one result for each combination; empty: one in all
	Keys       []string    // only these ids; empty: all
	Teams      []string    // only these; the empty name stands for keys without a team
	Models     []string    // only these, as callers asked for them
	Limit      int         // most buckets in a page; 0: as many as a page holds
	CSV        bool        // format=csv was given; ledgers ignore it

	defaultStart bool // Start may be moved to the first bucket that is kept
}

// ParamError is an invalid query parameter.
type ParamError struct {
	Param   string // its name
	Message string // for the caller
}

func (e *ParamError) Error() string { return fmt.Sprintf("%s: %s", e.Param, e.Message) }

func paramErrorf(param, format string, args ...any) *ParamError {
	return &ParamError{param, fmt.Sprintf(format, args...)}
}

// ParseQuery parses the parameters of `/v1/usage`:
//
//	start_time, end_time   unix seconds; default: the 30 days before end_time, and now;
//	                       buckets that they touch are answered as a whole
//	bucket_width           1m, 1h, 1d or 1mo; default 1d
//	group_by               key, team, model, backend, endpoint; repeated or separated by commas
//	keys, teams, models    only these; repeated
//	limit                  most buckets in a page: 1440 minutes, 168 hours, 31 days, 24 months; that is the default too
//	page                   the next_page of the page before; it holds the range too
//	format                 json or csv; default json
//
// The names of parameters that may be repeated may end in []. The error is a
// *ParamError. An unknown parameter is an error, because a filter that is
// ignored shows too much.
func ParseQuery(values url.Values, now time.Time) (Query, error) {
	q := Query{Width: Day}
	for name, given := range values {
		if len(given) == 0 {
			continue
		}
		plain, list := strings.CutSuffix(name, "[]")
		switch plain {
		case "group_by", "keys", "teams", "models":
			continue
		case "start_time", "end_time", "bucket_width", "limit", "page", "format":
			if list {
				break
			}
			if len(given) > 1 {
				return Query{}, paramErrorf(name, "is given more than once")
			}
			continue
		}
		return Query{}, paramErrorf(name, "is not a parameter of usage")
	}
	if values.Has("bucket_width") {
		if q.Width = Width(values.Get("bucket_width")); q.Width == "" {
			return Query{}, paramErrorf("bucket_width", "is empty")
		}
	}
	for _, word := range list(values, "group_by") {
		for name := range strings.SplitSeq(word, ",") {
			if d := Dimension(strings.TrimSpace(name)); !slices.Contains(q.GroupBy, d) {
				q.GroupBy = append(q.GroupBy, d)
			}
		}
	}
	q.Keys, q.Teams, q.Models = list(values, "keys"), list(values, "teams"), list(values, "models")
	if values.Has("limit") {
		n, err := strconv.Atoi(values.Get("limit"))
		if err != nil || n < 1 {
			return Query{}, paramErrorf("limit", "%q is not a number of buckets, 1 or more", values.Get("limit"))
		}
		q.Limit = n
	}
	switch format := values.Get("format"); {
	case format == "csv":
		q.CSV = true
	case format != "json" && values.Has("format"):
		return Query{}, paramErrorf("format", "%q is neither json nor csv", format)
	}
	if err := q.parseRange(values, now); err != nil {
		return Query{}, err
	}
	if err := q.check(); err != nil {
		return Query{}, err
	}
	return q, nil
}

func list(values url.Values, name string) []string {
	return append(slices.Clone(values[name]), values[name+"[]"]...)
}

func (q *Query) parseRange(values url.Values, now time.Time) error {
	end := now.Unix() + 1 // the range is open at its end: with this second
	if values.Has("end_time") {
		var err error
		if end, err = parseUnix(values, "end_time"); err != nil {
			return err
		}
	}
	start := max(0, end-defaultRange)
	if values.Has("start_time") {
		var err error
		if start, err = parseUnix(values, "start_time"); err != nil {
			return err
		}
	} else {
		q.defaultStart = true
	}
	if values.Has("page") {
		c, ok := parseCursor(values.Get("page"))
		if !ok {
			return paramErrorf("page", "is not the next_page of a page")
		}
		if c.width != q.Width {
			return paramErrorf("page", "is that of another bucket_width")
		}
		start, end, q.defaultStart = c.start, c.end, false
	}
	q.Start, q.End = time.Unix(start, 0), time.Unix(end, 0)
	return nil
}

func parseUnix(values url.Values, name string) (int64, error) {
	n, err := strconv.ParseInt(values.Get(name), 10, 64)
	if err != nil || n < 0 || n > maxUnix {
		return 0, paramErrorf(name, "%q is not a unix time in seconds", values.Get(name))
	}
	return n, nil
}

// check checks what does not depend on the ledger, and sets the defaults.
func (q *Query) check() error {
	if q.Width == "" {
		q.Width = Day
	}
	most := q.Width.maxBuckets()
	if most == 0 {
		return paramErrorf("bucket_width", "%q is none of 1m, 1h, 1d and 1mo", string(q.Width))
	}
	if q.Limit < 0 || q.Limit > most {
		return paramErrorf("limit", "%d is more than the %d buckets that a page of bucket_width=%s holds", q.Limit, most, q.Width)
	}
	if q.Limit == 0 {
		q.Limit = most
	}
	for _, d := range q.GroupBy {
		if !slices.Contains(dimensions, d) {
			return paramErrorf("group_by", "%q is none of key, team, model, backend and endpoint", string(d))
		}
	}
	if start, end := q.Start.Unix(), q.End.Unix(); start < 0 || end > maxUnix+1 || start >= end {
		return paramErrorf("start_time", "%d is not before end_time, %d", start, end)
	}
	return nil
}

// Resolve checks q, sets its defaults, and returns the buckets that its page
// reads: those that start in [from, to), of which a ledger has the ones from
// oldest on. Minutes and hours before that are an error unless q has the default
// start, which is moved then. The error is a *ParamError.
func (q *Query) Resolve(oldest int64) (from, to int64, err error) {
	if err := q.check(); err != nil {
		return 0, 0, err
	}
	from = q.Width.Floor(q.Start.Unix())
	if from < oldest && (q.Width == Minute || q.Width == Hour) {
		if !q.defaultStart {
			unit := map[Width]string{Minute: "minutes", Hour: "hours"}[q.Width]
			return 0, 0, paramErrorf("start_time", "%s are kept from %d on", unit, oldest)
		}
		from = oldest
	}
	q.Start = time.Unix(from, 0)
	to = from
	for range q.Limit {
		if to >= q.End.Unix() {
			break
		}
		to = q.Width.Next(to)
	}
	return from, to, nil
}

// PageToken returns the `page` parameter that continues q with the bucket that
// starts at from.
func (q *Query) PageToken(from int64) string {
	return cursor{q.Width, from, q.End.Unix()}.String()
}

// cursor is the content of a page token: the rest of the range. It holds the end
// too, which by default is the time of the first request.
type cursor struct {
	width      Width
	start, end int64
}

func (c cursor) String() string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%s.%d.%d", c.width, c.start, c.end))
}

func parseCursor(text string) (cursor, bool) {
	decoded, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return cursor{}, false
	}
	parts := strings.Split(string(decoded), ".")
	if len(parts) != 3 {
		return cursor{}, false
	}
	c := cursor{width: Width(parts[0])}
	var startErr, endErr error
	c.start, startErr = strconv.ParseInt(parts[1], 10, 64)
	c.end, endErr = strconv.ParseInt(parts[2], 10, 64)
	ok := startErr == nil && endErr == nil && c.width.maxBuckets() > 0 && 0 <= c.start && c.start < c.end && c.end <= maxUnix
	return c, ok && c.width.Floor(c.start) == c.start
}
