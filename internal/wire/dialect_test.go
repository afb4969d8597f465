package wire

import (
	"testing"
	"time"
)

func TestResetsReadAsOpenAIWritesThem(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 12 * time.Millisecond: "12ms", 11500 * time.Microsecond: "12ms", time.Second: "1s",
		1200 * time.Millisecond: "2s", 6 * time.Minute: "6m0s",
	} {
		if got := formatReset(d); got != want {
			t.Errorf("formatReset(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestEveryEndpointOfABackendHasOneDialect(t *testing.T) {
	for e := Chat; e <= GetResponse; e++ {
		var speak []string
		for _, d := range Dialects() {
			if d.Speaks(e) {
				speak = append(speak, d.Name)
			}
		}
		if len(speak) != 1 || speak[0] != e.Dialect().Name {
			t.Errorf("%v is spoken by %v, its dialect is %v", e, speak, e.Dialect())
		}
	}
}

func TestADialectHasATypeForEachKindOfError(t *testing.T) {
	for _, d := range Dialects() {
		for kind, name := range d.errorTypes {
			if name == "" {
				t.Errorf("%v has no type for kind %d", d, kind)
			}
		}
		if DialectNamed(d.Name) != d {
			t.Errorf("%v is not found by its name", d)
		}
	}
}
