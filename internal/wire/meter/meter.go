// Package meter measures the usage of a backend's answer while it streams to the
// caller.
package meter

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// Meter extracts the usage of one answer of a backend while the answer streams
// through. It buffers nothing (except with HideUsage), starts no goroutine and
// no timer, and its memory does not grow with the answer.
//
// One goroutine at a time may read the body. It calls the hooks inside Read. Any
// goroutine may call Close, more than once, and Result, at any time, including
// from the hooks.
type Meter struct {
	config  Config
	status  int
	length  int64 // of the body as read; -1 if unknown
	form    bodyForm
	spoken  bool // the opaque body is generated text
	editing bool

	mu     sync.Mutex // guards the fields below
	tally  tally
	events *eventReader
	hiding *hidingBody // nil without HideUsage
	json   *extractor

	firstDue, finalDue   bool
	firstDone, finalDone bool
}

// Config configures a Meter.
type Config struct {
	// Endpoint is the endpoint of the request. The format of the answer decides
	// how it is parsed, the endpoint what its fields mean.
	Endpoint wire.Endpoint

	// HideUsage removes usage from a stream that the gate requested and the
	// caller did not: chunks that contain nothing else, and the member `usage`
	// of other chunks. All other bytes are unchanged.
	HideUsage bool

	// Count counts tokens for UnreportedTokens. It costs up to 4 KiB of memory per
	// answer, and CPU time: in a long answer it is called as the text arrives. If
	// it is nil, the tokens are estimated from the bytes.
	Count wire.CountFunc

	// First is called once, before the return of the Read that delivers the
	// first generated output (for an answer that is not a stream: its first
	// byte). It is called before Final in any case, unless the body is empty.
	// It may be nil.
	First func()

	// Final is called once, before the return of the Read that delivers the end
	// of the answer: its usage event, its terminal event, the end of its JSON or
	// its last byte. The totals are then final. It is not called if the body
	// fails or is closed before that. It may be nil.
	Final func()

	// Fail returns the error to send to the caller when a stream breaks off with
	// err before it was complete. The caller receives it as the last event, in
	// the endpoint's dialect, followed by a clean end. If Fail is nil or returns
	// nil, err is passed on.
	Fail func(err error) *wire.Error
}

// Result is the usage and state of an answer so far.
type Result struct {
	wire.Tokens
	wire.Parts

	// Tier is the service tier that the answer reports.
	Tier wire.ServiceTier

	// Reported reports whether the backend reported complete usage. If not,
	// Tokens holds the part that it did report.
	Reported bool
	// Flagged marks an answer whose usage is not trustworthy: usage that was
	// negative, absurd, not a number or contradictory, or a body that was
	// truncated, did not match its content type or had an unsupported encoding.
	// Values that cannot be a count were ignored, and parts were reduced to their
	// whole.
	Flagged bool

	Model      string // that answered; "" if unknown
	ResponseID string // "" if unknown

	// Complete reports whether the whole answer passed: its terminal event,
	// [DONE], the end of its JSON or its full length.
	Complete bool

	// Delivered is the number of UTF-8 bytes of generated text: content,
	// reasoning and tool calls, without the JSON around it.
	Delivered int64
	// Unreported is the part of Delivered that arrived after the last usage. The
	// cost of an aborted stream is Output plus an estimate of Unreported. With
	// continuous usage it is 0.
	Unreported int64

	// StreamError reports whether the backend sent an error in an answer without
	// an error status. The caller received it unchanged.
	StreamError bool

	Bytes   int64   // of the decoded body
	Events  int64   // events with data, in a stream
	Seconds float64 // of audio, if a transcription is charged by duration
	CostUSD string  // OpenRouter's usage.cost, verbatim; "" for none
}

// bodyForm is the format of a body.
type bodyForm uint8

const (
	formOpaque  bodyForm = iota // not parsed: only its bytes are counted
	formUnknown                 // determined by the first byte
	formJSON
	formEvents
)

// New returns a meter for one attempt.
func New(c Config) *Meter {
	m := &Meter{config: c, length: -1}
	m.tally.sequence = -1
	if c.Count != nil {
		m.tally.written = &written{count: c.Count}
	}
	return m
}

