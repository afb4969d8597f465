package usage

import "io"

// Page is an answer to a Query, and its JSON form that of `/v1/usage`.
type Page struct {
	Object   string   `json:"object"` // "page"
	Data     []Bucket `json:"data"`   // oldest first
	HasMore  bool     `json:"has_more"`
	NextPage *string  `json:"next_page"` // the `page` that goes on where this one ends; nil at the end
}

// Bucket is a stretch of time with what was used in it.
type Bucket struct {
	Object    string   `json:"object"`     // "bucket"
	StartTime int64    `json:"start_time"` // unix seconds
	EndTime   int64    `json:"end_time"`   // unix seconds, the next bucket's start
	Results   []Result `json:"results"`    // sorted by what they are grouped by; empty where nothing was used
}

// Result is a sum of records. What it is not grouped by is nil.
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
	CostUSD           *USD    `json:"cost_usd"` // of what is priced; nil where nothing is
}

// WriteJSON writes the page as JSON, bucket by bucket.
func (p *Page) WriteJSON(w io.Writer) error { return nil }

// WriteCSV writes the page as CSV with a header line.
func (p *Page) WriteCSV(w io.Writer) error { return nil }
