package meter

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// transcript is an answer as a backend sends it, with its expected Result.
type transcript struct {
	file     string
	endpoint wire.Endpoint
	want     Result
	final    string // Final is called before the end of this text is returned; "": only at the end
}

const looksLikeUsage = "data: {\"usage\":{\"prompt_tokens\":9999,\"completion_tokens\":9999}}\n\n"

var transcripts = []transcript{
	{"chat_usage.sse", wire.Chat, Result{
		Tokens: wire.Tokens{Input: 1200, CacheRead: 1024, Output: 31, Reasoning: 12}, Tier: wire.TierStandard, Reported: true,
		Model: "gpt-4o-mini-2024-07-18", ResponseID: "chatcmpl-9aT3x", Complete: true,
		Delivered: int64(len("Good \"day\"\nü😀 ü" + looksLikeUsage)), Events: 7,
	}, `"rejected_prediction_tokens":0}}}`},
	{"chat_plain.sse", wire.Chat, Result{
		Model: "llama-3", ResponseID: "chatcmpl-7", Complete: true,
		Delivered: int64(len(`Hmm.{"city":"Ulm"}`)), Unreported: int64(len(`Hmm.{"city":"Ulm"}`)), Events: 6,
	}, "[DONE]"},
	{"chat_continuous.sse", wire.Chat, Result{
		Tokens: wire.Tokens{Input: 17, Output: 2}, Reported: true,
		Model: "Qwen/Qwen3-8B", ResponseID: "chatcmpl-v", Complete: true, Delivered: 7, Events: 5,
	}, `"choices":[],"usage":{"prompt_tokens":17,"total_tokens":19,"completion_tokens":2}}`},
	{"chat_openrouter.sse", wire.Chat, Result{
		Tokens: wire.Tokens{Input: 20, CacheRead: 4, CacheWrite: 6, Output: 9, Reasoning: 5}, Reported: true,
		Model: "deepseek/deepseek-r1", ResponseID: "gen-176", Complete: true, Delivered: int64(len("SoYes.")), Events: 4,
		CostUSD: "0.00001962",
	}, "[DONE]"},
	{"chat_error.sse", wire.Chat, Result{
		Model: "m", ResponseID: "gen-5", Delivered: 4, Unreported: 4, Events: 2, StreamError: true,
	}, ""},
	{"completions.sse", wire.Completions, Result{
		Tokens: wire.Tokens{Input: 3, Output: 4}, Reported: true,
		Model: "davinci", ResponseID: "cmpl-1", Complete: true, Delivered: int64(len("It was night.")), Events: 4,
	}, `"total_tokens":7}}`},
	{"responses.sse", wire.Responses, Result{
		Tokens: wire.Tokens{Input: 300, CacheRead: 256, Output: 80, Reasoning: 64}, Reported: true,
		Model: "gpt-5-2025-08-07", ResponseID: "resp_68", Complete: true, Delivered: int64(len("ThinkHi there")), Events: 8,
	}, `"metadata":{}}}`},
	{"messages.sse", wire.Messages, Result{
		Tokens: wire.Tokens{Input: 21 + 188 + 2048, CacheRead: 2048, CacheWrite: 188, Output: 89}, Tier: wire.TierStandard, Reported: true,
		Model: "claude-sonnet-4-5-20250929", ResponseID: "msg_01X", Complete: true,
		Delivered: int64(len(`Let meHello {"usage":{"output_tokens":5}}{"a":1}`)), Events: 10,
	}, `{"type":"message_stop"}`},
	{"messages_error.sse", wire.Messages, Result{
		Tokens: wire.Tokens{Input: 10, Output: 1}, Reported: true,
		Model: "claude-x", ResponseID: "msg_02", Delivered: 5, Unreported: 5, Events: 3, StreamError: true,
	}, ""},
	{"multiline.sse", wire.Chat, Result{
		Tokens: wire.Tokens{Input: 5, Output: 2}, Reported: true,
		Model: "multi", ResponseID: "chatcmpl-m", Complete: true, Delivered: 9, Events: 3,
	}, `"completion_tokens":2}}`},
	{"transcription.sse", wire.Transcriptions, Result{
		Tokens: wire.Tokens{Input: 14, Output: 31}, Parts: wire.Parts{AudioInput: 4}, Reported: true, Complete: true, Delivered: 5, Events: 2,
	}, `"total_tokens":45}}`},
	{"image.sse", wire.ImageGenerations, Result{
		Tokens: wire.Tokens{Input: 50, Output: 50}, Parts: wire.Parts{ImageInput: 40, ImageOutput: 50}, Reported: true, Complete: true, Events: 2,
	}, ""},

	{"chat.json", wire.Chat, Result{
		Tokens: wire.Tokens{Input: 19, Output: 10}, Tier: wire.TierStandard, Reported: true, Model: "gpt-4o-mini", ResponseID: "chatcmpl-B1", Complete: true,
		Delivered: int64(len(`The "usage": {"prompt_tokens": 7}{"usage":{}}`)),
	}, `"service_tier": "default"` + "\n}"},
	{"messages.json", wire.Messages, Result{
		Tokens: wire.Tokens{Input: 2200, CacheRead: 100, CacheWrite: 5, Output: 503}, Reported: true,
		Model: "claude-sonnet-4-5", ResponseID: "msg_013", Complete: true,
		Delivered: int64(len(`Hi!"usage":{"input_tokens":9}}`)), // the input without its first brace,
	}, `"output_tokens":503}}`},
	{"responses.json", wire.Responses, Result{
		Tokens: wire.Tokens{Input: 36, Output: 87}, Reported: true, Model: "gpt-5", ResponseID: "resp_9", Complete: true,
		Delivered: int64(len("SumOut{}")),
	}, `"user":null}`},
	{"embeddings.json", wire.Embeddings, Result{
		Tokens: wire.Tokens{Input: 8}, Reported: true, Model: "text-embedding-3-small", Complete: true,
	}, `"total_tokens":8}}`},
	{"transcription.json", wire.Transcriptions, Result{
		Reported: true, Complete: true, Delivered: 19, Seconds: 27.5,
	}, `27.5}}`},
}

