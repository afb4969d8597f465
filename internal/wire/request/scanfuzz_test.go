package request

import (
	"bytes"
	"encoding/json"
	"math/big"
	"testing"
	"unicode/utf8"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// FuzzScan checks that encoding/json reads every accepted body like the gate, both
// as a map, where the last of two equal names counts and case matters, and as a
// struct, where case does not matter. It then edits the body and checks that the
// result is the same document except for the edits.
func FuzzScan(f *testing.F) {
	for _, body := range []string{
		`{"model":"m","stream":true,"stream_options":{"include_usage":false},"max_tokens":5,"messages":[{"role":"user","content":"é\n"}]}`,
		`{"\u006dodel":"m","max_tokens":null,"n":2,"best_of":3,"prompt":["a",[1,2]]}`,
		`{"model":"m","Model":"x"}`, `{"model":"m","model":"x"}`, `{"model":"m","` + "\u017F" + `tream":true}`,
		`{"model":"m","stream_options":null}`, `{"model":"m","stream_options":{}}`, ` { "model" : "m" } `,
		`{"model":"m","max_tokens":7,"max_completion_tokens":9,"max_output_tokens":1,"x":{"model":1,"model":2}}`,
		`{"messages":[{"source":{"type":"base64","data":"AA"}},{"input_audio":{"data":""}}],"model":"\ud83d\ude00"}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		original := bytes.Clone(body)
		r, scanErr := Scan(wire.Completions, body)
		if !bytes.Equal(original, body) {
			t.Fatal("the body was changed")
		}
		if scanErr != nil {
			if scanErr.Kind != wire.KindBadRequest || !utf8.ValidString(scanErr.Message) {
				t.Fatalf("got %v", scanErr)
			}
			return
		}
		document := decode(t, body)
		var folding struct {
			Model         string `json:"model"`
			Stream        bool   `json:"stream"`
			StreamOptions struct {
				IncludeUsage bool `json:"include_usage"`
			} `json:"stream_options"`
			MaxTokens           json.Number `json:"max_tokens"`
			MaxCompletionTokens json.Number `json:"max_completion_tokens"`
			MaxOutputTokens     json.Number `json:"max_output_tokens"`
		}
		if err := json.Unmarshal(body, &folding); err != nil {
			t.Fatalf("encoding/json refuses what was taken: %v", err)
		}
		largest, unlimited := int64(-1), false
		for _, n := range []json.Number{folding.MaxTokens, folding.MaxCompletionTokens, folding.MaxOutputTokens} {
			if n != "" {
				v, err := n.Int64()
				if err != nil {
					t.Fatal(err)
				}
				if unlimited = unlimited || v < 0; !unlimited {
					largest = max(largest, v)
				}
			}
		}
		if unlimited {
			largest = -1
		}
		if _, held := document["max_tokens"].(json.Number); largest == 0 && !held {
			largest = -1 // completions read max_tokens alone
		}
		stream, _ := document["stream"].(bool)
		if r.Model != folding.Model || r.Model != document["model"] || r.Stream != folding.Stream || r.Stream != stream ||
			r.IncludeUsage != folding.StreamOptions.IncludeUsage || !hasOtherCaps(document) && r.Cap != largest {
			t.Fatalf("scanned %+v, parsed %+v", r, folding)
		}
		if r.N < 1 || r.Cap < -1 || r.PromptBytes < 0 || r.Images < 0 || r.PromptBytes > int64(4*len(body)) || r.EstimateInput() < r.PromptBytes/4 {
			t.Fatalf("scanned %+v", r)
		}
		checkEdit(t, r, body, Edit{Model: "x\"/é", Cap: 4, CapName: "max_tokens", IncludeUsage: true, ContinuousUsage: true})
	})
}

// hasOtherCaps reports whether the document caps the answer in other ways than
// OpenAI's.
func hasOtherCaps(document map[string]any) bool {
	for name, value := range document {
		f, _ := lookUp(wire.AppendString(nil, name), objectBody, nil)
		_, object := value.(map[string]any)
		if f > fieldMaxOutputTokens && f.isCap() || f.hasSettings() && object {
			return true
		}
	}
	return false
}

// checkEdit edits body and compares the result with the same changes to the parsed
// document.
func checkEdit(t interface {
	Helper()
	Fatalf(string, ...any)
}, r *Request, body []byte, e Edit) {
	t.Helper()
	want := decode(t, body)
	if e.Model != "" {
		want["model"] = e.Model
	}
	if e.Cap > 0 {
		capped := false
		for _, name := range []string{"max_tokens", "max_completion_tokens", "max_output_tokens"} {
			if n, ok := want[name].(json.Number); ok {
				capped = capped || r.endpoint.CapName() == "" || r.endpoint.CapName() == name
				if v, _ := new(big.Int).SetString(n.String(), 10); v.Sign() < 0 || v.Cmp(big.NewInt(e.Cap)) > 0 {
					want[name] = json.Number(big.NewInt(e.Cap).String())
				}
			}
		}
		if !capped && e.CapName != "" {
			want[e.CapName] = json.Number(big.NewInt(e.Cap).String())
		}
	}
	if e.IncludeUsage || e.ContinuousUsage {
		options, _ := want["stream_options"].(map[string]any)
		if options == nil {
			options = map[string]any{}
			want["stream_options"] = options
		}
		if e.IncludeUsage {
			options["include_usage"] = true
		}
		if e.ContinuousUsage {
			options["continuous_usage_stats"] = true
		}
	}
	edited := r.Edit(body, e)
	got := edited.Bytes()
	if int64(len(got)) != edited.Len() {
		t.Fatalf("the length is %d, not %d", edited.Len(), len(got))
	}
	wantText, err := json.Marshal(want)
	if err != nil {
		t.Fatalf("%v", err)
	}
	gotText, err := json.Marshal(decode(t, got))
	if err != nil {
		t.Fatalf("%v", err)
	}
	if !bytes.Equal(gotText, wantText) {
		t.Fatalf("%+v\n of %s\ngave %s\nwant %s", e, body, got, wantText)
	}
	again, scanErr := Scan(wire.Moderations, got)
	if scanErr != nil {
		t.Fatalf("the result is refused: %v: %s", scanErr, got)
	}
	if e.Cap > 0 && again.Cap > e.Cap || e.Model != "" && again.Model != e.Model || e.IncludeUsage && !again.IncludeUsage {
		t.Fatalf("the result is scanned as %+v: %s", again, got)
	}
}

// decode parses an object and keeps the text of numbers.
func decode(t interface {
	Helper()
	Fatalf(string, ...any)
}, body []byte) (document map[string]any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&document); err != nil {
		t.Fatalf("parsing %s: %v", body, err)
	}
	return document
}
