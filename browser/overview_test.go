package browser

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// used is what a group of records adds up to.
type used struct {
	requests, errors, input, output int
	cents                           int
}

func (u *used) add(v used) {
	u.requests += v.requests
	u.errors += v.errors
	u.input += v.input
	u.output += v.output
	u.cents += v.cents
}

// row is what the table of totals says of it, behind its name.
func (u used) row(name string) []string {
	money := "–"
	if u.cents > 0 {
		money = fmt.Sprintf("$%.2f", float64(u.cents)/100)
	}
	return []string{name, strconv.Itoa(u.requests), strconv.Itoa(u.errors), strconv.Itoa(u.input), "0", strconv.Itoa(u.output), money}
}

// recorded sends what makes known records and returns their sums by dimension
// and name.
func recorded(t *testing.T) (*gate, map[string]map[string]*used, used) {
	t.Helper()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":{"message":"no"}}`, http.StatusInternalServerError)
	}))
	t.Cleanup(broken.Close)
	// A token of the first model costs 20 cents, one of the second 10 and 30.
	g := startGate(t, `
		key alice {env.KEY_ALICE} {
			team search
		}
		key bob {env.KEY_BOB}
		model model-a {
			price input 200000 output 200000
		}
		model model-b {
			price input 100000 output 300000
		}
		backend first {
			api echo
			models model-a
		}
		backend second {
			api echo
			models model-b
		}
		backend broken `+broken.URL+` {
			models model-c
		}`)
	sums := map[string]map[string]*used{"Key": {}, "Team": {}, "Model": {}, "Backend": {}}
	var all used
	for _, r := range []struct {
		key, team, model, backend, secret, prompt string
		times, in, out                            int // cents a token
	}{
		{"alice", "search", "model-a", "first", aliceKey, "one two three", 3, 20, 20},
		{"bob", "no team", "model-b", "second", bobKey, "four five", 2, 10, 30},
		{"bob", "no team", "model-c", "broken", bobKey, "six", 1, 0, 0},
	} {
		for range r.times {
			status, answer := g.chat(r.secret, r.model, r.prompt)
			one := used{requests: 1, input: answer.Usage.Input, output: answer.Usage.Output}
			one.cents = one.input*r.in + one.output*r.out
			if r.backend == "broken" {
				one.errors = 1
			} else if status != http.StatusOK || one.input == 0 || one.output == 0 {
				t.Fatalf("%s of %s: %d, %+v", r.model, r.key, status, answer)
			}
			for dimension, name := range map[string]string{"Key": r.key, "Team": r.team, "Model": r.model, "Backend": r.backend} {
				if sums[dimension][name] == nil {
					sums[dimension][name] = new(used)
				}
				sums[dimension][name].add(one)
			}
			all.add(one)
		}
	}
	return g, sums, all
}

// drawn is what a chart shows: the sum of each group over time, and how many
// pixels have its colour.
const drawn = `((name) => {
	const { plot } = document.querySelector('[data-chart="' + name + '"]').chart;
	const canvas = plot.ctx.canvas;
	const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
	const count = (colour) => {
		const [r, g, b] = colour.match(/\d+/g).map(Number);
		let n = 0;
		for (let i = 0; i < pixels.length; i += 4) if (pixels[i] === r && pixels[i + 1] === g && pixels[i + 2] === b && pixels[i + 3] === 255) n++;
		return n;
	};
	const swatches = Object.fromEntries([...document.querySelectorAll("table.totals .swatch")].map((s) => [text(s.parentElement), getComputedStyle(s).backgroundColor]));
	// The last series is the lowest of the stack, and each sum holds those below.
	let below = 0;
	return plot.data.map((values, i) => ({ label: plot.series[i].label, sum: i && values.reduce((a, b) => a + b, 0) })).slice(1).reverse().map(({ label, sum }) => {
		const own = sum - below;
		below = sum;
		return { label, sum: Math.round(own * 1e6) / 1e6, pixels: count(swatches[label]) };
	});
})`

