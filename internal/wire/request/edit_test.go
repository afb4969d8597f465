package request

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestEditChangesNothingElse(t *testing.T) {
	leave := Edit{Cap: -1}
	usage := Edit{Cap: -1, IncludeUsage: true}
	for _, c := range []struct {
		name, body string
		edit       Edit
		want       string
	}{
		{"nothing", ` { "model" : "m" , "x":1e2 } `, leave, ` { "model" : "m" , "x":1e2 } `},
		{"the zero edit", `{"model":"m","max_tokens":5}`, Edit{}, `{"model":"m","max_tokens":5}`},
		{"the same model", `{"model":"\u006d"}`, Edit{Model: "m"}, `{"model":"\u006d"}`},
		{"rename", `{"x":{"model":"m"}, "model" : "m" ,"y":1}`, Edit{Model: "a\"/\\b"}, `{"x":{"model":"m"}, "model" : "a\"/\\b" ,"y":1}`},
		{"rename an escaped name", `{"\u006dodel":"m"}`, Edit{Model: "x"}, `{"\u006dodel":"x"}`},
		{"cap put in", `{ "model":"m"}`, Edit{Cap: 7, CapName: "max_tokens"}, `{"max_tokens":7, "model":"m"}`},
		{"cap without a name", `{"model":"m"}`, Edit{Cap: 7}, `{"model":"m"}`},
		{"cap lowered", `{"model":"m","max_tokens":8}`, Edit{Cap: 7, CapName: "max_completion_tokens"}, `{"model":"m","max_tokens":7}`},
		{"cap kept", `{"model":"m","max_tokens":6}`, Edit{Cap: 7, CapName: "max_completion_tokens"}, `{"model":"m","max_tokens":6}`},
		{"every cap above it lowered", `{"max_tokens":8,"model":"m","max_completion_tokens":1,"max_output_tokens":900}`, Edit{Cap: 7, CapName: "x"}, `{"max_tokens":7,"model":"m","max_completion_tokens":1,"max_output_tokens":7}`},
		{"null cap of the name replaced", `{"model":"m","max_tokens":null}`, Edit{Cap: 7, CapName: "max_tokens"}, `{"model":"m","max_tokens":7}`},
		{"null cap of another name kept", `{"model":"m","max_tokens":null}`, Edit{Cap: 7, CapName: "max_output_tokens"}, `{"max_output_tokens":7,"model":"m","max_tokens":null}`},
		{"usage put in", `{"model":"m"}`, usage, `{"stream_options":{"include_usage":true},"model":"m"}`},
		{"usage put into null", `{"model":"m","stream_options":null}`, usage, `{"model":"m","stream_options":{"include_usage":true}}`},
		{"usage put into an empty object", `{"model":"m","stream_options":{ }}`, usage, `{"model":"m","stream_options":{"include_usage":true }}`},
		{"usage put beside", `{"model":"m","stream_options":{"x":1}}`, usage, `{"model":"m","stream_options":{"include_usage":true,"x":1}}`},
		{"usage overwritten", `{"model":"m","stream_options":{"include_usage" : false}}`, usage, `{"model":"m","stream_options":{"include_usage" : true}}`},
		{"usage null", `{"model":"m","stream_options":{"include_usage":null}}`, usage, `{"model":"m","stream_options":{"include_usage":true}}`},
		{"usage there", `{"model":"m","stream_options":{"include_usage":true}}`, usage, `{"model":"m","stream_options":{"include_usage":true}}`},
		{"continuous usage", `{"model":"m","stream_options":{"include_usage":false}}`, Edit{IncludeUsage: true, ContinuousUsage: true}, `{"model":"m","stream_options":{"continuous_usage_stats":true,"include_usage":true}}`},
		{"continuous usage alone", `{"model":"m"}`, Edit{ContinuousUsage: true}, `{"stream_options":{"continuous_usage_stats":true},"model":"m"}`},
		{"everything", `{"model":"m","max_tokens":null}`, Edit{Model: "x", Cap: 1, CapName: "max_completion_tokens", IncludeUsage: true}, `{"max_completion_tokens":1,"stream_options":{"include_usage":true},"model":"x","max_tokens":null}`},
		{"a model put in", `{"input":"a"}`, Edit{Model: "x"}, `{"model":"x","input":"a"}`},
		{"a model put into an empty body", `{}`, Edit{Model: "x"}, `{"model":"x"}`},
		{"a null model", `{"model":null}`, Edit{Model: "x"}, `{"model":"x"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Scan(wire.Moderations, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			body := r.Edit([]byte(c.body), c.edit)
			if got := string(body.Bytes()); got != c.want || body.Len() != int64(len(c.want)) {
				t.Errorf("\n got %s (%d bytes)\nwant %s", got, body.Len(), c.want)
			}
		})
	}
}

func TestCapsByAnyNameAreHeld(t *testing.T) {
	chat := Edit{Cap: 16, CapName: "max_tokens"}
	for _, c := range []struct {
		name     string
		endpoint wire.Endpoint
		body     string
		edit     Edit
		want     string
	}{
		{"llama.cpp's beside the usual one", wire.Chat, `{"model":"m","max_tokens":10,"n_predict":150}`, chat, `{"model":"m","max_tokens":10,"n_predict":16}`},
		{"no cap", wire.Chat, `{"model":"m","max_tokens":-1}`, chat, `{"model":"m","max_tokens":16}`},
		{"llama.cpp's word for no cap", wire.Chat, `{"model":"m","n_predict":-1,"max_tokens":7}`, chat, `{"model":"m","n_predict":16,"max_tokens":7}`},
		{"no tokens stay none", wire.Messages, `{"model":"m","max_tokens":0}`, chat, `{"model":"m","max_tokens":0}`},
		{"a name that few servers read holds nothing", wire.Chat, `{"model":"m","n_predict":150}`, chat, `{"max_tokens":16,"model":"m","n_predict":16}`},
		{"a name of another API holds nothing", wire.Responses, `{"model":"m","max_tokens":5}`, Edit{Cap: 16, CapName: "max_output_tokens"}, `{"max_output_tokens":16,"model":"m","max_tokens":5}`},
		{"max_completion_tokens holds a chat", wire.Chat, `{"model":"m","max_completion_tokens":5}`, chat, `{"model":"m","max_completion_tokens":5}`},
		{"max_completion_tokens does not hold a completion", wire.Completions, `{"model":"m","max_completion_tokens":5}`, chat, `{"max_tokens":16,"model":"m","max_completion_tokens":5}`},
		{"options", wire.Chat, `{"model":"m","options":{"num_predict":99,"x":1},"max_tokens":null}`, chat, `{"model":"m","options":{"num_predict":16,"x":1},"max_tokens":16}`},
		{"a budget above the cap keeps its share", wire.Messages, `{"model":"m","max_tokens":16000,"thinking":{"type":"enabled","budget_tokens":10000}}`, Edit{Cap: 8000, CapName: "max_tokens"}, `{"model":"m","max_tokens":8000,"thinking":{"type":"enabled","budget_tokens":5000}}`},
		{"a budget equal to the cap", wire.Messages, `{"thinking":{"budget_tokens":8000,"type":"enabled"},"model":"m","max_tokens":16000}`, Edit{Cap: 8000, CapName: "max_tokens"}, `{"thinking":{"budget_tokens":4000,"type":"enabled"},"model":"m","max_tokens":8000}`},
		{"a budget below the cap", wire.Messages, `{"model":"m","max_tokens":16000,"thinking":{"budget_tokens":2000}}`, Edit{Cap: 8000, CapName: "max_tokens"}, `{"model":"m","max_tokens":8000,"thinking":{"budget_tokens":2000}}`},
		{"the least budget", wire.Messages, `{"model":"m","max_tokens":16000,"thinking":{"budget_tokens":10000}}`, Edit{Cap: 1100, CapName: "max_tokens"}, `{"model":"m","max_tokens":1100,"thinking":{"budget_tokens":1024}}`},
		{"a budget without a cap", wire.Messages, `{"model":"m","thinking":{"budget_tokens":10000}}`, Edit{Cap: 8000, CapName: "max_tokens"}, `{"max_tokens":8000,"model":"m","thinking":{"budget_tokens":4000}}`},
		{"no edit", wire.Chat, `{"model":"m","n_predict":150,"max_tokens":-1}`, Edit{Cap: -1, CapName: "max_tokens"}, `{"model":"m","n_predict":150,"max_tokens":-1}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := Scan(c.endpoint, []byte(c.body))
			if err != nil {
				t.Fatal(err)
			}
			edited := r.Edit([]byte(c.body), c.edit)
			if got := string(edited.Bytes()); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestEditGivesTheSameDocumentButForTheEdits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := drawBody(t)
		e := Edit{
			Model:           rapid.SampledFrom([]string{"", "m", "org/model:tag", "\"\\é"}).Draw(t, "model"),
			Cap:             rapid.Int64Range(-1, 100).Draw(t, "cap"),
			CapName:         rapid.SampledFrom([]string{"", "max_tokens", "max_completion_tokens", "max_output_tokens"}).Draw(t, "cap name"),
			IncludeUsage:    rapid.Bool().Draw(t, "include usage"),
			ContinuousUsage: rapid.Bool().Draw(t, "continuous usage"),
		}
		r, err := Scan(wire.Moderations, body)
		if err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		checkEdit(t, r, body, e)
	})
}