// Wrap returns a reader of an answer's body that meters what it reads. It must be
// called once. The Content-Type selects the format, whatever the request asked
// for. A gzipped body, which the gate requests of no backend, is decoded. If the
// body's length may change, Wrap removes Content-Length from header, and for a
// decoded body Content-Encoding.
func (m *Meter) Wrap(header http.Header, status int, contentLength int64, body io.ReadCloser) io.ReadCloser {
	m.mu.Lock() // Result may be called concurrently
	defer m.mu.Unlock()
	if body == nil {
		body = http.NoBody
	}
	m.status, m.length = status, contentLength
	readable := true
	switch encoding := strings.TrimSpace(strings.Join(header.Values("Content-Encoding"), ",")); {
	case encoding == "" || strings.EqualFold(encoding, "identity"):
	case strings.EqualFold(encoding, "gzip") || strings.EqualFold(encoding, "x-gzip"):
		body = &gunzipped{src: body}
		header.Del("Content-Encoding")
		m.edits(header)
	default:
		readable = false
	}

	m.form = m.formOf(header.Get("Content-Type"), readable)
	switch m.form {
	case formEvents:
		m.startEvents()
		if m.config.HideUsage {
			m.edits(header)
			m.hiding = &hidingBody{meteredBody: meteredBody{m: m, src: body}}
			return m.hiding
		}
	case formJSON:
		m.startJSON()
	}
	return &meteredBody{m: m, src: body}
}

// edits marks the body's length as unknown and removes Content-Length.
func (m *Meter) edits(header http.Header) {
	m.editing, m.length = true, -1
	header.Del("Content-Length")
}

// formOf returns the format of a body. readable is false if its encoding is not
// supported.
func (m *Meter) formOf(contentType string, readable bool) bodyForm {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	success := m.status/100 == 2 && m.status != http.StatusNoContent
	switch {
	case !readable:
		m.tally.flagged = true
		return formOpaque
	case media == "text/event-stream":
		return formEvents
	case media == "application/json" || strings.HasSuffix(media, "+json"):
		if m.length == 0 && !success {
			return formOpaque
		}
		return formJSON
	case !success:
		return formOpaque
	}
	switch m.config.Endpoint {
	case wire.Speech:
		return formOpaque
	case wire.Transcriptions, wire.Translations: // may be plain text or subtitles
		m.spoken = strings.HasPrefix(media, "text/")
		return formOpaque
	}
	// A stream with a wrong content type must not be free of charge.
	return formUnknown
}

// Editing reports, after Wrap, whether the length of the body may differ from the
// backend's Content-Length. The answer's ContentLength is then -1.
func (m *Meter) Editing() bool { return m.editing }

// BetweenEvents returns the line break, "\n" or "\r", of an event that the gate may
// insert after what was read of the body so far. It returns "" if it may insert
// none: the body is not a stream, the last event or its line break may be
// incomplete, or the stream is complete or has failed. Only the goroutine that
// reads the body may call it.
func (m *Meter) BetweenEvents() (lineBreak string) {
	if m.form != formEvents || m.tally.complete || m.tally.streamError {
		return ""
	}
	if m.hiding != nil {
		return m.hiding.betweenEvents()
	}
	if !m.events.fresh {
		return ""
	}
	return m.events.lineBreak()
}

// Result returns the usage and state of the answer so far.
func (m *Meter) Result() Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.tally.result(m.config.Endpoint)
	r.StreamError = r.StreamError && m.status < 400
	return r
}

// UnreportedTokens returns an estimate of the tokens of the text that Result counts
// as Unreported: by Config.Count, or else at four bytes per token.
func (m *Meter) UnreportedTokens() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tally.written != nil {
		return m.tally.written.total()
	}
	return (m.tally.unreported + wire.BytesPerToken - 1) / wire.BytesPerToken
}

func (m *Meter) startEvents() {
	m.form = formEvents
	m.events = newEventReader(&m.tally, m.config.Endpoint.Dialect().AnswerNames, m.closed)
}

func (m *Meter) startJSON() {
	m.form = formJSON
	m.json = &extractor{found: &m.tally, names: m.config.Endpoint.Dialect().AnswerNames, root: placeBody}
	m.json.reset()
}