type group struct {
	Label  string  `json:"label"`
	Sum    float64 `json:"sum"`
	Pixels int     `json:"pixels"`
}

func TestChartsAndTablesShowWhatWasRecorded(t *testing.T) {
	if chromium == nil {
		t.Skip(howToInstall)
	}
	g, sums, all := recorded(t)
	p := open(t, g, desktop)
	p.login()
	p.loaded()
	for _, by := range []string{"Team", "Model", "Backend", "Key"} {
		p.press(by)
		ranked := ranking(sums[by])
		want := make([][]string, 0, len(ranked)+1)
		for _, name := range ranked {
			want = append(want, sums[by][name].row(name))
		}
		p.wantRows("Totals by "+strings.ToLower(by), append(want, all.row("Total"))...)
		for chart, of := range map[string]func(*used) float64{
			"spend":    func(u *used) float64 { return float64(u.cents) / 100 },
			"tokens":   func(u *used) float64 { return float64(u.input + u.output) },
			"requests": func(u *used) float64 { return float64(u.requests) },
			"errors":   func(u *used) float64 { return float64(u.errors) },
		} {
			var got []group
			eventually(t, chart+" is drawn by "+by, func() bool {
				var err error
				if got, err = evaluate[[]group](p, drawn+`(`+quote(chart)+`)`); err != nil || len(got) != len(ranked) {
					return false
				}
				for i, name := range ranked {
					sum := of(sums[by][name])
					if got[i].Label != name || got[i].Sum != sum || (got[i].Pixels > 0) != (sum > 0) {
						return false
					}
				}
				return true
			}, func() string { return fmt.Sprintf("%+v\nwant %v %+v", got, ranked, sums[by]) })
		}
	}
	p.says(fmt.Sprintf("$%.2f", float64(all.cents)/100))

	// The same figures as a table, for those who see no chart.
	p.press("Figures of requests over time")
	p.until("the figures of requests add up", fmt.Sprintf(`rows("Requests over time")?.flatMap((r) => r.slice(1)).reduce((a, b) => a + Number(b), 0) === %d`, all.requests))
	// Each range holds what was sent just now.
	for _, length := range []string{"1 h", "7 d", "30 d", "12 months"} {
		p.press(length)
		p.until("the view of "+length+" has loaded", `location.hash.includes("range=")`)
		want := make([][]string, 0, 3)
		for _, name := range ranking(sums["Key"]) {
			want = append(want, sums["Key"][name].row(name))
		}
		p.wantRows("Totals by key", append(want, all.row("Total"))...)
	}
	if problem := value[string](p, `text(document.getElementById("problem"))`); problem != "" {
		t.Error(problem)
	}
}

// ranking is the order of groups: the dearest first, then by tokens, requests
// and name.
func ranking(sums map[string]*used) []string {
	names := make([]string, 0, len(sums))
	for name := range sums {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		x, y := sums[a], sums[b]
		for _, d := range []int{y.cents - x.cents, y.input + y.output - x.input - x.output, y.requests - x.requests} {
			if d != 0 {
				return d
			}
		}
		return strings.Compare(a, b)
	})
	return names
}

func TestADashboardWithoutDataSaysSo(t *testing.T) {
	p := open(t, startGate(t, echo), desktop)
	p.login()
	for _, c := range [][2]string{
		{"Overview", "Nothing was used in this time."},
		{"Limits", "Nothing is limited."},
		{"Requests", "No request is in flight."},
		{"Rejections", "Nothing was refused since this gate started."},
		{"Teams", "No team was made at runtime."},
		{"Keys", "This gate takes no keys at runtime. Write keys store into the block pinegate"},
	} {
		p.view(c[0])
		p.says(c[1])
	}
	p.wantRows("Keys", []string{"alice", "active"}, []string{"bob", "active"})
	p.until("no key can be made", `!named("New key")`)
	p.press("alice")
	p.loaded()
	p.says("of the configuration: it is changed there")
}