// drawBody returns a body with any of the members that Edit may change, in any
// order, with white space anywhere.
func drawBody(t *rapid.T) []byte {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t"})
	options := map[string][]string{
		`"model"`:                  {`"m"`, `null`, `"\u006d"`},
		`"stream_options"`:         {`null`, `{}`, `{ }`, `{"x":[{}]}`, `{"include_usage":false}`, `{"y":1,"include_usage":true,"continuous_usage_stats":null}`, `{"continuous_usage_stats":false}`},
		`"max_tokens"`:             {`null`, `1`, `50`, `1000`, `0`, `-1`},
		`"max_completion_tokens"`:  {`null`, `99`, `9007199254740992`},
		`"max_output_\u0074okens"`: {`null`, `2`, `77`},
		`"messages"`:               {`[]`, `[{"role":"user","content":"}],\"model\":\"x\""}]`},
		`"x"`:                      {`1e400`, `{"x":1}`},
	}
	var names []string
	for name := range options {
		names = append(names, name)
	}
	var b strings.Builder
	put := func(s string) {
		b.WriteString(s)
		b.WriteString(space.Draw(t, "space"))
	}
	put("{")
	first := true
	slices.Sort(names) // for rapid's replays, the order must not depend on the map
	for _, name := range rapid.Permutation(names).Draw(t, "order") {
		if rapid.Bool().Draw(t, "present") {
			continue
		}
		if !first {
			put(",")
		}
		first = false
		put(name)
		put(":")
		put(rapid.SampledFrom(options[name]).Draw(t, "value"))
	}
	put("}")
	return []byte(b.String())
}

