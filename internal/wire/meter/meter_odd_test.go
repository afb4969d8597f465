package meter

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// meterJSON meters a JSON body, whole and byte by byte.
func meterJSON(t *testing.T, endpoint wire.Endpoint, body string) Result {
	t.Helper()
	s := setup{config: Config{Endpoint: endpoint}, header: http.Header{"Content-Type": {"application/json"}}, length: -1}
	whole := readMetered(s, inPieces([]byte(body)))
	bytewise := readMetered(s, byteByByte([]byte(body)))
	if whole.result != bytewise.result {
		t.Fatalf("%s: whole %+v, byte by byte %+v", body, whole.result, bytewise.result)
	}
	return whole.result
}

func TestUsageThatIsNoneIsNeverARefund(t *testing.T) {
	for _, c := range []struct {
		usage    string
		tokens   wire.Tokens
		reported bool
		flagged  bool
	}{
		{`{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`, wire.Tokens{}, true, false},
		{`{"prompt_tokens":5,"completion_tokens":-7}`, wire.Tokens{Input: 5}, false, true},
		{`{"prompt_tokens":-0,"completion_tokens":1}`, wire.Tokens{Output: 1}, true, false},
		{`{"prompt_tokens":5,"completion_tokens":1000000000000000000}`, wire.Tokens{Input: 5}, false, true},
		{`{"prompt_tokens":5,"completion_tokens":1e400}`, wire.Tokens{Input: 5}, false, true},
		{`{"prompt_tokens":5,"completion_tokens":99999999999999999999999999999999999999999999}`, wire.Tokens{Input: 5}, false, true},
		{`{"prompt_tokens":5,"completion_tokens":1099511627776}`, wire.Tokens{Input: 5, Output: 1 << 40}, true, false},
		{`{"prompt_tokens":5,"completion_tokens":1099511627777}`, wire.Tokens{Input: 5}, false, true},
		{`{"prompt_tokens":"5","completion_tokens":1}`, wire.Tokens{Output: 1}, false, true},
		{`{"prompt_tokens":[5],"completion_tokens":{"x":1}}`, wire.Tokens{}, false, true},
		{`{"prompt_tokens":true,"completion_tokens":1}`, wire.Tokens{Output: 1}, false, true},
		{`{"prompt_tokens":5,"completion_tokens":1.5}`, wire.Tokens{Input: 5, Output: 2}, true, true},
		{`{"prompt_tokens":5.0,"completion_tokens":1e2}`, wire.Tokens{Input: 5, Output: 100}, true, false},
		{`{"prompt_tokens":5,"completion_tokens":null}`, wire.Tokens{Input: 5}, false, false},
		{`{"prompt_tokens":5,"total_tokens":8}`, wire.Tokens{Input: 5, Output: 3}, true, false},
		{`{"prompt_tokens":5,"total_tokens":3}`, wire.Tokens{Input: 5}, true, false},
		{`{"prompt_tokens":5,"completion_tokens":2,"total_tokens":99}`, wire.Tokens{Input: 5, Output: 94}, true, false}, // Gemini's thoughts
		{`{"prompt_tokens":5,"completion_tokens":2,"total_tokens":6}`, wire.Tokens{Input: 5, Output: 2}, true, true},
		{`{"prompt_tokens":5,"completion_tokens":2,"total_tokens":10,"completion_tokens_details":{"reasoning_tokens":3}}`,
			wire.Tokens{Input: 5, Output: 5, Reasoning: 3}, true, false}, // xAI
		{`{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":9,"cache_write_tokens":9}}`,
			wire.Tokens{Input: 5, CacheRead: 5, Output: 2}, true, true},
		{`{"prompt_tokens":5,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":9}}`,
			wire.Tokens{Input: 5, Output: 2, Reasoning: 2}, true, true},
		{`{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":-9}}`, wire.Tokens{Input: 5, Output: 2}, true, true},
		{`{"prompt_tokens":5,"completion_tokens":2,"prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":1}`,
			wire.Tokens{Input: 5, CacheRead: 4, Output: 2}, true, false}, // DeepSeek
		{`{"prompt_tokens":5,"completion_tokens":2,"cost":-1}`, wire.Tokens{Input: 5, Output: 2}, true, true},
		{`{"prompt_tokens":5,"completion_tokens":2,"prompt_tokens":6}`, wire.Tokens{Input: 6, Output: 2}, true, false},
		{`{"prompt_tokens":5,"completion_tokens":2},"usage":null`, wire.Tokens{Input: 5, Output: 2}, true, false},
		{`{}`, wire.Tokens{}, false, false},
		{`null`, wire.Tokens{}, false, false},
		{`[]`, wire.Tokens{}, false, true},
		{`"many"`, wire.Tokens{}, false, true},
		{`17`, wire.Tokens{}, false, true},
	} {
		r := meterJSON(t, wire.Chat, `{"choices":[],"usage":`+c.usage+`}`)
		if r.Tokens != c.tokens || r.Reported != c.reported || r.Flagged != c.flagged {
			t.Errorf("%s:\n got %+v reported %v flagged %v\nwant %+v reported %v flagged %v",
				c.usage, r.Tokens, r.Reported, r.Flagged, c.tokens, c.reported, c.flagged)
		}
	}
}

func TestMeterTellsWhatHasAPriceOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		name     string
		endpoint wire.Endpoint
		body     string
		parts    wire.Parts
		tier     wire.ServiceTier
		flagged  bool
	}{
		{"sound in a chat", wire.Chat, `{"service_tier":"priority","usage":{"prompt_tokens":50,"completion_tokens":40,"prompt_tokens_details":{"audio_tokens":30,"image_tokens":5},` +
			`"completion_tokens_details":{"audio_tokens":20,"image_tokens":3}}}`,
			wire.Parts{AudioInput: 30, ImageInput: 5, AudioOutput: 20, ImageOutput: 3}, wire.TierPriority, false},
		{"a response", wire.Responses, `{"usage":{"input_tokens":5,"output_tokens":4},"service_tier":"flex","text":"x"}`, wire.Parts{}, wire.TierFlex, false},
		{"a cache for an hour", wire.Messages, `{"type":"message","usage":{"input_tokens":1,"cache_creation_input_tokens":9,"cache_creation":{"ephemeral_5m_input_tokens":2,"ephemeral_1h_input_tokens":7},` +
			`"output_tokens":1,"service_tier":"batch"}}`, wire.Parts{HourWrite: 7}, wire.TierBatch, false},
		{"the fast mode", wire.Messages, `{"usage":{"input_tokens":1,"output_tokens":1,"service_tier":"standard","speed":"fast"}}`, wire.Parts{}, wire.TierOther, false},
		{"no fast mode", wire.Messages, `{"usage":{"input_tokens":1,"output_tokens":1,"service_tier":"standard","speed":"standard"}}`, wire.Parts{}, wire.TierStandard, false},
		{"a transcription", wire.Transcriptions, `{"text":"x","usage":{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":4,"audio_tokens":10},"output_tokens":3}}`,
			wire.Parts{AudioInput: 10}, wire.TierUnsaid, false},
		{"a transcription that does not say", wire.Transcriptions, `{"text":"x","usage":{"input_tokens":14,"output_tokens":3}}`, wire.Parts{AudioInput: 14}, wire.TierUnsaid, false},
		{"a picture that does not say", wire.ImageEdits, `{"usage":{"input_tokens":14,"output_tokens":3}}`, wire.Parts{ImageOutput: 3}, wire.TierUnsaid, false},
		{"speech", wire.Speech, `{"usage":{"input_tokens":14,"output_tokens":3}}`, wire.Parts{AudioOutput: 3}, wire.TierUnsaid, false},
		{"more than there is", wire.Chat, `{"usage":{"prompt_tokens":5,"completion_tokens":4,"prompt_tokens_details":{"audio_tokens":4,"image_tokens":4},"completion_tokens_details":{"audio_tokens":9}}}`,
			wire.Parts{AudioInput: 4, ImageInput: 1, AudioOutput: 4}, wire.TierUnsaid, true},
		{"words of no meaning", wire.Chat, `{"service_tier":"warp","usage":{"prompt_tokens":5,"completion_tokens":4}}`, wire.Parts{}, wire.TierOther, false},
		{"nothing", wire.Chat, `{"service_tier":null,"usage":{"prompt_tokens":5,"completion_tokens":4}}`, wire.Parts{}, wire.TierUnsaid, false},
		{"an account's choice", wire.Chat, `{"service_tier":"auto","usage":{"prompt_tokens":5,"completion_tokens":4}}`, wire.Parts{}, wire.TierUnsaid, false},
		{"no word", wire.Chat, `{"service_tier":{"a":"priority"},"usage":{"prompt_tokens":5,"completion_tokens":4}}`, wire.Parts{}, wire.TierUnsaid, false},
	} {
		r := meterJSON(t, c.endpoint, c.body)
		if r.Parts != c.parts || r.Tier != c.tier || r.Flagged != c.flagged {
			t.Errorf("%s: %+v, tier %d, flagged %t; want %+v, %d, %t", c.name, r.Parts, r.Tier, r.Flagged, c.parts, c.tier, c.flagged)
		}
	}
}

