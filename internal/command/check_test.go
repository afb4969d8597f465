package command

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/control"
)

func TestCheckSaysWhatToDoNext(t *testing.T) {
	answer := func(status int, body string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" && r.URL.Path != control.ReadyPath {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	host := func(url string) string { return strings.TrimPrefix(url, "http://") }
	for _, c := range []struct {
		name, address, out, err string
	}{
		{"a gate that is ready", answer(200, "ok\n") + "/readyz", "ok\n", ""},
		{"its admin endpoint", host(answer(200, "ok\n")), "ok\n", ""},
		{"its admin endpoint as a URL", answer(200, "ok\n"), "ok\n", ""},
		{"a gate that is not ready", answer(503, "") + "/readyz", "", "it stops, or its store is away"},
		{"another site", answer(404, "") + "/readyz", "", "is it another site?"},
		{"a redirect", answer(308, "") + "/readyz", "", "status 308"},
		{"nobody", "http://127.0.0.1:1/readyz", "", "start Caddy"},
		{"no admin endpoint", "127.0.0.1:1", "", "start Caddy"},
		{"a store that is away", host(answer(503, `{"error":"a store is away"}`)), "", "a store is away, or full"},
		{"a gate that is starting", host(answer(503, `{"error":"starting: no configuration runs yet; try again in a second"}`)), "", "is starting: no configuration runs yet"},
		{"a config without a gate", host(answer(503, `{"error":"the running configuration has no pinegate"}`)), "", "without pinegate: load one"},
		{"another binary", host(answer(404, "")), "", "restart it with this one"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := checkCommand()
			var out strings.Builder
			cmd.SetOut(&out)
			cmd.SetErr(new(strings.Builder))
			cmd.SetArgs([]string{"--address", c.address})
			err := cmd.Execute()
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("got the error %v, expected %q", err, c.err)
			}
			if err == nil && out.String() != c.out {
				t.Errorf("printed %q, expected %q", out.String(), c.out)
			}
		})
	}
}
