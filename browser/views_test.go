package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/chromedp"
)

var views = []string{"Overview", "Limits", "Backends", "Requests", "Rejections", "Keys", "Teams"}

// Each view, wide and on a phone, light and dark, without data and with names as
// long as they get. What breaks the policy, and what is written to the console,
// fails the test at its end.
func TestEachViewFitsAndHasNamesForAllThatCanBeUsed(t *testing.T) {
	if chromium == nil {
		t.Skip(howToInstall)
	}
	g := startGate(t, runtimeKeys)
	p := open(t, g, desktop)
	p.login()
	fits := func(stage string) {
		t.Helper()
		for _, how := range []look{desktop, phone, {320, "light"}} {
			p.see(how)
			for _, view := range views {
				p.view(view)
				what := fmt.Sprintf("%s, %s, %d wide", stage, view, how.width)
				p.until("nothing is too wide: "+what, fmt.Sprintf(`document.documentElement.scrollWidth <= %d`, how.width))
				if how.width < 500 { // a row is a card there, which needs no scrolling either
					p.until("no card is too wide: "+what, `[...document.querySelectorAll(".card")].every((c) => c.scrollWidth <= c.clientWidth)`)
				}
				p.named(what)
			}
		}
	}
	fits("without data")
	g.operate(http.MethodPost, "teams", `{"id":"team_with_a_name_as_long_as_the_name_of_a_team_may_ever_be_12345","limits":["500 usd/month","100k tokens/minute burst 20k"]}`)
	g.operate(http.MethodPost, "keys", `{"id":"key_with_a_name_as_long_as_the_name_of_a_key_may_ever_be_1234567","team":"team_with_a_name_as_long_as_the_name_of_a_team_may_ever_be_12345","limits":["60 requests/minute burst 10"],"models":["a-model-with-a-name-without-any-end-in-sight-*"]}`)
	for range 3 {
		g.chat(aliceKey, "a-model/with-a-name-as-long-as-those-that-are-found-on-hubs-Instruct-2507-FP8", "Hello")
	}
	g.chat("a-key-that-nobody-has-been-given", "echo", "x")
	fits("with data")

	p.press("Keys")
	p.press("key_with_a_name_as_long_as_the_name_of_a_key_may_ever_be_1234567")
	p.loaded()
	for _, how := range []look{desktop, phone} {
		p.see(how)
		p.until("a key's page is not too wide", fmt.Sprintf(`document.documentElement.scrollWidth <= %d`, how.width))
		p.named("a key's page")
		p.press("Edit")
		p.until("its form is not too wide", `scope().localName === "dialog" && scope().scrollWidth <= scope().clientWidth`)
		p.named("a form")
		p.press("Cancel")
	}
}

// named checks that all that can be used has a name for those who hear it.
func (p *page) named(what string) {
	p.t.Helper()
	tree, err := chromedp.Call(p.ctx, accessibility.GetFullAXTree, accessibility.GetFullAXTreeParams{})
	if err != nil {
		p.t.Fatal(err)
	}
	roles := []string{"button", "link", "textbox", "searchbox", "radio", "checkbox", "combobox", "meter", "image", "table", "dialog", "navigation", "group"}
	text := func(v *accessibility.Value) string {
		var s string
		if v != nil {
			_ = json.Unmarshal(v.Value, &s)
		}
		return s
	}
	seen := 0
	for _, node := range tree.Nodes {
		role := text(node.Role)
		if node.Ignored || !slices.Contains(roles, role) {
			continue
		}
		seen++
		if text(node.Name) == "" && role != "group" {
			p.t.Errorf("%s: a %s has no name", what, role)
		}
	}
	if seen < len(views) {
		p.t.Errorf("%s: only %d things have a role", what, seen)
	}
}

// What callers send is text, whatever it looks like.
func TestNamesThatLookLikeHTMLAreText(t *testing.T) {
	g := startGate(t, echo)
	p := open(t, g, desktop)
	const name = `<img src=x onerror=alert(1)><b>bold</b>`
	if status, _ := g.chat(aliceKey, name, "Hello"); status != http.StatusOK {
		t.Fatal(status)
	}
	p.login()
	p.press("Model")
	p.until("the name is there as it was sent", `rows("Totals by model")?.some((r) => r[0] === `+quote(name)+`)`)
	p.until("no element was made of it", `document.querySelectorAll("main img, main b").length === 0`)
}

// The test of the tests: what breaks the policy is heard.
func TestWhatBreaksThePolicyIsHeard(t *testing.T) {
	p := open(t, startGate(t, echo), desktop)
	heard := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.problems)
	}
	for _, breach := range []string{
		`(() => { const e = document.createElement("p"); e.setAttribute("style", "color: red"); document.body.append(e); })()`,
		`(() => { const e = document.createElement("script"); e.src = "http://127.0.0.1:1/x.js"; document.body.append(e); })()`,
		`(() => { try { document.body.innerHTML = "<p>x"; } catch {} })()`,
		`fetch("http://127.0.0.1:1/").catch(() => {})`,
		`console.error("no")`,
	} {
		before := heard()
		if _, err := chromedp.Run(p.ctx, chromedp.Evaluate[chromedp.Void](breach)); err != nil && heard() == before {
			t.Logf("%s: %v", breach, err)
		}
		eventually(t, breach+" is heard", func() bool { return heard() > before })
	}
	p.mu.Lock()
	p.problems, p.refusals = nil, true
	p.urls = slices.DeleteFunc(p.urls, func(u string) bool { return u == "http://127.0.0.1:1/x.js" || u == "http://127.0.0.1:1/" })
	p.mu.Unlock()
}
