package browser

import (
	"testing"

	"github.com/chromedp/chromedp"
)

func TestNumbersMoneyAndTimesAreShortAndTrue(t *testing.T) {
	p := open(t, startGate(t, echo), desktop)
	for expression, want := range map[string]string{
		`short(null)`: "–", `short(0)`: "0", `short(9999)`: "9,999", `short(10000)`: "10 k", `short(12345)`: "12.3 k",
		`short(999949)`: "1 M", `short(1200000)`: "1.2 M", `short(3456789012)`: "3.46 G", `short(2.5e13)`: "25 T",
		`count(1234567).title`: "1,234,567",
		`money(null)`:          "–", `money(0)`: "$0.00", `money(0.000018)`: "$0.000018", `money(0.3)`: "$0.30", `money(0.01234)`: "$0.0123",
		`money(0.996)`: "$0.996", `money(1)`: "$1.00", `money(1234.567)`: "$1,234.57", `money(2500000)`: "$2.5 M",
		`amount(199930, "tokens").title`: "199,930", `amount(0.0001234567, "usd").title`: "$0.0001234567",
		`duration(null)`: "–", `duration(0)`: "0 ms", `duration(0.0002)`: "< 1 ms", `duration(0.41)`: "410 ms", `duration(3.1)`: "3.10 s",
		`duration(59.7)`: "1 min", `duration(93)`: "1 min 33 s", `duration(7260)`: "2 h 1 min", `duration(3 * 86400 + 30)`: "3 d",
		`percent(0, 0)`: "0 %", `percent(1, 3)`: "33 %", `percent(1, 100)`: "1 %", `percent(1, 10000)`: "< 0.1 %", `percent(5, 5)`: "100 %",
		`time(1767225600).title`: "2026-01-01 00:00:00 UTC", `time("2026-01-01T00:00:00Z").dateTime`: "2026-01-01T00:00:00.000Z",
		`time(null)`: "–", `until(Date.now() / 1000 - 5).textContent`: "now", `until(Date.now() / 1000 + 7199.5).textContent`: "in 2 h",
	} {
		got, err := chromedp.Run(p.ctx, chromedp.Evaluate[string](
			`import("/dashboard/format.js").then(({ short, count, money, amount, duration, percent, time, until }) => `+expression+`)`, chromedp.EvalAwaitPromise))
		if err != nil || got != want {
			t.Errorf("%s is %q, want %q (%v)", expression, got, want, err)
		}
	}
}
