package meter

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// hidden returns the expected output for a transcript if the caller did not
// request usage. It is a simple reference implementation.
func hidden(body string) string {
	var kept []string
	for event := range strings.SplitAfterSeq(body, "\n\n") {
		if regexp.MustCompile(`"choices":\[(\ndata: )?\],.*"usage":\{`).MatchString(event) {
			continue
		}
		event = regexp.MustCompile(`,(\ndata: |\n: .*\ndata: )?"usage" ?:\s*(data: )?null`).ReplaceAllString(event, "")
		event = regexp.MustCompile(`"usage":null,`).ReplaceAllString(event, "")
		if i := strings.Index(event, `],"usage":{`); i >= 0 {
			event = event[:i+1] + "}\n\n"
		}
		kept = append(kept, event)
	}
	return strings.Join(kept, "")
}

func TestMeterHidesUsageTheCallerDidNotAskFor(t *testing.T) {
	for _, tr := range transcripts {
		if tr.endpoint != wire.Chat && tr.endpoint != wire.Completions || !strings.HasSuffix(tr.file, ".sse") {
			continue
		}
		for name, breaks := range lineBreaks {
			t.Run(tr.file+"/"+name, func(t *testing.T) {
				body := breaks(tr.read(t))
				visible := breaks([]byte(hidden(string(tr.read(t)))))
				want := tr.want
				want.Bytes = int64(len(body))
				check := func(how any, got reading) {
					t.Helper()
					if got.err != io.EOF || !bytes.Equal(got.out, visible) {
						t.Fatalf("%v: %v\n got %q\nwant %q", how, got.err, got.out, visible)
					}
					if got.result != want || got.calls != "first final " || !got.editing {
						t.Fatalf("%v: %s\n got %+v\nwant %+v", how, got.calls, got.result, want)
					}
				}
				s := tr.setup()
				s.config.HideUsage = true
				check("whole", readMetered(s, inPieces(body)))
				check("byte by byte", readMetered(s, byteByByte(body)))
				for cut := 1; cut < len(body); cut++ {
					check(cut, readMetered(s, inPieces(body, cut)))
				}
			})
		}
	}
}

func hideSetup() setup {
	return setup{
		config: Config{Endpoint: wire.Chat, HideUsage: true},
		header: http.Header{"Content-Type": {"text/event-stream"}, "Content-Length": {"7"}},
		length: -1,
	}
}

func TestHidingCutsTheMemberWithItsComma(t *testing.T) {
	for in, want := range map[string]string{
		`{"usage":null}`:                                `{}`,
		`{"usage":null,"a":1}`:                          `{"a":1}`,
		`{"usage" : null , "a":1}`:                      `{ "a":1}`,
		`{"a":1,"usage":null}`:                          `{"a":1}`,
		`{"a":1 , "usage" : null }`:                     `{"a":1  }`,
		`{"a":[1,2],"usage":null,"b":2}`:                `{"a":[1,2],"b":2}`,
		`{"a":"x,\"usage\":null,y"}`:                    `{"a":"x,\"usage\":null,y"}`,
		`{"a":{"usage":null}}`:                          `{"a":{"usage":null}}`,
		`{"choices":[{"usage":null}],"usage":null}`:     `{"choices":[{"usage":null}]}`,
		`{"choices":[{}],"usage":{"prompt_tokens":1}}`:  `{"choices":[{}]}`,
		`{"usage":{"prompt_tokens":1},"choices":[]}`:    ``,
		`{"choices":[],"usage":null,"prompt_filter":1}`: `{"choices":[],"prompt_filter":1}`,
		`{"us\u0061ge":null,"a":1}`:                     `{"a":1}`,
		`{"usage":7,"a":1}`:                             `{"a":1}`,
		`not json, "usage":null`:                        `not json, "usage":null`,
	} {
		visible := "data: " + want + "\n\n"
		if want == "" {
			visible = ""
		}
		for how, body := range map[string]*pieces{
			"whole":        inPieces([]byte("data: " + in + "\n\n: ping\n")),
			"byte by byte": byteByByte([]byte("data: " + in + "\n\n: ping\n")),
		} {
			got := readMetered(hideSetup(), body)
			if string(got.out) != visible+": ping\n" {
				t.Errorf("%s, %s:\n got %q\nwant %q", in, how, got.out, visible)
			}
			if got.header.Get("Content-Length") != "" {
				t.Error("Content-Length was kept")
			}
		}
	}
}

