package browser

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// control1 asks the control API with the admin key.
func (g *gate) operate(method, path, body string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.control+"/pinegate/"+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+adminKey)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		g.t.Fatalf("%s %s: %d", method, path, res.StatusCode)
	}
}

func TestTheStateOfLimitsBackendsRequestsAndRejections(t *testing.T) {
	if chromium == nil {
		t.Skip(howToInstall)
	}
	var release sync.Once
	held := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-held:
		case <-r.Context().Done():
		}
		http.Error(w, `{"error":{"message":"no"}}`, http.StatusInternalServerError)
	}))
	t.Cleanup(slow.Close)
	t.Cleanup(func() { release.Do(func() { close(held) }) })
	g := startGate(t, `
		key alice {env.KEY_ALICE} {
			team search
			limit 4 requests/day
			limit 2 concurrent
		}
		key bob {env.KEY_BOB} {
			limit 1 requests/hour
		}
		team search {
			limit 100 usd/month
		}
		model echo {
			price input 500000 output 500000
		}
		model slow {
			price input 1 output 1
		}
		backend demo {
			api echo
			models echo
		}
		backend slow `+slow.URL+` {
			models slow
			max_inflight 4
		}`)
	_, answer := g.chat(aliceKey, "echo", "Hello there")
	money := used{cents: 50 * (answer.Usage.Input + answer.Usage.Output)}.row("")[6]
	for range 3 {
		g.chat(bobKey, "echo", "Hello there") // one of them passes
	}
	g.chat("a-key-that-nobody-has-been-given", "echo", "x")
	var asking sync.WaitGroup
	asking.Go(func() { g.chat(aliceKey, "slow", "never answered") })
	defer asking.Wait()
	defer release.Do(func() { close(held) })

	p := open(t, g, desktop)
	p.login()
	p.view("Requests")
	p.until("the request in flight is there", `rows("Requests in flight")?.some((r) => r[3] === "alice of search" && r[4] === "chat" && r[5] === "slow" && r[6] === "slow")`)

	p.view("Limits")
	p.until("each limit is there, with what is taken and what remains", `(() => {
		const all = rows("Limits and quotas");
		const has = (...want) => all?.some((r) => want.every((w, i) => w === null || r[i] === w));
		return has("key alice", "4 requests/day", "50 %", "1", "1", "2") && has("key alice", "2 concurrent", "50 %", null, null, "1") &&
			has("key bob", "1 requests/hour", "100 %", null, null, "0") && has("team search", "$100.00/month", null, `+quote(money)+`);
	})()`)
	p.until("a bar says what it means", `[...document.querySelectorAll('[role="meter"]')].some((m) => m.getAttribute("aria-valuenow") === "50" && m.ariaLabel === "50 % in use" && m.firstChild.getBoundingClientRect().width > 10)`)
	p.press("Team")
	p.until("the scope is chosen", `rows("Limits and quotas")?.length === 1 && rows("Limits and quotas")[0][0] === "team search"`)
	p.press("Key")
	p.fill("Id, exactly", "bob")
	p.press("Key") // leaving the field is what sends it
	p.until("the id is chosen", `(document.activeElement.blur(), rows("Limits and quotas")?.length === 1 && rows("Limits and quotas")[0][0] === "key bob")`)

	p.view("Backends")
	p.until("both backends are there", `(() => {
		const all = rows("Backends") ?? [];
		const [demo, slow] = ["demo", "slow"].map((name) => all.find((r) => r[0].startsWith(name)));
		return demo && slow && demo[1] === "up" && demo[2] === "0" && Number(demo[5]) >= 2 && slow[2] === "1 of 4" && slow[8] === "slow";
	})()`)

	p.view("Rejections")
	p.until("what was refused is there", `(() => {
		const all = rows("Rejections by reason") ?? [];
		return all.some((r) => r[0] === "rate limit" && r[2] === "2") && all.some((r) => r[0] === "unauthenticated" && r[2] === "1");
	})()`)

	release.Do(func() { close(held) })
	p.view("Requests")
	p.says("No request is in flight.")
	p.view("Backends")
	p.until("the failure is there", `(rows("Backends") ?? []).some((r) => r[0].startsWith("slow") && /^[1-9]/.test(r[6]))`)
}

func TestAGateThatIsAwayIsShownAndComesBack(t *testing.T) {
	g := startGate(t, echo)
	p := open(t, g, desktop)
	p.refusals = true
	p.login()
	p.view("Backends")
	g.kill()
	p.says("The gate does not answer.")
	p.until("the head says so, too", `text(document.getElementById("state")) === "away"`)
	p.view("Keys") // another view tries again by itself as well
	g.start()
	p.wantRows("Keys", []string{"alice"}, []string{"bob"})
	p.until("all is well", `text(document.getElementById("problem")) === "" && text(document.getElementById("state")).startsWith("up")`)
}
