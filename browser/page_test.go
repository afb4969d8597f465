package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/amanycodes/pine-gate/internal/gatetest"
)

// page is the dashboard in a tab without cookies or storage of others. When the
// test ends it must have broken no policy, written no error to the console and
// asked nobody but the gate.
type page struct {
	t    *testing.T
	gate *gate
	ctx  context.Context

	mu       sync.Mutex
	problems []string
	failed   []string // requests that the gate refused, or did not answer
	urls     []string // all that was asked for
	refusals bool     // whether the test brings failed requests about
}

// look is how a page is seen.
type look struct {
	width  int64
	scheme string // light or dark
}

var (
	desktop = look{1280, "light"}
	phone   = look{390, "dark"}
)

// open opens the dashboard of a gate.
func open(t *testing.T, g *gate, how look) *page {
	t.Helper()
	return openAt(t, g, how, "/")
}

// openAt opens it where a path leads.
func openAt(t *testing.T, g *gate, how look, path string) *page {
	t.Helper()
	if chromium == nil {
		t.Skip(howToInstall)
	}
	p := &page{t: t, gate: g}
	ctx, cancel := chromedp.NewContext(chromium, chromedp.WithNewBrowserContext(), chromedp.WithListener(p.hear))
	t.Cleanup(cancel)
	p.ctx = ctx
	t.Cleanup(p.verify)
	p.do(chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for _, enable := range []func() error{
			func() error { _, err := cdp.Call(ctx, target, audits.Enable, cdp.Empty{}); return err },
			func() error { _, err := cdp.Call(ctx, target, network.Enable, network.EnableParams{}); return err },
			func() error {
				_, err := cdp.Call(ctx, target, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
				return err
			},
		} {
			if err := enable(); err != nil {
				return err
			}
		}
		return nil
	}))
	p.see(how)
	p.do(chromedp.Navigate(g.control + path))
	p.until("the page asks for the key", `!document.getElementById("login").hidden`)
	return p
}

// see changes how the page is seen.
func (p *page) see(how look) {
	p.t.Helper()
	height := int64(900)
	if _, err := chromedp.Call(p.ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: how.width, Height: height, DeviceScaleFactor: 1, Mobile: how.width < 500}); err != nil {
		p.t.Fatal(err)
	}
	if _, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: how.scheme}}}); err != nil {
		p.t.Fatal(err)
	}
}

// hear takes note of what must not be.
func (p *page) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if e.ExceptionDetails.Exception != nil {
			text += " " + e.ExceptionDetails.Exception.Description
		}
		p.problems = append(p.problems, "exception: "+text)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning || e.Type == runtime.ConsoleAPICalledTypeAssert {
			p.problems = append(p.problems, fmt.Sprintf("console: %s", e.Type))
		}
	case *log.EventEntryAdded:
		switch {
		case e.Entry.Level != log.EntryLevelError && e.Entry.Level != log.EntryLevelWarning:
		case e.Entry.Source == log.EntrySourceNetwork:
			p.failed = append(p.failed, e.Entry.Text+" "+e.Entry.URL)
		default:
			p.problems = append(p.problems, fmt.Sprintf("%s: %s %s", e.Entry.Source, e.Entry.Text, e.Entry.URL))
		}
	case *audits.EventIssueAdded:
		if e.Issue.Code == audits.InspectorIssueCodeContentSecurityPolicyIssue {
			details, _ := json.Marshal(e.Issue.Details.ContentSecurityPolicyIssueDetails)
			p.problems = append(p.problems, "policy: "+string(details))
		}
	case *network.EventRequestWillBeSent:
		p.urls = append(p.urls, e.Request.URL)
	}
}

// verify fails the test for what the page has done beside what it should.
func (p *page) verify() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, problem := range p.problems {
		p.t.Error(problem)
	}
	if !p.refusals {
		for _, failed := range p.failed {
			p.t.Error("a request failed:", failed)
		}
	}
	for _, u := range p.urls {
		if !strings.HasPrefix(u, p.gate.control+"/") {
			p.t.Error("the page asked somebody else:", u)
		}
		if strings.Contains(u, adminKey) || strings.Contains(u, url.QueryEscape(adminKey)) {
			p.t.Error("the key stands in an address:", u)
		}
	}
	if len(p.urls) == 0 {
		p.t.Error("nothing was heard of what the page asks for")
	}
	if p.t.Failed() {
		p.t.Log("the gate's log:\n" + p.gate.said())
	}
}