// A response reports the requested tier at its start, and the actual tier at its
// end.
func TestMeterTakesTheLastServiceTier(t *testing.T) {
	m := New(Config{Endpoint: wire.Responses})
	body := `data: {"type":"response.created","response":{"id":"r","service_tier":"priority"}}` + "\n\n" +
		`data: {"type":"response.completed","response":{"id":"r","service_tier":"default","usage":{"input_tokens":1,"output_tokens":1}}}` + "\n\n"
	h := http.Header{"Content-Type": {"text/event-stream"}}
	if _, err := io.ReadAll(m.Wrap(h, 200, -1, io.NopCloser(strings.NewReader(body)))); err != nil {
		t.Fatal(err)
	}
	if got := m.Result().Tier; got != wire.TierStandard {
		t.Errorf("tier %d", got)
	}
}

func TestUsageByEndpoint(t *testing.T) {
	for _, c := range []struct {
		endpoint wire.Endpoint
		body     string
		want     wire.Tokens
		reported bool
	}{
		{wire.CountTokens, `{"input_tokens":2095}`, wire.Tokens{Input: 2095}, true},
		{wire.Embeddings, `{"usage":{"prompt_tokens":8,"total_tokens":8}}`, wire.Tokens{Input: 8}, true},
		{wire.Rerank, `{"results":[],"usage":{"total_tokens":77}}`, wire.Tokens{Input: 77}, true},
		{wire.Moderations, `{"id":"m","results":[]}`, wire.Tokens{}, false},
		{wire.ImageGenerations, `{"data":[{"b64_json":"x"}],"usage":{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}}`,
			wire.Tokens{Input: 50, Output: 50}, true},
		{wire.Chat, `{"usage":{"total_tokens":77}}`, wire.Tokens{}, false},
		// Cache tokens are added to the input only for Anthropic's input_tokens.
		// With prompt_tokens, as LiteLLM sends them, they are parts of it.
		{wire.Messages, `{"usage":{"input_tokens":1,"cache_read_input_tokens":10,"cache_creation_input_tokens":null,"output_tokens":2}}`,
			wire.Tokens{Input: 11, CacheRead: 10, Output: 2}, true},
		{wire.Chat, `{"usage":{"prompt_tokens":11,"cache_read_input_tokens":10,"completion_tokens":2}}`, wire.Tokens{Input: 11, CacheRead: 10, Output: 2}, true},
		{wire.Messages, `{"usage":{"output_tokens":2}}`, wire.Tokens{Output: 2}, false},
	} {
		r := meterJSON(t, c.endpoint, c.body)
		if r.Tokens != c.want || r.Reported != c.reported || r.Flagged {
			t.Errorf("%s %s: %+v reported %v flagged %v", c.endpoint, c.body, r.Tokens, r.Reported, r.Flagged)
		}
	}
}