func (tr transcript) read(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", tr.file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (tr transcript) contentType() string {
	if strings.HasSuffix(tr.file, ".sse") {
		return "text/event-stream; charset=utf-8"
	}
	return "application/json"
}

// pieces is a body that returns the given pieces and then err.
type pieces struct {
	parts  [][]byte
	err    error
	closed int
}

func (p *pieces) Read(b []byte) (int, error) {
	for len(p.parts) > 0 && len(p.parts[0]) == 0 {
		p.parts = p.parts[1:]
	}
	if len(p.parts) == 0 {
		return 0, p.err
	}
	n := copy(b, p.parts[0])
	p.parts[0] = p.parts[0][n:]
	return n, nil
}

func (p *pieces) Close() error { p.closed++; return nil }

func inPieces(b []byte, cuts ...int) *pieces {
	p := &pieces{err: io.EOF}
	from := 0
	for _, cut := range append(cuts, len(b)) {
		p.parts = append(p.parts, bytes.Clone(b[from:cut]))
		from = cut
	}
	return p
}

func byteByByte(b []byte) *pieces {
	cuts := make([]int, len(b))
	for i := range cuts {
		cuts[i] = i
	}
	return inPieces(b, cuts...)
}

// reading is the result of reading a body through a meter.
type reading struct {
	out       []byte
	err       error
	result    Result
	first     int // bytes returned when First was called; -1: never called
	final     int // bytes returned when Final was called; -1: never called
	finalSaid Result
	calls     string
	header    http.Header
	editing   bool
}

type setup struct {
	config Config
	header http.Header
	status int
	length int64
}

func readMetered(s setup, body io.ReadCloser) reading {
	got := reading{first: -1, final: -1, header: s.header}
	var m *Meter
	s.config.First = func() { got.first = len(got.out); got.calls += "first " }
	s.config.Final = func() { got.final = len(got.out); got.calls += "final "; got.finalSaid = m.Result() }
	m = New(s.config)
	if s.status == 0 {
		s.status = 200
	}
	r := m.Wrap(s.header, s.status, s.length, body)
	got.editing = m.Editing()
	buf := make([]byte, 8<<10)
	for got.err == nil {
		var n int
		n, got.err = r.Read(buf)
		got.out = append(got.out, buf[:n]...)
	}
	r.Close()
	got.result = m.Result()
	return got
}

func (tr transcript) setup() setup {
	return setup{config: Config{Endpoint: tr.endpoint}, header: http.Header{"Content-Type": {tr.contentType()}}, length: -1}
}

// lineBreaks convert a stream to the line breaks that other servers use.
var lineBreaks = map[string]func([]byte) []byte{
	"lf":   func(b []byte) []byte { return b },
	"crlf": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n")) },
	"cr":   func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("\n"), []byte("\r")) },
}

