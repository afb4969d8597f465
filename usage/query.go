package usage

import (
	"fmt"
	"net/url"
	"time"
)

const maxUnix = 253402300799 // the last second of the year 9999

// Width is that of a bucket, in the words of `bucket_width`.
type Width string

// The widths.
const (
	Minute Width = "1m"
	Hour   Width = "1h"
	Day    Width = "1d"
	Month  Width = "1mo"
)

// Dimension is what usage can be grouped by, in the words of `group_by`.
type Dimension string

// The dimensions.
const (
	ByKey      Dimension = "key"
	ByTeam     Dimension = "team"
	ByModel    Dimension = "model"
	ByBackend  Dimension = "backend"
	ByEndpoint Dimension = "endpoint"
)

// Query asks a ledger for usage. Make one with ParseQuery, or fill all of it
// but the filters.
type Query struct {
	Start, End time.Time   // the buckets that overlap [Start, End), whole
	Width      Width       // of a bucket
	GroupBy    []Dimension // one result for each combination; none: one in all
	Keys       []string    // only these; empty: all. So are Teams and Models.
	Teams      []string
	Models     []string
	Limit      int  // most buckets in a page
	CSV        bool // what format=csv asks for; ledgers don't care
}

// ParamError is a query parameter that makes no sense.
type ParamError struct {
	Param   string // its name
	Message string // for the caller
}

func (e *ParamError) Error() string { return fmt.Sprintf("%s: %s", e.Param, e.Message) }

// ParseQuery reads the parameters of `/v1/usage`.
func ParseQuery(values url.Values, now time.Time) (Query, error) { return Query{}, nil }
