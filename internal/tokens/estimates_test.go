package tokens

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/tiktoken-go/tokenizer/codec"

	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/internal/wire/request"
)

var update = flag.Bool("update", false, "write the table of docs/estimates.md")

// texts are in the order of the table.
var texts = []string{
	"english", "german", "french", "spanish", "polish", "russian", "greek", "arabic", "hindi",
	"chinese", "japanese", "korean", "go", "python", "json", "base64",
}

// TestEstimates recomputes the table of docs/estimates.md.
func TestEstimates(t *testing.T) {
	const page, begin, end = "../../docs/estimates.md", "-update -->\n", "<!-- the end -->"
	other := codec.NewCl100kBase()
	var table strings.Builder
	table.WriteString("\n| text | bytes | tokens | input by characters | output by characters | `estimate tokens` with `cl100k_base` |\n" +
		"| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for _, name := range texts {
		text, err := os.ReadFile("testdata/" + name + ".txt")
		if err != nil {
			t.Fatal(err)
		}
		real := O200k().Count(text)
		cl100k, err := other.Count(string(text))
		if err != nil {
			t.Fatal(err)
		}
		prompt, err := json.Marshal(string(text))
		if err != nil {
			t.Fatal(err)
		}
		body := append(append([]byte(`{"model":"m","prompt":`), prompt...), '}')
		r, refusal := request.Scan(wire.Completions, body)
		if refusal != nil {
			t.Fatal(refusal)
		}
		const aMessage = 4
		if got := r.CountInput(wire.Completions, body, O200k().Count) - aMessage; got != real {
			t.Errorf("%s: estimate tokens says %d of the prompt, want %d", name, got, real)
		}
		fmt.Fprintf(&table, "| %s | %d | %d | %s | %s | %s |\n", name, len(text), real,
			percent(r.EstimateInput()-aMessage, real), percent(int64(len(text)+3)/4, real), percent(real, int64(cl100k)))
	}
	table.WriteByte('\n')

	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), begin)
	old, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		t.Fatalf("%s has no place for the table", page)
	}
	if *update {
		if err := os.WriteFile(page, []byte(before+begin+table.String()+end+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != table.String() {
		t.Errorf("%s has the table\n%s\nwant\n%s", page, old, table.String())
	}
}

// percent is by how much an estimate is off.
func percent(estimate, real int64) string {
	return fmt.Sprintf("%+.0f %%", math.Round(100*float64(estimate-real)/float64(real)))
}
