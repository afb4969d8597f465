package limiter

import (
	"encoding/json"
	"testing"
)

func TestWindowIsItsWordInJSON(t *testing.T) {
	for w := Second; w <= Month; w++ {
		text, err := json.Marshal(w)
		if err != nil || string(text) != `"`+w.String()+`"` {
			t.Errorf("%v: %s, %v", w, text, err)
		}
		var back Window
		if err := json.Unmarshal(text, &back); err != nil || back != w {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	var short Window
	if err := json.Unmarshal([]byte(`"mo"`), &short); err != nil || short != Month {
		t.Errorf("mo: %v, %v", short, err)
	}
	for _, bad := range []string{`""`, `"fortnight"`, `1`} {
		if err := json.Unmarshal([]byte(bad), new(Window)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	if text, err := json.Marshal(NoWindow); err == nil {
		t.Errorf("no window is written as %s", text)
	}
}