func TestMeterReadsEveryTranscriptOverEverySplit(t *testing.T) {
	for _, tr := range transcripts {
		for name, breaks := range lineBreaks {
			t.Run(tr.file+"/"+name, func(t *testing.T) {
				body := breaks(tr.read(t))
				final := breaks([]byte(tr.final))
				want := tr.want
				want.Bytes = int64(len(body))
				last := len(body)
				if done := bytes.LastIndex(body, []byte(doneMark)); done >= 0 {
					last = done + len(doneMark) // the usage before it may not be the last
				} else if tr.final != "" {
					last = bytes.LastIndex(body, final) + len(final)
				}
				check := func(how string, got reading) {
					t.Helper()
					if got.err != io.EOF {
						t.Fatalf("%s: ended with %v", how, got.err)
					}
					if !bytes.Equal(got.out, body) {
						t.Fatalf("%s: the body was changed", how)
					}
					if got.result != want {
						t.Fatalf("%s:\n got %+v\nwant %+v", how, got.result, want)
					}
					if got.calls != "first final " {
						t.Fatalf("%s: hooks called: %q", how, got.calls)
					}
					if got.final >= last && tr.final != "" {
						t.Fatalf("%s: %d bytes were out at Final, the answer was whole with %d", how, got.final, last)
					}
					if said := got.finalSaid; said.Tokens != want.Tokens || said.CostUSD != want.CostUSD {
						t.Fatalf("%s: Final saw %+v", how, said)
					}
				}
				check("whole", readMetered(tr.setup(), inPieces(body)))
				check("byte by byte", readMetered(tr.setup(), byteByByte(body)))
				for cut := 1; cut < len(body); cut++ {
					check(fmt.Sprintf("cut at %d", cut), readMetered(tr.setup(), inPieces(body, cut)))
				}
			})
		}
	}
}

func TestMeterOnAnyChunking(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := rapid.SampledFrom(transcripts).Draw(rt, "transcript")
		breaks := lineBreaks[rapid.SampledFrom([]string{"lf", "crlf", "cr"}).Draw(rt, "breaks")]
		hide := rapid.Bool().Draw(rt, "hide")
		body := breaks(tr.read(t))
		s := tr.setup()
		s.config.HideUsage = hide
		whole := readMetered(s, inPieces(body))
		var cuts []int
		for at := 0; ; {
			at += rapid.IntRange(1, 300).Draw(rt, "piece")
			if at >= len(body) {
				break
			}
			cuts = append(cuts, at)
		}
		s = tr.setup()
		s.config.HideUsage = hide
		got := readMetered(s, inPieces(body, cuts...))
		if got.result != whole.result || !bytes.Equal(got.out, whole.out) {
			rt.Fatalf("in pieces %+v\nwhole %+v\n%q\n%q", got.result, whole.result, got.out, whole.out)
		}
		if !hide && !bytes.Equal(got.out, body) {
			rt.Fatal("the body was changed")
		}
	})
}

func TestMeterFirstIsTheFirstTextOfAStream(t *testing.T) {
	for file, before := range map[string]string{
		"chat_usage.sse":      `{"content":"Good`,
		"chat_openrouter.sse": `"reasoning":"So"`,
		"responses.sse":       `"delta":"Think"`,
		"messages.sse":        `"thinking":"Let me"`,
		"image.sse":           "iVBORw0KGgo=",
	} {
		for _, tr := range transcripts {
			if tr.file != file {
				continue
			}
			body := tr.read(t)
			from := bytes.Index(body, []byte(before))
			got := readMetered(tr.setup(), byteByByte(body))
			if got.first < from || got.first > from+120 {
				t.Errorf("%s: First after %d bytes, its text is at %d", file, got.first, from)
			}
		}
	}
}

func TestMeterDecodesGzipNobodyAskedFor(t *testing.T) {
	for _, tr := range transcripts {
		body := tr.read(t)
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		z.Write(body[:len(body)/2])
		z.Flush()
		z.Write(body[len(body)/2:])
		z.Close()
		s := tr.setup()
		s.header.Set("Content-Encoding", "gzip")
		s.header.Set("Content-Length", "1")
		s.length = int64(zipped.Len())
		got := readMetered(s, byteByByte(zipped.Bytes()))
		want := tr.want
		want.Bytes = int64(len(body))
		if got.err != io.EOF || !bytes.Equal(got.out, body) || got.result != want {
			t.Errorf("%s: %v\n got %+v\nwant %+v", tr.file, got.err, got.result, want)
		}
		if !got.editing || len(got.header) != 1 {
			t.Errorf("%s: editing %v, header %v", tr.file, got.editing, got.header)
		}
	}
}

