package request

import (
	"testing"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// spell gives the names of Messages' dialect to the test.
func spell(t *testing.T, names wire.Names) {
	before := wire.Anthropic.RequestNames
	t.Cleanup(func() { wire.Anthropic.RequestNames = before })
	wire.Anthropic.RequestNames = names
}

func TestADialectMayHaveNamesOfItsOwn(t *testing.T) {
	spell(t, wire.Names{"engine": "model", "streaming": "stream", "max_out": "max_tokens"})
	body := []byte(`{"engine":"m","streaming":true,"max_out":9,"model":7,"stream":8,"max_tokens":"x"}`)
	r, err := Scan(wire.Messages, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Model != "m" || !r.Stream || r.Cap != 9 {
		t.Errorf("got %+v", r)
	}
	edited := r.Edit(body, Edit{Model: "n", Cap: 5, CapName: "max_tokens"})
	if got, want := string(edited.Bytes()), `{"engine":"n","streaming":true,"max_out":5,"model":7,"stream":8,"max_tokens":"x"}`; got != want {
		t.Errorf("edited to %s, want %s", got, want)
	}
	if _, err := Scan(wire.Chat, []byte(`{"model":"m","engine":7}`)); err != nil {
		t.Errorf("the names apply to another dialect: %v", err)
	}
}

func TestEditInsertsTheNamesOfTheDialect(t *testing.T) {
	spell(t, wire.Names{"engine": "model", "max_out": "max_tokens"})
	for body, want := range map[string]string{
		`{"engine":"m"}`:                               `{"max_out":5,"engine":"m"}`,
		`{"engine":"m","max_out":null}`:                `{"engine":"m","max_out":5}`,
		`{"engine":"m","max_tokens":null,"max_out":9}`: `{"engine":"m","max_tokens":null,"max_out":5}`,
	} {
		r, err := Scan(wire.Messages, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		edited := r.Edit([]byte(body), Edit{Cap: 5, CapName: "max_tokens"})
		if got := string(edited.Bytes()); got != want {
			t.Errorf("%s: edited to %s, want %s", body, got, want)
		}
	}
}

func TestErrorsHaveTheNamesOfTheDialect(t *testing.T) {
	spell(t, wire.Names{"engine": "model", "streaming": "stream", "max_out": "max_tokens"})
	for body, want := range map[string][2]string{
		`{"engine":7}`:                     {"engine", "engine must be a string."},
		`{"engine":"m","engine":"m"}`:      {"engine", "engine stands in the request twice."},
		`{"Engine":"m"}`:                   {"engine", "engine must be spelled in lower case."},
		`{"model":"m"}`:                    {"engine", "The request must name a model."},
		`{"engine":"m","streaming":"yes"}`: {"streaming", "streaming must be true or false."},
		`{"engine":"m","max_out":1.5}`:     {"max_out", "max_out must be an integer of 1 to 9007199254740992, 0, or -1 for no limit."},
		`{"engine":"m","n":-1}`:            {"n", "n must be an integer of 1 to 10000."},
		`[]`:                               {"", "The request body must be a JSON object."},
	} {
		_, err := Scan(wire.Messages, []byte(body))
		if err == nil || err.Param != want[0] || err.Message != want[1] {
			t.Errorf("%s: got %+v, want %v", body, err, want)
		}
	}
}

func TestTheNamesOfEveryDialectAreFound(t *testing.T) {
	for _, d := range wire.Dialects() {
		for name, known := range d.RequestNames {
			if f, exact := lookUp(wire.AppendString(nil, name), objectBody, d.RequestNames); f.String() != known || !exact {
				t.Errorf("%v: %s is read as %q, want %s", d, name, f, known)
			}
		}
	}
}
