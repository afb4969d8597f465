package browser

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
)

// What docs/quickstart.md promises of the dashboard, with its own Caddyfile: a
// key's spend is found, the key is revoked and refused.
func TestTheQuickStartsDashboard(t *testing.T) {
	page, err := os.ReadFile("../docs/quickstart.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```").FindSubmatch(page)
	if block == nil {
		t.Fatal("the page has no Caddyfile")
	}
	g := newGate(t)
	g.caddyfile = strings.NewReplacer("http://127.0.0.1:8080", g.url, "http://127.0.0.1:9180", g.control).Replace(string(block[1]))
	g.start()
	p := open(t, g, desktop)
	p.login()
	p.view("Keys")
	p.press("New key")
	p.fill("Id", "alice")
	p.fill("Limits", "3 requests/minute\n1 usd/month")
	p.press("Create")
	secret := p.secret()
	for range 3 {
		g.opens("alice is let in", secret, http.StatusOK)
	}
	p.view("Overview")
	p.until("her spend is there", `rows("Totals by key")?.some((r) => r[0] === "alice" && r[1] === "3" && /^[$]0[.]0000[0-9]+$/.test(r[6]))`)
	p.press("alice")
	p.until("her page is open", `location.hash === "#/keys/alice"`)
	p.press("Revoke")
	p.until("it asks first", `scope().localName === "dialog"`)
	p.press("Revoke")
	g.opens("alice is refused", secret, http.StatusUnauthorized)
}

// A proxy, or another site of Caddy's, may have it below a path of its own.
func TestItWorksBelowAPath(t *testing.T) {
	g := newGate(t)
	g.caddyfile = fmt.Sprintf(`{
	admin off
	pinegate {
		store memory
	}
}
%s {
	pinegate {
		%s
	}
}
%s {
	respond /readyz 200
	handle_path /gate/* {
		pinegate_admin {
			admin_key {env.KEY_ADMIN}
		}
	}
}
`, g.url, echo, g.control)
	g.start()
	p := openAt(t, g, desktop, "/gate/dashboard/")
	p.until("the folder leads to the page", `location.pathname === "/gate/"`)
	p.login()
	p.view("Keys")
	p.wantRows("Keys", []string{"alice"}, []string{"bob"})
	p.view("Overview")
	p.says("Nothing was used in this time.")
}