func TestHidingHoldsOnlyWhatIsCutInTwo(t *testing.T) {
	// Each event must be returned before the next one is read.
	events := []string{
		"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n",
		": ping\n",
		"data: {\"choices\":[{\"delta\":{\"content\":\"b\"}}]}\n\n",
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n",
		"data: [DONE]\n\n",
	}
	body := &pieces{err: io.EOF}
	for _, e := range events {
		body.parts = append(body.parts, []byte(e[:3]), []byte(e[3:]))
	}
	m := New(hideSetup().config)
	r := m.Wrap(hideSetup().header, 200, -1, body)
	buf := make([]byte, 4096)
	for i, e := range events {
		if i == 3 {
			continue // removed: no output is expected
		}
		n, err := r.Read(buf)
		if string(buf[:n]) != e || err != nil {
			t.Fatalf("event %d: %q, %v", i, buf[:n], err)
		}
	}
}

func TestHidingPassesWhatIsTooLongToHold(t *testing.T) {
	long := `data: {"choices":[{"delta":{"content":"` + strings.Repeat("x", 2<<20) + `"}}],"usage":{"prompt_tokens":3,"completion_tokens":4}}` + "\n\n"
	rest := "data: [DONE]\n\n"
	body := []byte(long + `data: {"choices":[{}],"usage":null}` + "\n\n" + rest)
	want := long + `data: {"choices":[{}]}` + "\n\n" + rest
	for name, p := range map[string]*pieces{
		"whole": inPieces(body), "in two": inPieces(body, 70<<10), "byte by byte": byteByByte(body),
	} {
		s := hideSetup()
		m := New(s.config)
		r := m.Wrap(s.header, 200, -1, p)
		out, err := io.ReadAll(r)
		if err != nil || string(out) != want {
			t.Errorf("%s: %v, %d bytes, want %d", name, err, len(out), len(want))
		}
		if res := m.Result(); res.Input != 3 || res.Output != 4 || res.Delivered != 2<<20 || !res.Complete {
			t.Errorf("%s: %+v", name, res)
		}
		if held := cap(r.(*hidingBody).held) + cap(r.(*hidingBody).spare); held > 300<<10 {
			t.Errorf("%s: holds %d bytes", name, held)
		}
	}
}

func TestHidingIntoASmallBuffer(t *testing.T) {
	for _, tr := range transcripts[:4] {
		body := tr.read(t)
		s := hideSetup()
		m := New(s.config)
		r := m.Wrap(s.header, 200, -1, inPieces(body, len(body)/3))
		var out []byte
		buf := make([]byte, 7)
		for {
			n, err := r.Read(buf)
			out = append(out, buf[:n]...)
			if err != nil {
				break
			}
		}
		if want := hidden(string(body)); string(out) != want {
			t.Errorf("%s:\n got %q\nwant %q", tr.file, out, want)
		}
	}
}

func TestHidingABrokenStreamShowsNoHalfEvent(t *testing.T) {
	e := wire.Errorf(wire.KindUpstream, "")
	s := hideSetup()
	s.config.Fail = func(error) *wire.Error { return e }
	body := inPieces([]byte("data: {\"choices\":[{}]}\n\ndata: {\"choices\":[{\"del"))
	body.err = errCutOff
	got := readMetered(s, body)
	want := "data: {\"choices\":[{}]}\n\n" + string(e.Event(wire.Chat, 0))
	if string(got.out) != want || got.err != io.EOF {
		t.Errorf("%q, %v\nwant %q", got.out, got.err, want)
	}
}