func TestABodyIsReadAlikeInEveryWay(t *testing.T) {
	original := []byte(`{"model":"m","max_tokens":100,"max_completion_tokens":100,"stream_options":{"include_usage":false},"x":1}`)
	r, err := Scan(wire.Chat, original)
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]Body{
		"unchanged":     r.Edit(original, Edit{Cap: -1}),
		"few changes":   r.Edit(original, Edit{Model: "x", IncludeUsage: true}),
		"many changes":  r.Edit(original, Edit{Model: "x", Cap: 1, IncludeUsage: true, ContinuousUsage: true}),
		"the zero Body": {},
	} {
		t.Run(name, func(t *testing.T) {
			want := body.Bytes()
			if err := iotest.TestReader(body.Reader(), want); err != nil {
				t.Error(err)
			}
			var b bytes.Buffer
			n, err := body.Reader().(io.WriterTo).WriteTo(&b)
			if err != nil || n != body.Len() || !bytes.Equal(b.Bytes(), want) {
				t.Errorf("wrote %d bytes, %v: %s", n, err, b.Bytes())
			}
			var wait sync.WaitGroup
			for range 4 {
				wait.Go(func() {
					reader := body.Reader()
					defer reader.Close()
					if got, err := io.ReadAll(iotest.OneByteReader(reader)); err != nil || !bytes.Equal(got, want) {
						t.Errorf("read %q, %v", got, err)
					}
				})
			}
			wait.Wait()
		})
	}
}

func TestWritingABodyStopsAtAnError(t *testing.T) {
	body := []byte(`{"model":"m"}`)
	r, err := Scan(wire.Chat, body)
	if err != nil {
		t.Fatal(err)
	}
	edited := r.Edit(body, Edit{Model: "x"})
	n, writeErr := edited.Reader().(io.WriterTo).WriteTo(brokenWriter{})
	if n != 3 || !errors.Is(writeErr, errBroken) {
		t.Errorf("wrote %d bytes, %v", n, writeErr)
	}
}

var errBroken = errors.New("broken")

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 3, errBroken }

func TestEditOfALargeBodyDoesNotCopyIt(t *testing.T) {
	body := []byte(fmt.Sprintf(`{"model":"m","messages":%q}`, strings.Repeat("a", 1<<20)))
	r, err := Scan(wire.Chat, body)
	if err != nil {
		t.Fatal(err)
	}
	edited := r.Edit(body, Edit{Model: "x"})
	body[len(body)-10] = 'b'
	if got := edited.Bytes(); got[len(got)-10] != 'b' {
		t.Error("the body was copied")
	}
}

func BenchmarkEdit(b *testing.B) {
	body := chatBody(1500)
	r, err := Scan(wire.Chat, body)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		edited := r.Edit(body, Edit{Model: "upstream", Cap: -1})
		_, _ = io.Copy(io.Discard, edited.Reader())
	}
}