func TestMeterCutShortAnywhere(t *testing.T) {
	// The part before the cut is counted, and nothing is reported that the
	// backend did not send.
	for _, tr := range transcripts {
		body := tr.read(t)
		for cut := range body {
			got := readMetered(tr.setup(), inPieces(body[:cut]))
			r := got.result
			if r.Delivered > tr.want.Delivered || r.Unreported > r.Delivered || r.Input > tr.want.Input || r.Output > tr.want.Output {
				t.Fatalf("%s cut at %d: %+v", tr.file, cut, r)
			}
			if got.err == io.ErrUnexpectedEOF && strings.HasSuffix(tr.file, ".json") && !r.Complete && r.Flagged {
				got.err = io.EOF // the caller must see that the JSON is cut
			}
			if !bytes.Equal(got.out, body[:cut]) || got.err != io.EOF {
				t.Fatalf("%s cut at %d: %v", tr.file, cut, got.err)
			}
		}
	}
}

var errCutOff = errors.New("connection reset")

func TestMeterEndsABrokenStreamInItsDialect(t *testing.T) {
	const event = `data: {"choices":[{"delta":{"content":"x"}}]}`
	for _, c := range []struct{ name, body, between string }{
		{"between events", event + "\n\n", ""},
		{"between events with CR", event + "\r\r", ""},
		{"in a line", event[:20], "\n\n"},
		{"behind a line", event + "\n", "\n"},
		{"behind a line with CR", event + "\r", "\n\n"},
		{"in a comment", event + "\n\n: pi", "\n"},
		{"behind a comment", event + "\n\n: ping\n", ""},
		{"in a name", "dat", "\n\n"},
		{"at once", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, endpoint := range []wire.Endpoint{wire.Chat, wire.Responses, wire.Messages} {
				e := wire.Errorf(wire.KindUpstream, "it broke")
				var asked error
				s := setup{header: http.Header{"Content-Type": {"text/event-stream"}}, length: -1}
				s.config = Config{Endpoint: endpoint, Fail: func(err error) *wire.Error { asked = err; return e }}
				body := inPieces([]byte(c.body))
				body.err = errCutOff
				got := readMetered(s, body)
				want := c.body + c.between + string(e.Event(endpoint, 0))
				if string(got.out) != want || got.err != io.EOF || asked != errCutOff {
					t.Errorf("%q, %v, asked %v\nwant %q", got.out, got.err, asked, want)
				}
				if got.result.Complete || got.final >= 0 {
					t.Errorf("a broken stream passed as whole: %+v", got.result)
				}
			}
		})
	}
}