func TestWhatLooksLikeUsageIsNone(t *testing.T) {
	const fake = `{"prompt_tokens":9,"completion_tokens":9,"input_tokens":9,"output_tokens":9,"total_tokens":18}`
	quoted := strings.ReplaceAll(fake, `"`, `\"`)
	for _, body := range []string{
		`{"choices":[{"message":{"content":"{\"usage\":` + quoted + `}"}}]}`,
		`{"choices":[{"message":{"content":"\\\",\"usage\":` + quoted + `,\""}}]}`,
		`{"choices":[{"message":{"usage":` + fake + `,"tool_calls":[{"function":{"arguments":{"usage":` + fake + `}}}]}}]}`,
		`{"metadata":{"usage":` + fake + `}}`,
		`{"metadata":[[[[[[[[[[{"usage":` + fake + `}]]]]]]]]]]}`,
		`{"output":[{"content":[{"text":"x","usage":` + fake + `}]}]}`,
		`{"Usage":` + fake + `}`,
		`{"usage ":` + fake + `}`,
		`{"usage\u0000":` + fake + `}`,
		`[{"usage":` + fake + `}]`,
		`{"a":"\\"} {"usage":` + fake + `}`,
	} {
		if r := meterJSON(t, wire.Chat, body); r.Tokens != (wire.Tokens{}) || r.Reported {
			t.Errorf("%s: %+v", body, r)
		}
	}
	s := setup{config: Config{Endpoint: wire.Chat}, header: http.Header{"Content-Type": {"text/event-stream"}}, length: -1}
	for _, stream := range []string{
		": {\"usage\":" + fake + "}\n\n",
		": x\ndata : {\"usage\":" + fake + "}\n\n",
		"xdata: {\"usage\":" + fake + "}\n\n",
		"event: {\"usage\":" + fake + "}\n\n",
		" data: {\"usage\":" + fake + "}\n\n",
		"data: x {\"usage\":" + fake + "}\n\n",
	} {
		if r := readMetered(s, byteByByte([]byte(stream))).result; r.Tokens != (wire.Tokens{}) || r.Reported {
			t.Errorf("%q: %+v", stream, r)
		}
	}
}

func TestMeterFlagsWhatIsNotWhatItSays(t *testing.T) {
	for _, c := range []struct {
		name, contentType, encoding, body string
		endpoint                          wire.Endpoint
		status                            int
		flagged, complete                 bool
	}{
		{"HTML as an answer", "text/html", "", "<html>usage\"</html>", wire.Chat, 200, true, true},
		{"HTML as JSON", "application/json", "", "<html></html>", wire.Chat, 200, true, false},
		{"JSON cut short", "application/json", "", `{"usage":{"prompt_tokens":1`, wire.Chat, 200, true, false},
		{"nothing as JSON", "application/json", "", "", wire.Chat, 200, true, false},
		{"text as an event", "text/event-stream", "", "data: <html>\n\ndata: [DONE]\n\n", wire.Chat, 200, true, true},
		{"an event cut short", "text/event-stream", "", "data: {\"a\":\n\n", wire.Chat, 200, true, false},
		{"zstd", "application/json", "zstd", "\x28\xb5\x2f\xfd", wire.Chat, 200, true, true},
		{"two encodings", "application/json", "gzip, gzip", "\x1f\x8b", wire.Chat, 200, true, true},
		{"an error in plain text", "text/plain", "", "no", wire.Chat, 502, false, true},
		{"sound", "audio/mpeg", "", "ID3", wire.Speech, 200, false, true},
		{"subtitles", "text/plain; charset=utf-8", "", "1\n00:00", wire.Transcriptions, 200, false, true},
		{"nothing where nothing belongs", "application/json", "", "", wire.Chat, 204, false, true},
	} {
		s := setup{config: Config{Endpoint: c.endpoint}, header: http.Header{"Content-Type": {c.contentType}}, length: -1, status: c.status}
		if c.encoding != "" {
			s.header.Set("Content-Encoding", c.encoding)
		}
		if c.body == "" && c.status == 204 {
			s.length = 0
		}
		got := readMetered(s, byteByByte([]byte(c.body)))
		if r := got.result; r.Flagged != c.flagged || r.Complete != c.complete || r.Reported || string(got.out) != c.body {
			t.Errorf("%s: %+v, %q", c.name, r, got.out)
		}
	}
}

