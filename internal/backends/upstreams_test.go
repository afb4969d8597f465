package backends

import (
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestUpstreamsAreShownAsPeopleWriteThem(t *testing.T) {
	for config, want := range map[string][]string{
		``:                                {"http://10.0.0.7:8000", "http://model.example", "http://[::1]:8000", "unix//run/model.sock", "{env.MODEL}"},
		`"base_path":"/openai/v1"`:        {"http://10.0.0.7:8000/openai/v1", "http://model.example/openai/v1", "http://[::1]:8000/openai/v1", "unix//run/model.sock", "{env.MODEL}"},
		`"tls":{},"api":"anthropic"`:      {"https://10.0.0.7:8000", "https://model.example:80", "https://[::1]:8000", "unix//run/model.sock", "{env.MODEL}"},
		`"api":"echo"`:                    {},
		`"tls":{"server_name":"x.local"}`: {"https://10.0.0.7:8000", "https://model.example:80", "https://[::1]:8000", "unix//run/model.sock", "{env.MODEL}"},
	} {
		pool := reverseproxy.UpstreamPool{{Dial: "10.0.0.7:8000"}, {Dial: "model.example:80"}, {Dial: "[::1]:8000"}, {Dial: "unix//run/model.sock"}, {Dial: "{env.MODEL}"}}
		if got := provision(t, config).Upstreams(pool); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", config, got, want)
		}
	}
}
