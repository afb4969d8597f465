package wire

import (
	"net/http"
	"testing"
)

func TestTheDialectOfErrorsOnSharedPaths(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		want   *Dialect
	}{
		"nothing":            {http.Header{}, OpenAI},
		"a version":          {http.Header{"Anthropic-Version": {"2023-06-01"}, "Authorization": {"Bearer x"}}, Anthropic},
		"Anthropic's header": {http.Header{"X-Api-Key": {"x"}}, Anthropic},
		"both headers":       {http.Header{"X-Api-Key": {"x"}, "Authorization": {"Bearer x"}}, OpenAI},
		"OpenAI's header":    {http.Header{"Authorization": {"Bearer x"}}, OpenAI},
	} {
		if got := DialectOfCaller(c.header); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