func TestMeterReadsAnAnswerUnderAWrongName(t *testing.T) {
	for _, tr := range transcripts[:10] {
		body := tr.read(t)
		for _, contentType := range []string{"", "text/plain", "application/octet-stream"} {
			s := tr.setup()
			s.header = http.Header{"Content-Type": {contentType}}
			want := tr.want
			want.Bytes = int64(len(body))
			if got := readMetered(s, byteByByte(body)); got.result != want || !bytes.Equal(got.out, body) {
				t.Errorf("%s as %q:\n got %+v\nwant %+v", tr.file, contentType, got.result, want)
			}
		}
	}
}

func TestMeterFinalAtFullLength(t *testing.T) {
	for contentType, complete := range map[string]bool{"audio/mpeg": true, "application/json": true, "text/event-stream": false} {
		body := []byte("sound, not JSON")
		m := (*Meter)(nil)
		out, at := 0, -1
		m = New(Config{Endpoint: wire.Speech, Final: func() { at = out }})
		r := m.Wrap(http.Header{"Content-Type": {contentType}}, 200, int64(len(body)), byteByByte(body))
		for {
			n, err := r.Read(make([]byte, 100))
			if out += n; err != nil {
				break
			}
		}
		if res := m.Result(); at != len(body)-1 || res.Complete != complete {
			t.Errorf("%s: Final with %d bytes out, %+v", contentType, at, res)
		}
	}
}

func TestMeterTellsErrorsOfABackend(t *testing.T) {
	for _, c := range []struct {
		contentType, body string
		status            int
		want              bool
	}{
		{"application/json", `{"error":{"message":"x"}}`, 200, true},
		{"application/json", `{"error":"x"}`, 200, true},
		{"application/json", `{"error":null}`, 200, false},
		{"application/json", `{"error":{"message":"x"}}`, 429, false},
		{"text/event-stream", "event: error\ndata: {}\n\n", 200, true},
		{"text/event-stream", "data: {\"type\":\"error\",\"code\":null,\"message\":\"x\",\"sequence_number\":3}\n\n", 200, true},
		{"text/event-stream", "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"x\"}}}\n\n", 200, true},
		{"text/event-stream", "event: errors\ndata: {\"error\":null}\n\n", 200, false},
	} {
		s := setup{config: Config{Endpoint: wire.Chat}, header: http.Header{"Content-Type": {c.contentType}}, length: -1, status: c.status}
		if r := readMetered(s, byteByByte([]byte(c.body))).result; r.StreamError != c.want {
			t.Errorf("%s: %+v", c.body, r)
		}
	}
}

func TestMeterDoesNotCountSoundAsText(t *testing.T) {
	s := setup{config: Config{Endpoint: wire.Responses}, header: http.Header{"Content-Type": {"text/event-stream"}}, length: -1}
	for _, event := range []string{
		`{"type":"response.audio.delta","delta":"UklGRgAA"}`, `{"delta":"UklGRgAA","type":"response.audio.delta"}`,
	} {
		r := readMetered(s, inPieces([]byte("data: "+event+"\n\n"))).result
		if r.Delivered != 0 || r.Unreported != 0 {
			t.Errorf("%s: %+v", event, r)
		}
	}
}

