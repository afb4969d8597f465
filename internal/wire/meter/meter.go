package meter

import (
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// Meter reads off one answer of a backend, as it passes, what it cost. It
// holds nothing back (but for HideUsage), starts no goroutine and no timer,
// and its memory does not grow with the answer.
//
// One goroutine at a time reads the body; the hooks are called by it, inside
// Read. Close may be called by any goroutine, more than once; Result by any, at
// any time, also by the hooks.
type Meter struct {
	config  Config
	status  int
	length  int64 // of the body as it is read; -1 unknown
	form    bodyForm
	spoken  bool // an opaque body is text that the model wrote
	editing bool

	mu     sync.Mutex // guards what follows
	tally  tally
	events *eventReader
	hiding *hidingBody // nil: nothing is hidden
	json   *extractor

	firstDue, finalDue   bool
	firstDone, finalDone bool
}

// Config says what to do with an answer beside metering it.
type Config struct {
	// Endpoint is the one that was asked. What is metered goes by the answer;
	// the endpoint decides what its fields mean.
	Endpoint wire.Endpoint

	// HideUsage takes out of a stream the usage that the gate asked for and
	// the caller did not: the chunk that holds nothing else, and the member
	// `usage` of the others. Nothing else is changed.
	HideUsage bool

	// Count counts tokens for UnreportedTokens. It costs up to 4 KiB of memory an
	// answer, and time: of a long answer it is called as the text comes. Nil: they
	// are estimated from the bytes.
	Count wire.CountFunc

	// First is called once, before the Read returns that releases the first
	// of what the model wrote (of an answer that is no stream: its first
	// byte). It is called before Final in any case, unless the body is empty.
	// Nil: nothing is called.
	First func()

	// Final is called once, before the Read returns that releases the last of
	// the answer: its usage event, its terminal event, the end of its JSON, its
	// last byte. The totals do not change any more. It is not called if the
	// body fails or is closed before that. Nil: nothing is called.
	Final func()

	// Fail is asked what to send the caller when a stream breaks off with an
	// error before it was whole. The caller sees its answer as the last event,
	// in the endpoint's dialect, and then a clean end. Nil, or a nil answer:
	// the error is passed on.
	Fail func(err error) *wire.Error
}

// Result is what an answer cost, so far.
type Result struct {
	wire.Tokens
	wire.Parts

	// Tier is the service tier that the answer says it was served in.
	Tier wire.ServiceTier

	// Reported says that the backend said so itself, in full. If false, what
	// Tokens holds is what it did say.
	Reported bool
	// Flagged marks an answer not to be taken at its word: usage that was
	// negative, absurd, no number or contradictory, a body that was cut short,
	// not what its type says or in an encoding the meter can't read. Values that
	// can be no count were not taken, parts are cut down to their whole.
	Flagged bool

	Model      string // that answered; "" unknown
	ResponseID string // "" unknown

	// Complete says that the whole answer passed: its terminal event, [DONE],
	// the end of its JSON, its full length.
	Complete bool

	// Delivered counts the bytes, in UTF-8, of the text that the model wrote:
	// what it said, thought and called tools with, without the JSON around it.
	Delivered int64
	// Unreported is that part of Delivered which came after the last usage:
	// Output and an estimate of this is what an aborted stream cost. With
	// continuous usage it is 0.
	Unreported int64

	// StreamError says that the backend sent an error within an answer whose
	// status was none. It passed as the backend wrote it.
	StreamError bool

	Bytes   int64   // of the body, decoded
	Events  int64   // of a stream, that had data
	Seconds float64 // of sound, where a transcription is charged by its duration
	CostUSD string  // OpenRouter's usage.cost as written; "" none
}

// bodyForm is how a body is read.
type bodyForm uint8

const (
	formOpaque  bodyForm = iota // not at all: its bytes are counted
	formUnknown                 // as its first byte says
	formJSON
	formEvents
)

// New makes a meter for one attempt at a request.
func New(c Config) *Meter {
	m := &Meter{config: c, length: -1}
	m.tally.sequence = -1
	if c.Count != nil {
		m.tally.written = &written{count: c.Count}
	}
	return m
}

// Wrap returns the body of an answer so that reading it meters it. It is called
// once. How the body is read goes by its Content-Type, whatever the request
// asked for. A gzip'd one, which no backend was asked for, is decoded. Where
// the body's length changes, Wrap removes Content-Length from the header, and
// with a decoded one Content-Encoding.
func (m *Meter) Wrap(header http.Header, status int, contentLength int64, body io.ReadCloser) io.ReadCloser {
	m.mu.Lock() // Result may be asked for meanwhile
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

// edits notes that the body's length is not the backend's.
func (m *Meter) edits(header http.Header) {
	m.editing, m.length = true, -1
	header.Del("Content-Length")
}

// formOf says how to read a body.
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
	case wire.Transcriptions, wire.Translations: // also as plain text or subtitles
		m.spoken = strings.HasPrefix(media, "text/")
		return formOpaque
	}
	// A stream under a wrong name would cost nothing.
	return formUnknown
}

