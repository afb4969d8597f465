package usage

import (
	"bytes"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// Page is the answer to a Query. Its JSON form is that of `/v1/usage`.
type Page struct {
	Object   string   `json:"object"`    // "page"
	Data     []Bucket `json:"data"`      // oldest first
	HasMore  bool     `json:"has_more"`  // the range continues
	NextPage *string  `json:"next_page"` // the `page` parameter of the next page; nil at the end
}

// Bucket is a period of time with its usage.
type Bucket struct {
	Object    string   `json:"object"`     // "bucket"
	StartTime int64    `json:"start_time"` // unix seconds
	EndTime   int64    `json:"end_time"`   // unix seconds: the next bucket's start
	Results   []Result `json:"results"`    // sorted by their labels; empty if nothing was used
}

// Result is a sum of records. Labels that are not in the query's GroupBy are nil.
type Result struct {
	Object            string  `json:"object"` // "usage.result"
	Key               *string `json:"key"`
	Team              *string `json:"team"`
	Model             *string `json:"model"`
	Backend           *string `json:"backend"`
	Endpoint          *string `json:"endpoint"`
	Requests          int64   `json:"requests"`
	Errors            int64   `json:"errors"`
	InputTokens       int64   `json:"input_tokens"`
	CachedTokens      int64   `json:"input_cached_tokens"`
	CacheWriteTokens  int64   `json:"input_cache_write_tokens"`
	OutputTokens      int64   `json:"output_tokens"`
	ReasoningTokens   int64   `json:"reasoning_tokens"`
	EstimatedRequests int64   `json:"estimated_requests"`
	UnpricedRequests  int64   `json:"unpriced_requests"`
	CostUSD           *USD    `json:"cost_usd"` // of the requests with a price; nil if there are none
}

// column is one number of a result, with its name in JSON and CSV.
type column struct {
	name  string
	value func(*Result) int64
}

// numbers are the columns of a result that are counts, in order.
var numbers = []column{
	{"requests", func(r *Result) int64 { return r.Requests }},
	{"errors", func(r *Result) int64 { return r.Errors }},
	{"input_tokens", func(r *Result) int64 { return r.InputTokens }},
	{"input_cached_tokens", func(r *Result) int64 { return r.CachedTokens }},
	{"input_cache_write_tokens", func(r *Result) int64 { return r.CacheWriteTokens }},
	{"output_tokens", func(r *Result) int64 { return r.OutputTokens }},
	{"reasoning_tokens", func(r *Result) int64 { return r.ReasoningTokens }},
	{"estimated_requests", func(r *Result) int64 { return r.EstimatedRequests }},
	{"unpriced_requests", func(r *Result) int64 { return r.UnpricedRequests }},
}

// numberNames are the names of numbers as they precede a value in JSON.
var numberNames = func() (names []string) {
	for _, c := range numbers {
		names = append(names, `,"`+c.name+`":`)
	}
	return names
}()

// labels returns the labels of a result in the order of dimensions.
func (r *Result) labels() [5]*string {
	return [...]*string{r.Key, r.Team, r.Model, r.Backend, r.Endpoint}
}

// flushSize is the number of bytes that are buffered for one write.
const flushSize = 32 << 10

// WriteJSON writes the page as JSON. The output is that of json.Marshal, but it is
// written piece by piece and without reflection: a page may hold 200,000 results.
// The error is that of w.
func (p *Page) WriteJSON(w io.Writer) error {
	b := append(make([]byte, 0, flushSize+4096), `{"object":"page","data":[`...)
	for i := range p.Data {
		bucket := &p.Data[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"object":"bucket","start_time":`...)
		b = strconv.AppendInt(b, bucket.StartTime, 10)
		b = append(b, `,"end_time":`...)
		b = strconv.AppendInt(b, bucket.EndTime, 10)
		b = append(b, `,"results":[`...)
		for j := range bucket.Results {
			if j > 0 {
				b = append(b, ',')
			}
			b = bucket.Results[j].append(b)
			if len(b) >= flushSize {
				if _, err := w.Write(b); err != nil {
					return fmt.Errorf("writing a page of usage: %w", err)
				}
				b = b[:0]
			}
		}
		b = append(b, "]}"...)
	}
	b = append(b, `],"has_more":`...)
	b = strconv.AppendBool(b, p.HasMore)
	b = append(b, `,"next_page":`...)
	b = appendLabel(b, p.NextPage)
	b = append(b, '}')
	if _, err := w.Write(b); err != nil {
		return fmt.Errorf("writing a page of usage: %w", err)
	}
	return nil
}

// MarshalJSON returns what WriteJSON writes.
func (p *Page) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := p.WriteJSON(&b)
	return b.Bytes(), err
}

func (r *Result) append(b []byte) []byte {
	b = append(b, `{"object":"usage.result"`...)
	for i, label := range r.labels() {
		b = append(b, `,"`...)
		b = append(b, dimensions[i]...)
		b = append(b, `":`...)
		b = appendLabel(b, label)
	}
	for i := range numbers {
		b = append(b, numberNames[i]...)
		b = strconv.AppendInt(b, numbers[i].value(r), 10)
	}
	b = append(b, `,"cost_usd":`...)
	if r.CostUSD == nil {
		b = append(b, "null"...)
	} else {
		b = r.CostUSD.append(b)
	}
	return append(b, '}')
}

// plainLabel reports whether s needs no escapes in JSON, as nearly all names do.
func plainLabel(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7F || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

func appendLabel(b []byte, label *string) []byte {
	if label == nil {
		return append(b, "null"...)
	}
	if plainLabel(*label) {
		b = append(b, '"')
		b = append(b, *label...)
		return append(b, '"')
	}
	// The only error is invalid UTF-8, which is quoted with replacement characters.
	b, _ = jsontext.AppendQuote(b, *label)
	return b
}