func TestAbortedStreamKnowsWhatUsageDoesNotCover(t *testing.T) {
	const delta = `data: {"choices":[{"delta":{"content":"12345"}}]%s}` + "\n\n"
	plain := strings.Replace(delta, "%s", "", 1)
	counted := strings.Replace(delta, "%s", `,"usage":{"prompt_tokens":3,"completion_tokens":1}`, 1)
	s := setup{config: Config{Endpoint: wire.Chat}, header: http.Header{"Content-Type": {"text/event-stream"}}, length: -1}
	for stream, want := range map[string][2]int64{
		plain + plain:           {10, 10},
		plain + counted:         {10, 0},
		plain + counted + plain: {15, 5},
		counted + plain[:strings.Index(plain, "5")]: {9, 4},
	} {
		r := readMetered(s, inPieces([]byte(stream))).result
		if r.Delivered != want[0] || r.Unreported != want[1] {
			t.Errorf("%q: delivered %d, unreported %d", stream, r.Delivered, r.Unreported)
		}
	}
}

func TestMeterResultWhileReading(t *testing.T) {
	_, r := streamOf(chatDeltaUsage, true)
	m := r.(*hidingBody).m
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			m.Result()
		}
	}()
	buf := make([]byte, 4096)
	for range 1000 {
		r.Read(buf)
	}
	<-done
	r.Close()
}

// FuzzMeter checks that a meter that reads any bytes, cut anywhere, never panics,
// passes them unchanged unless it edits them, and arrives at the same totals.
func FuzzMeter(f *testing.F) {
	for _, tr := range transcripts {
		b := tr.read(f)
		f.Add(b, uint16(len(b)/2), uint8(tr.endpoint), strings.HasSuffix(tr.file, ".sse"), false)
		f.Add(b, uint16(1), uint8(tr.endpoint), strings.HasSuffix(tr.file, ".sse"), true)
	}
	f.Add([]byte("\xEF\xBB\xBFdata: [DONE]\r\rdata:[D\n\n:\n\r"), uint16(7), uint8(wire.Chat), true, true)
	f.Add([]byte(`{"a":[{"b":"\u12`), uint16(9), uint8(wire.Messages), false, false)
	f.Fuzz(func(t *testing.T, body []byte, cut uint16, endpoint uint8, stream, hide bool) {
		at := min(int(cut), len(body))
		contentType := "application/json"
		if stream {
			contentType = "text/event-stream"
		}
		read := func(p *pieces) reading {
			return readMetered(setup{
				config: Config{Endpoint: wire.Endpoint(endpoint), HideUsage: hide},
				header: http.Header{"Content-Type": {contentType}}, length: -1,
			}, p)
		}
		whole, cutInTwo, bytewise := read(inPieces(body)), read(inPieces(body, at)), read(byteByByte(body))
		if whole.result != cutInTwo.result || whole.result != bytewise.result {
			t.Fatalf("whole %+v\ncut at %d %+v\nbyte by byte %+v", whole.result, at, cutInTwo.result, bytewise.result)
		}
		if !bytes.Equal(whole.out, cutInTwo.out) || !bytes.Equal(whole.out, bytewise.out) {
			t.Fatalf("whole %q\ncut at %d %q\nbyte by byte %q", whole.out, at, cutInTwo.out, bytewise.out)
		}
		if !(stream && hide) && !bytes.Equal(whole.out, body) {
			t.Fatalf("%q was changed to %q", body, whole.out)
		}
		r := whole.result
		for _, n := range []int64{r.Input, r.Output - r.Reasoning, r.Reasoning, r.CacheRead, r.CacheWrite, r.Input - r.CacheRead - r.CacheWrite, r.Unreported, r.Delivered - r.Unreported} {
			if n < 0 || n > 4*maxCount {
				t.Fatalf("%+v", r)
			}
		}
	})
}