// Editing reports, after Wrap, whether the body may be of another length than the
// backend said: the answer's ContentLength is then -1.
func (m *Meter) Editing() bool { return m.editing }

// BetweenEvents reports whether what has been read off the body so far is a stream
// that ends with a whole event, so that another one may be put there, and that
// more must come. It returns what that one must end its lines with, "\n" or "\r";
// "" where none may be put. Only the goroutine that reads the body may ask.
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

// Result returns what is known of the answer by now.
func (m *Meter) Result() Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.tally.result(m.config.Endpoint)
	r.StreamError = r.StreamError && m.status < 400
	return r
}

// UnreportedTokens estimates what the text comes to of which Result counts the
// bytes as Unreported: by Config.Count, else at four bytes a token.
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
	m.events = newEventReader(&m.tally, m.closed)
}

func (m *Meter) startJSON() {
	m.form = formJSON
	m.json = &extractor{found: &m.tally, root: placeBody}
	m.json.reset()
}

// closed takes note of an event whose data is whole, or of a whole JSON body.
func (m *Meter) closed(p *payload) {
	if m.tally.closed(p, m.config.Endpoint) {
		m.finalDue = true
	}
	if !m.config.Endpoint.Prose() { // else only text counts, not what surrounds it
		m.firstDue = true
	}
}

// observe reads bytes that pass. The caller holds m.mu.
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

// observed sees what is due after bytes were read. The caller holds m.mu.
func (m *Meter) observed() {
	switch {
	case m.form == formEvents:
		m.firstDue = m.firstDue || m.tally.delivered > 0
	case m.tally.bytes > 0:
		m.firstDue = true
	}
	if m.tally.bytes == m.length {
		m.ended()
	}
}

func (m *Meter) observeJSON(b []byte) {
	before := m.json.payload.closed
	m.json.feed(b, 0)
	p := &m.json.payload
	if p.usage {
		m.tally.covered() // whether it stands before the text or behind
	}
	if p.closed && !before {
		m.closed(p)
		m.tally.complete, m.finalDue = true, true
	}
}

// sniff decides by the first byte that says something how a body is read whose
// type does not say it. It returns b from that byte on.
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

// torn reports whether a stream that seems to have ended is only a part of one. The
// connection does not show it where that has no other end than its close, or stands
// behind a proxy whose own backend broke off: the last event does, if it was cut,
// and so do the dialects that end their streams with an event. Chats may lack
// their [DONE], as some servers leave it out. The caller holds m.mu.
func (m *Meter) torn() bool {
	if m.form != formEvents || m.config.Fail == nil || m.length >= 0 {
		return false // of a length that was said there is no room for more
	}
	if m.tally.complete || m.tally.streamError || m.events.named {
		return false
	}
	return m.events.cut() || m.config.Endpoint.Terminated()
}

// brokenLine returns the line breaks that end an event which broke off here.
func (m *Meter) brokenLine() []byte {
	if m.form != formEvents {
		return nil
	}
	return m.events.broken()
}

// ended takes note that all of the body was read. The caller holds m.mu.
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

// release calls the hooks that are due, before what was read is handed on. The
// caller does not hold m.mu.
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