// closed records an event with complete data, or a complete JSON body.
func (m *Meter) closed(p *payload) {
	if m.tally.closed(p, m.config.Endpoint) {
		m.finalDue = true
	}
	if !m.config.Endpoint.Prose() { // for prose, only text counts as the first output
		m.firstDue = true
	}
}

// observe meters bytes of the body. m.mu must be held.
func (m *Meter) observe(b []byte) {
	m.tally.bytes += int64(len(b))
	if m.form == formUnknown {
		b = m.sniff(b)
	}
	switch m.form {
	case formEvents:
		for rest := b; len(rest) > 0; {
			n, _ := m.events.next(rest)
			rest = rest[n:]
		}
	case formJSON:
		m.observeJSON(b)
	case formOpaque:
		if m.spoken {
			m.tally.delivered += int64(len(b))
			m.tally.unreported += int64(len(b))
			m.tally.written.add(b)
		}
	}
	m.observed()
}

// observed sets which hooks are due after bytes were read. m.mu must be held.
func (m *Meter) observed() {
	switch {
	case m.form == formEvents:
		m.firstDue = m.firstDue || m.tally.delivered > 0
	case m.tally.bytes > 0:
		m.firstDue = true
	}
	if m.tally.bytes == m.length && !m.cutJSON() {
		m.ended()
	}
}

func (m *Meter) observeJSON(b []byte) {
	before := m.json.payload.closed
	m.json.feed(b, 0)
	p := &m.json.payload
	if p.usage {
		m.tally.covered() // whether usage precedes or follows the text
	}
	if p.closed && !before {
		m.closed(p)
		m.tally.complete, m.finalDue = true, true
	}
}

// sniff determines the format of a body from its first byte that is not white
// space. It returns b from that byte on.
func (m *Meter) sniff(b []byte) []byte {
	for i, c := range b {
		switch {
		case jsonSpace(c):
			continue
		case c == '{':
			m.startJSON()
		case strings.IndexByte(":deir", c) >= 0: // a comment, data, event, id, retry
			m.startEvents()
		default:
			m.form, m.tally.flagged = formOpaque, true
		}
		return b[i:]
	}
	return nil
}

// torn reports whether a stream that ended without an error is incomplete. The
// connection does not show it if it has no other end than its close, or if it is
// that of a proxy whose own backend broke off. It shows in a last event that is
// cut off, and in a missing terminal event where the dialect has one. Chats may
// lack their [DONE], since some servers omit it. m.mu must be held.
func (m *Meter) torn() bool {
	if m.form != formEvents || m.config.Fail == nil || m.length >= 0 {
		return false // with a Content-Length there is no room for an error event
	}
	if m.tally.complete || m.tally.streamError || m.events.named {
		return false
	}
	silent := m.tally.events == 0 && !m.events.hasData // comments are no answer
	return silent || m.events.cut() || m.config.Endpoint.Terminated()
}

// cutJSON reports whether a successful answer ended within its JSON.
func (m *Meter) cutJSON() bool {
	if m.form != formJSON || m.status/100 != 2 {
		return false
	}
	p := &m.json.payload
	return !p.closed && !p.broken && m.tally.bytes > 0
}

// brokenLine returns the line breaks that terminate an event which broke off here.
func (m *Meter) brokenLine() []byte {
	if m.form != formEvents {
		return nil
	}
	return m.events.broken()
}

// ended records that the whole body was read. m.mu must be held.
func (m *Meter) ended() {
	if m.finalDue && m.form != formEvents {
		return
	}
	m.finalDue = true
	switch m.form {
	case formEvents:
		if !m.events.fresh {
			m.events.end() // an event without its blank line
		}
	case formJSON:
		if !m.json.payload.closed {
			m.tally.flagged = true
			m.tally.complete = m.tally.bytes == m.length
		}
	default:
		m.tally.complete = true
	}
}

// release calls the hooks that are due, before Read returns. m.mu must not be
// held.
func (m *Meter) release() {
	if !m.firstDone && (m.firstDue || m.finalDue && m.tally.bytes > 0) {
		m.firstDone = true
		if m.config.First != nil {
			m.config.First()
		}
	}
	if m.finalDue && !m.finalDone {
		m.finalDone = true
		if m.config.Final != nil {
			m.config.Final()
		}
	}
}
