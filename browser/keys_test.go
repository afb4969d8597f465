package browser

import (
	"net/http"
	"strings"
	"testing"
)

// runtimeKeys is a gate whose keys are made at runtime.
const runtimeKeys = `
		keys store
		key fixed {env.KEY_ALICE}
		model echo {
			price input 500000 output 500000
		}
		backend demo {
			api echo
		}`

// secret takes the secret that a dialog shows, and closes it.
func (p *page) secret() string {
	p.t.Helper()
	p.until("a secret is shown", `labelled("Secret")?.value`)
	shown := value[string](p, `labelled("Secret").value`)
	p.press("I have it")
	p.until("the secret is gone", `!document.querySelector("dialog") && ![...document.querySelectorAll("input")].some((i) => i.value === `+quote(shown)+`)`)
	return shown
}

// opens waits until a secret is answered as it should be.
func (g *gate) opens(what, secret string, status int) {
	g.t.Helper()
	got := 0
	eventually(g.t, what, func() bool {
		got, _ = g.chat(secret, "echo", "Hello there")
		return got == status
	})
}

func TestAKeyIsMadeUsedSeenChangedRevokedAndDeleted(t *testing.T) {
	g := startGate(t, runtimeKeys)
	p := open(t, g, desktop)
	p.login()
	p.view("Keys")
	p.press("New key")
	p.fill("Id", "carol")
	p.fill("Team", "search")
	p.fill("Limits", "100 requests/minute burst 50\n1 furlong/month")
	p.refusals = true
	p.press("Create")
	p.until("what is wrong is said in the form", `text(scope().querySelector(".error")).includes("unknown unit")`)
	p.fill("Limits", "100 requests/minute burst 50\n1000 usd/month")
	p.press("Create")
	p.until("a secret is shown", `labelled("Secret")?.value`)
	p.press("Copy")
	p.until("it is said whether it was copied", `/Copied|by hand/.test(text(scope()))`)
	secret := p.secret()
	p.says("Key carol was made.")
	p.wantRows("Keys",
		[]string{"carol", "active", "search", "100 requests/minute burst 501000 usd/month", "all", "never", "…" + secret[len(secret)-4:], "store"},
		[]string{"fixed", "active", "–", "the gate's own", "all", "never", "–", "configuration"})

	// It works, and what it spends is seen: 4 tokens of half a dollar, say.
	status, answer := g.chat(secret, "echo", "Hello there")
	if status != http.StatusOK {
		t.Fatal(status)
	}
	money := used{cents: 50 * (answer.Usage.Input + answer.Usage.Output)}.row("")[6]
	p.view("Overview")
	p.until("its spend is there", `rows("Totals by key")?.some((r) => r[0] === "carol" && r[1] === "1" && r[6] === `+quote(money)+`)`)
	p.press("carol")
	p.until("its page is open", `location.hash === "#/keys/carol"`)
	p.wantRows("Usage of the last 30 days by model", []string{"echo", "1"}, []string{"Total", "1"})
	p.until("what it has spent of its budget is there", `rows("Limits of carol")?.some((r) => r[0] === "$1,000.00/month" && r[2] === `+quote(money)+`)`)

	p.press("Edit")
	p.fill("Limits", "100 requests/minute")
	p.fill("Team", "")
	p.fill("Models", "echo")
	p.fill("Expires", "2099-12-31")
	p.press("Save")
	p.says("Key carol was changed.")
	p.until("it is changed", `/Team – Models echo/.test(text(document.querySelector("dl")).replace(/(Team|Models)/g, " $1 ").replace(/\s+/g, " ")) && text(document.querySelector("dl")).includes("2099-12-31")`)
	p.press("Disable")
	p.until("it is disabled", `text(document.querySelector(".badge.warn")) === "disabled"`)
	g.opens("a disabled key is refused", secret, http.StatusUnauthorized)
	p.press("Enable")
	g.opens("an enabled key is let in", secret, http.StatusOK)

	p.press("Rotate")
	p.fill("Grace", "0s")
	p.press("Rotate")
	rotated := p.secret()
	g.opens("the new secret is let in", rotated, http.StatusOK)
	g.opens("the old secret is refused", secret, http.StatusUnauthorized)

	p.press("Revoke")
	p.until("it asks first, and Cancel has the focus", `document.activeElement.textContent === "Cancel"`)
	p.press("Cancel")
	g.opens("what was not confirmed is not done", rotated, http.StatusOK)
	p.press("Revoke")
	p.until("it asks again", `scope().localName === "dialog"`)
	p.press("Revoke")
	p.says("Key carol was revoked.")
	g.opens("the revoked key is refused", rotated, http.StatusUnauthorized)
	p.until("it is revoked", `text(document.querySelector(".badge.bad")) === "revoked" && !named("Rotate")`)

	p.press("Delete")
	p.until("it asks first", `scope().localName === "dialog"`)
	p.press("Delete")
	p.until("the list is open", `location.hash === "#/keys"`)
	p.wantRows("Keys", []string{"fixed"})
	if strings.Contains(g.Logs.String(), secret) || strings.Contains(g.Logs.String(), rotated) {
		t.Error("a secret stands in the log")
	}
}

func TestASearchFindsKeysByIDAndTeam(t *testing.T) {
	g := startGate(t, runtimeKeys)
	p := open(t, g, desktop)
	p.login()
	p.view("Keys")
	for _, key := range [][2]string{{"dave", "search"}, {"erin", "research"}, {"frank", ""}} {
		p.press("New key")
		p.fill("Id", key[0])
		p.fill("Team", key[1])
		p.press("Create")
		p.secret()
	}
	p.wantRows("Keys", []string{"dave"}, []string{"erin"}, []string{"fixed"}, []string{"frank"})
	p.fill("Search keys", "SEARCH")
	p.wantRows("Keys", []string{"dave"}, []string{"erin"})
	p.fill("Search keys", "fra")
	p.wantRows("Keys", []string{"frank"})
	p.fill("Search keys", "nobody")
	p.says("No key has this in its id or team.")
}

// Somebody else's change is not overwritten unseen.
func TestAChangeMeanwhileIsTold(t *testing.T) {
	g := startGate(t, runtimeKeys)
	p := open(t, g, desktop)
	p.login()
	p.view("Keys")
	p.press("New key")
	p.fill("Id", "grace")
	p.press("Create")
	p.secret()
	p.press("grace")
	p.loaded()
	p.press("Edit")
	p.fill("Team", "mine")
	g.operate(http.MethodPatch, "keys/grace", `{"team":"theirs"}`)
	p.refusals = true
	p.press("Save")
	p.says("Somebody else has changed this meanwhile.")
	p.press("Cancel")
	p.until("the page shows what it is now", `text(document.querySelector("dl")).includes("theirs")`)
}

func TestTeamsAreMadeChangedAndDeleted(t *testing.T) {
	g := startGate(t, runtimeKeys)
	p := open(t, g, desktop)
	p.login()
	p.view("Teams")
	p.press("New team")
	p.fill("Id", "search")
	p.fill("Limits", "10 requests/day")
	p.press("Create")
	p.wantRows("Teams", []string{"search", "10 requests/day", "all"})
	p.press("Edit search")
	p.fill("Models", "echo gpt-*")
	p.press("Save")
	p.wantRows("Teams", []string{"search", "10 requests/day", "echo, gpt-*"})
	p.press("State")
	p.until("its limits are open", `location.hash.startsWith("#/limits?scope=team&id=search")`)
	p.view("Teams")
	p.press("Delete search")
	p.until("it asks first", `scope().localName === "dialog"`)
	p.press("Delete")
	p.says("No team was made at runtime.")
}
