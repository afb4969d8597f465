package wire

import (
	"strings"
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
	for i := range endpoints {
		e := Endpoint(i)
		var speak []*Dialect
		for _, d := range Dialects() {
			if d.Speaks(e) {
				speak = append(speak, d)
			}
		}
		if !e.Metered() && len(speak) == 0 {
			continue // the gate's own
		}
		if len(speak) != 1 || speak[0] != e.Dialect() {
			t.Errorf("%v is spoken by %v, its dialect is %v", e, speak, e.Dialect())
		}
	}
}

func TestADialectIsComplete(t *testing.T) {
	for i, d := range Dialects() {
		if DialectNamed(d.Name) != d || d.Name == "" || d.Name == "echo" {
			t.Errorf("%v is not found by its name", d)
		}
		if (d.Prefix == "") != (i == 0) {
			t.Errorf("%v has the prefix %q", d, d.Prefix)
		}
		for kind, name := range d.errorTypes {
			if name == "" && d.errorTypes != [kindCount]string{} {
				t.Errorf("%v has no type for kind %d", d, kind)
			}
		}
		for _, info := range d.endpoints {
			path := d.Base + info.path
			if e, _ := Match(path); !strings.HasSuffix(path, "/") && (e.Dialect() != d || e.String() != info.label) || !strings.HasPrefix(path, d.Prefix) {
				t.Errorf("%v: %s is the path of %v", d, path, e)
			}
		}
	}
}

func TestADialectMayOmitMost(t *testing.T) {
	d := &Dialect{Name: "toy", appendError: func(b []byte, e *Error, _, _ string) []byte { return append(b, `{"problem":true}`...) }}
	complete(OpenAI, d)
	if got, want := string(d.appendEvent(nil, Errorf(KindOverloaded, ""), "", Chat, 0)), "data: {\"problem\":true}\n\n"; got != want {
		t.Errorf("the event of an error is %q, want %q", got, want)
	}
	if d.KeyHeader != "Authorization" || d.upstreamType(400, "x") != "x" || len(d.KeepAlive) == 0 || d.FormatReset == nil || d.appendModel == nil || d.appendModels == nil {
		t.Errorf("lacks something: %+v", d)
	}
}

func TestADialectWithoutHeadersOfItsOwnPassesNone(t *testing.T) {
	before := *Anthropic
	t.Cleanup(func() { *Anthropic = before })
	Anthropic.HeaderPrefix, Anthropic.LimitPrefix = "", ""
	if IsDialectHeader("Cookie") || IsLimitHeader("Cookie") {
		t.Error("every header is one of the dialect")
	}
}
