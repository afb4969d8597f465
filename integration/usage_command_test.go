package integration

import (
	"strings"
	"testing"
)

func TestUsageCommandAsksTheRunningGate(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("hi", 1100, 7)))
	g := startGate(t, block(b, "model m-1 {\nprice input 2\n}"))
	for range 2 {
		if a := g.chat(callerKey, "m-1", "x"); a.status != 200 {
			t.Fatal(a.status, a.body)
		}
	}
	if a := g.chat(otherKey, "m-2", "x"); a.status != 200 {
		t.Fatal(a.status, a.body)
	}

	const table = `KEY    MODEL  REQUESTS  ERRORS  INPUT  CACHED  OUTPUT  ESTIMATED  UNPRICED  COST USD
alice  m-1           2       0  2,200       0      14          0         0    0.0044
bob    m-2           1       0  1,100       0       7          0         1         -
total                3       0  3,300       0      21          0         1    0.0044
`
	if out, errOut, code := pinegate(t, "usage", "--address", g.admin, "--group-by", "key,model"); out != table || errOut != "" || code != 0 {
		t.Errorf("exit status %d\n%s%s\nwant\n%s", code, out, errOut, table)
	}
	if out, errOut, code := pinegate(t, "usage", "--config", g.dir+"/Caddyfile", "--adapter", "caddyfile", "--csv", "--key", "bob"); code != 0 ||
		!strings.Contains(out, ",bob,,,,,1,0,1100,0,0,7,0,0,1,\n") || strings.Contains(out, "alice") {
		t.Errorf("exit status %d\n%s%s", code, out, errOut)
	}

	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--address", "127.0.0.1:1"}, "start Caddy, or say where its admin endpoint is"},
		{[]string{"--address", strings.TrimPrefix(g.url, "http://")}, "does not know pinegate: "},
		{[]string{"--address", g.admin, "--group-by", "color"}, `"color" is none of key`},
	} {
		out, errOut, code := pinegate(t, append([]string{"usage"}, c.args...)...)
		if code != 1 || out != "" || !strings.Contains(errOut, c.want) || strings.Contains(errOut, "--bucket string") {
			t.Errorf("%v: exit status %d\n%s%s\nwant %s", c.args, code, out, errOut, c.want)
		}
	}

	if status := g.reload("{\n\tadmin " + g.admin + "\n\tpersist_config off\n}\nhttp://127.0.0.1:0 {\n\trespond ok\n}\n"); status != 200 {
		t.Fatal(status)
	}
	if _, errOut, code := pinegate(t, "usage", "--address", g.admin); code != 1 || !strings.Contains(errOut, "the running configuration has no pinegate") {
		t.Errorf("exit status %d\n%s", code, errOut)
	}
}