func (p *page) do(steps ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, gatetest.Patience)
	defer cancel()
	if err := chromedp.Do(p.ctx); err != nil { // the first one binds the tab to the context
		p.t.Fatal(err)
	}
	if err := chromedp.Do(ctx, steps...); err != nil {
		p.t.Fatal(err)
	}
}

// helpers are what the expressions of the tests may use.
const helpers = `
	const text = (e) => e.textContent.replace(/\s+/g, " ").trim();
	const visible = (e) => e.getClientRects().length > 0;
	const scope = () => [...document.querySelectorAll("dialog[open]")].at(-1) ?? document.body;
	const named = (name) => [...scope().querySelectorAll("button, a, summary, label")].find((e) =>
		visible(e) && (e.getAttribute("aria-label") ?? text(e)) === name);
	const labelled = (name) => {
		const label = [...scope().querySelectorAll("label")].find((l) => text(l) === name);
		return (label && (label.control ?? document.getElementById(label.htmlFor))) ?? scope().querySelector('[aria-label=' + JSON.stringify(name) + ']');
	};
	const rows = (caption) => {
		const table = [...document.querySelectorAll("table")].find((t) => visible(t) && text(t.caption).startsWith(caption));
		return table ? [...table.tBodies[0].rows].map((r) => [...r.cells].map(text)) : null;
	};
`

// evaluate returns the value of an expression.
func evaluate[T any](p *page, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(p.ctx, gatetest.Patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T]("(() => {"+helpers+"return "+expression+"})()"))
}

func value[T any](p *page, expression string) T {
	p.t.Helper()
	v, err := evaluate[T](p, expression)
	if err != nil {
		p.t.Fatalf("%s: %v", expression, err)
	}
	return v
}

// until waits until an expression is true.
func (p *page) until(what, expression string) {
	p.t.Helper()
	var last error
	eventually(p.t, what, func() bool {
		var holds bool
		holds, last = evaluate[bool](p, "Boolean("+expression+")")
		return last == nil && holds
	}, func() string {
		body, err := evaluate[string](p, `document.body.innerText`)
		return fmt.Sprintf("%s: %v %v\nThe page says:\n%s", expression, last, err, body)
	})
}

// press clicks what has a name, a button, a link or a label, once it is there.
func (p *page) press(name string) {
	p.t.Helper()
	quoted := quote(name)
	p.until("there is "+quoted+" to press", `named(`+quoted+`) && !named(`+quoted+`).disabled && (named(`+quoted+`).click(), true)`)
}

// fill writes into the field of a label, in place of what is there.
func (p *page) fill(label, text string) {
	p.t.Helper()
	p.until("there is a field "+label, `labelled(`+quote(label)+`) && (labelled(`+quote(label)+`).focus(), labelled(`+quote(label)+`).select(), true)`)
	if text == "" {
		p.do(chromedp.KeyEvent("\b"))
		return
	}
	if _, err := chromedp.Call(p.ctx, input.InsertText, input.InsertTextParams{Text: text}); err != nil {
		p.t.Fatal(err)
	}
}

// login gives the key to the page.
func (p *page) login() {
	p.t.Helper()
	p.fill("Admin key", adminKey)
	p.press("Log in")
	p.until("the page is in", `!document.getElementById("shell").hidden`)
}

// view opens a view by its link, and waits until it has loaded.
func (p *page) view(name string) {
	p.t.Helper()
	p.press(name)
	p.until("the view is "+name, `text(document.querySelector("nav [aria-current]")) === `+quote(name))
	p.loaded()
}

func (p *page) loaded() {
	p.t.Helper()
	p.until("the view has loaded", `!document.getElementById("main").hasAttribute("aria-busy") && document.querySelector("#main h1")`)
}

// wantRows waits until a table has these rows, each as far as it is given.
func (p *page) wantRows(caption string, want ...[]string) {
	p.t.Helper()
	var got [][]string
	eventually(p.t, "the table "+caption+" is as expected", func() bool {
		var err error
		got, err = evaluate[[][]string](p, `rows(`+quote(caption)+`) ?? []`)
		return err == nil && slices.EqualFunc(got, want, func(g, w []string) bool { return len(g) >= len(w) && slices.Equal(g[:len(w)], w) })
	}, func() string { return fmt.Sprintf("got  %q\nwant %q", got, want) })
}

func (p *page) says(text string) {
	p.t.Helper()
	p.until("the page says: "+text, `document.body.innerText.includes(`+quote(text)+`)`)
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return string(quoted)
}