// If a backend, or a proxy in front of it, closes the connection, part of a stream
// can look complete.
func TestMeterTellsAPartOfAStreamFromTheWhole(t *testing.T) {
	const chat = `data: {"choices":[{"delta":{"content":"a"}}]}` + "\n\n"
	const delta = "event: x\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n"
	for name, c := range map[string]struct {
		endpoint wire.Endpoint
		body     string
		torn     bool
	}{
		"cut in an event":           {wire.Chat, chat + chat[:20], true},
		"cut in the first event":    {wire.Chat, chat[:20], true},
		"cut in an event's line":    {wire.Chat, chat + "data: {\n", true},
		"without its end":           {wire.Chat, chat, false}, // some servers omit [DONE]
		"without its last break":    {wire.Chat, chat + "data: [DONE]", false},
		"whole":                     {wire.Chat, chat + "data: [DONE]\n\n", false},
		"a message without its end": {wire.Messages, "event: ping\ndata: {\"type\":\"ping\"}\n\n", true},
		"a whole message":           {wire.Messages, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", false},
		"a message that failed":     {wire.Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"x\"}}\n\n", false},
		"a failure, unfinished":     {wire.Messages, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"x\"}}\n", false},
		"a response without end":    {wire.Responses, delta, true},
		"a whole response":          {wire.Responses, delta + "data: {\"type\":\"response.completed\",\"response\":{}}\n\n", false},
	} {
		for _, hide := range []bool{false, true} {
			e := wire.Errorf(wire.KindUpstream, "it broke")
			var asked error
			s := setup{header: http.Header{"Content-Type": {"text/event-stream"}}, length: -1}
			s.config = Config{Endpoint: c.endpoint, HideUsage: hide, Fail: func(err error) *wire.Error { asked = err; return e }}
			got := readMetered(s, inPieces([]byte(c.body)))
			told := bytes.HasSuffix(got.out, e.Event(c.endpoint, 0))
			if told != c.torn || (asked == io.ErrUnexpectedEOF) != c.torn || (got.final < 0) != c.torn || got.err != io.EOF {
				t.Errorf("%s, hide %t: %q, asked %v, %v", name, hide, got.out, asked, got.err)
			}
		}
	}
	s := setup{header: http.Header{"Content-Type": {"text/event-stream"}}, length: 20}
	s.config = Config{Endpoint: wire.Chat, Fail: func(error) *wire.Error { panic("asked, though nothing more may come") }}
	readMetered(s, inPieces([]byte(chat[:20])))
}

func TestMeterCountsTheEventsOfResponses(t *testing.T) {
	s := setup{header: http.Header{"Content-Type": {"text/event-stream"}}, length: -1}
	e := wire.Errorf(wire.KindUpstreamTimeout, "")
	s.config = Config{Endpoint: wire.Responses, Fail: func(error) *wire.Error { return e }}
	body := inPieces([]byte("event: x\ndata: {\"type\":\"response.in_progress\",\"sequence_number\":41}\n\n"))
	body.err = errCutOff
	if got := readMetered(s, body); !bytes.Contains(got.out, []byte(`"sequence_number":42`)) {
		t.Errorf("%s", got.out)
	}
}

func TestMeterPassesAnErrorOn(t *testing.T) {
	for _, c := range []struct {
		name, contentType, body string
		fail                    func(error) *wire.Error
		want                    error
		complete                bool
	}{
		{"no answer to it", "text/event-stream", "data: {}\n\n", func(error) *wire.Error { return nil }, errCutOff, false},
		{"nobody to ask", "text/event-stream", "data: {}\n\n", nil, errCutOff, false},
		{"not a stream", "application/json", `{"a":`, func(error) *wire.Error { panic("asked") }, errCutOff, false},
		{"behind the end of a stream", "text/event-stream", "data: [DONE]\n\n", func(error) *wire.Error { panic("asked") }, io.EOF, true},
	} {
		s := setup{header: http.Header{"Content-Type": {c.contentType}}, length: -1}
		s.config = Config{Endpoint: wire.Chat, Fail: c.fail}
		body := inPieces([]byte(c.body))
		body.err = errCutOff
		got := readMetered(s, body)
		if got.err != c.want || string(got.out) != c.body || got.result.Complete != c.complete {
			t.Errorf("%s: %v, %q, %+v", c.name, got.err, got.out, got.result)
		}
	}
}

func TestMeterClosesOnce(t *testing.T) {
	for _, hide := range []bool{false, true} {
		body := inPieces([]byte("x"))
		m := New(Config{Endpoint: wire.Chat, HideUsage: hide, Final: func() { t.Error("Final though closed before the end") }})
		r := m.Wrap(http.Header{"Content-Type": {"text/event-stream"}}, 200, -1, body)
		r.Close()
		r.Close()
		if body.closed != 1 {
			t.Errorf("hide %v: closed %d times", hide, body.closed)
		}
	}
}

// Usage in a chunk without choices is final, unless it precedes all text: some
// servers report the usage of the prompt first.
func TestUsageBeforeAnyTextIsNotTheLastWord(t *testing.T) {
	const prompt = `data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":0}}` + "\n\n"
	const text = `data: {"choices":[{"delta":{"content":"hello"}}]}` + "\n\n"
	const usage = `data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}` + "\n\n"
	for _, hide := range []bool{false, true} {
		s := setup{config: Config{Endpoint: wire.Chat, HideUsage: hide}, header: http.Header{"Content-Type": {"text/event-stream"}}, length: -1}
		if got := readMetered(s, byteByByte([]byte(prompt+text+usage))); got.finalSaid.Output != 2 {
			t.Errorf("hide %v: Final saw %+v", hide, got.finalSaid)
		}
		// An answer without text is final at its end.
		if got := readMetered(s, byteByByte([]byte(prompt+"data: [DONE]\n\n"))); !got.finalSaid.Complete || got.finalSaid.Input != 5 {
			t.Errorf("hide %v: of nothing Final saw %+v", hide, got.finalSaid)
		}
	}
}
