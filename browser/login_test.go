package browser

import (
	"context"
	"net/http"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"
)

// echo is a gate with the echo backend and two keys.
const echo = `
		key alice {env.KEY_ALICE}
		key bob {env.KEY_BOB}
		backend demo {
			api echo
		}`

func TestTheKeyboardIsEnoughToLogIn(t *testing.T) {
	p := open(t, startGate(t, echo), desktop)
	p.refusals = true
	p.until("the field has the focus", `document.activeElement.id === "admin-key"`)
	p.do(chromedp.KeyEvent("a-key-that-is-not-the-admins-key\r"))
	p.says("This is not the admin key of this gate.")
	p.until("what is wrong is selected, to be typed over", `document.activeElement.id === "admin-key" && document.activeElement.selectionEnd > 10`)
	p.do(chromedp.KeyEvent(adminKey + "\r"))
	p.loaded()

	// From the first thing to focus to another view: Tab and Enter alone.
	p.until("the key is not left in the field", `document.getElementById("admin-key").value === ""`)
	for range 20 {
		if value[string](p, `text(document.activeElement)`) == "Limits" {
			break
		}
		p.do(chromedp.KeyEvent("\t"))
	}
	p.until("what has the focus shows it", `getComputedStyle(document.activeElement).outlineStyle === "solid" && parseFloat(getComputedStyle(document.activeElement).outlineWidth) >= 2`)
	p.do(chromedp.KeyEvent("\r"))
	p.until("the view is open", `location.hash === "#/limits" && text(document.querySelector("#main h1")) === "Limits and quotas"`)
}

func TestTheKeyIsKeptInThePagesMemoryAlone(t *testing.T) {
	p := open(t, startGate(t, echo), desktop)
	p.login()
	for _, view := range []string{"Overview", "Keys"} {
		p.view(view)
		for what, kept := range map[string]string{
			"the address": `location.href`, "cookies": `document.cookie`, "the page": `document.documentElement.outerHTML`,
			"the local storage":   `JSON.stringify(localStorage)`,
			"the session storage": `JSON.stringify(sessionStorage)`,
			"the history":         `JSON.stringify(history.state)`,
			"fields":              `[...document.querySelectorAll("input")].map((i) => i.value).join()`,
		} {
			if value[bool](p, `(`+kept+` ?? "").includes(`+quote(adminKey)+`)`) {
				t.Errorf("%s: the key is kept in %s", view, what)
			}
		}
	}
	p.press("Log out")
	p.until("the page asks for the key", `!document.getElementById("login").hidden && document.getElementById("shell").hidden`)
	p.until("nothing is left of what was shown", `document.getElementById("main").childElementCount === 0`)
	p.login()
	p.do(chromedp.Reload())
	p.until("the page asks for the key", `!document.getElementById("login").hidden`)
}

func TestACallersKeyIsToldApart(t *testing.T) {
	p := open(t, startGate(t, echo), desktop)
	p.refusals = true
	p.fill("Admin key", aliceKey)
	p.press("Log in")
	p.until("it is refused", `text(document.getElementById("login-error")) !== ""`)
	p.until("the page asks on", `document.getElementById("shell").hidden`)
}

// The dashboard is no way around the throttle of wrong keys.
func TestGuessesAreThrottled(t *testing.T) {
	g := startGate(t, echo)
	p := open(t, g, desktop)
	p.refusals = true
	guessing, stop := context.WithCancel(t.Context())
	var guesses sync.WaitGroup
	for range 4 {
		guesses.Go(func() {
			for guessing.Err() == nil {
				req, err := http.NewRequestWithContext(guessing, http.MethodGet, g.control+"/pinegate/keys", nil)
				if err != nil {
					return
				}
				req.Header.Set("Authorization", "Bearer a-guess-at-the-key-of-the-admin")
				if res, err := http.DefaultClient.Do(req); err == nil {
					_ = res.Body.Close()
				}
			}
		})
	}
	defer guesses.Wait()
	defer stop()
	eventually(t, "the throttle holds the page back", func() bool {
		p.fill("Admin key", adminKey[:len(adminKey)-1]+"x")
		p.press("Log in")
		p.until("the answer is there", `!named("Log in").disabled && text(document.getElementById("login-error")) !== ""`)
		return value[bool](p, `text(document.getElementById("login-error")).startsWith("Too many tries from your address.")`)
	})
}
