package limiter

import (
	"errors"
	"fmt"
	"strings"
)

const (
	limitForm  = "<n> <unit>[/<window>] [burst <n>], such as 60 requests/minute burst 10"
	windowList = "second, minute, hour, day, week or month (s, m, h, d, w, mo)"
	countForm  = "a whole number above zero, such as 60, 100k, 1.5M or 2G"
	usdForm    = "dollars above zero, such as 25 or 0.5"
)

// windowShort has the short words of the windows.
var windowShort = [...]string{"", "s", "m", "h", "d", "w", "mo"}

// ParseLimit parses a limit in the syntax of the configuration:
//
//	<n> <unit>[/<window>] [burst <n>]
//
// as in {"60", "requests/minute", "burst", "10"}, {"100k", "tokens/m"}, {"25", "usd/month"} or
// {"8", "concurrent"}. Counts may end in k, M or G (thousands, decimal) and have decimals where the
// result is whole; usd is in dollars, down to a nano-dollar. The error quotes the words and names
// the expected form.
func ParseLimit(words []string) (Limit, error) {
	l, err := parseLimit(words)
	if err != nil {
		return Limit{}, fmt.Errorf("limit %q: %w", strings.Join(words, " "), err)
	}
	return l, nil
}

// UnmarshalText parses the output of [Limit.MarshalText]: the words of [ParseLimit], separated by
// spaces.
func (l *Limit) UnmarshalText(text []byte) error {
	parsed, err := ParseLimit(strings.Fields(string(text)))
	if err != nil {
		return err
	}
	*l = parsed
	return nil
}

func parseLimit(words []string) (Limit, error) {
	var l Limit
	if len(words) < 2 {
		return l, errors.New("expected " + limitForm)
	}
	unit, window, slash := strings.Cut(words[1], "/")
	var err error
	if l.Unit, err = parseUnit(unit); err != nil {
		return l, err
	}
	if slash {
		if l.Unit.row().windows == noWindow {
			return l, fmt.Errorf("window %q: %s takes no window, it counts requests in flight", window, l.Unit)
		}
		if l.Window, err = parseWindow(window); err != nil {
			return l, err
		}
	}
	if l.Amount, err = parseAmount("amount", words[0], l.Unit); err != nil {
		return l, err
	}
	if l.Burst, err = parseBurst(words[2:], l); err != nil {
		return l, err
	}
	return l, l.check()
}

func parseUnit(word string) (Unit, error) {
	for u := range units {
		if word == units[u].name {
			return Unit(u), nil
		}
	}
	return 0, fmt.Errorf("unknown unit %q: expected %s", word, unitList())
}

func parseWindow(word string) (Window, error) {
	for w := Second; w <= Month; w++ {
		if word == windowNames[w] || word == windowShort[w] {
			return w, nil
		}
	}
	return 0, fmt.Errorf("unknown window %q: expected %s", word, windowList)
}

// parseBurst parses what follows the unit: nothing, or "burst <n>" if l is a rate.
func parseBurst(words []string, l Limit) (int64, error) {
	switch {
	case len(words) == 0:
		return 0, nil
	case words[0] != "burst":
		return 0, fmt.Errorf("unexpected %q: expected %s", words[0], limitForm)
	case l.Window.Quota() || l.Unit.row().windows == noWindow:
		return 0, errors.New("burst is for rates (second, minute or hour): a quota or concurrent limit takes none")
	case len(words) == 1:
		return 0, errors.New("burst: expected " + countForm)
	case len(words) > 2:
		return 0, fmt.Errorf("unexpected %q after the burst: expected %s", words[2], limitForm)
	}
	return parseAmount("burst", words[1], Requests)
}

// parseAmount parses a count, or for USD an amount of money. Errors call it what.
func parseAmount(what, word string, unit Unit) (int64, error) {
	form, scale := countForm, int64(1)
	if unit == USD {
		form, scale = usdForm, NanoUSD
	}
	number, ok := strings.CutSuffix(word, "G")
	if ok {
		scale *= 1_000_000_000
	} else if number, ok = strings.CutSuffix(word, "M"); ok {
		scale *= 1_000_000
	} else if number, ok = strings.CutSuffix(word, "k"); ok {
		scale *= 1000
	}
	whole, fraction, point := strings.Cut(number, ".")
	if whole == "" || !digits(whole) || point && (fraction == "" || !digits(fraction)) {
		return 0, fmt.Errorf("bad %s %q: expected %s", what, word, form)
	}

	// Add up the decimal digits exactly, one power of ten at a time: a float can't represent 0.1.
	var n int64
	for _, d := range whole {
		if n = n*10 + int64(d-'0'); n > MaxAmount/scale {
			return 0, tooLargeAmount(what, word, unit)
		}
	}
	n *= scale
	for _, d := range fraction {
		if scale%10 != 0 && d != '0' {
			return 0, fmt.Errorf("bad %s %q: too many decimals, expected %s", what, word, form)
		}
		scale /= 10
		n += int64(d-'0') * scale
	}
	if n > MaxAmount {
		return 0, tooLargeAmount(what, word, unit)
	}
	if n < 1 {
		return 0, fmt.Errorf("bad %s %q: expected %s", what, word, form)
	}
	return n, nil
}

func tooLargeAmount(what, word string, unit Unit) error {
	most := fmt.Sprint(MaxAmount)
	if unit == USD {
		most = FormatUSD(MaxAmount)
	}
	return fmt.Errorf("%s %q is too large: expected at most %s", what, word, most)
}

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// Validate reports an error if a limit that was not parsed is invalid, with the errors of [ParseLimit].
func (l Limit) Validate() error {
	if err := l.check(); err != nil {
		return fmt.Errorf("limit %q: %w", l.String(), err)
	}
	return nil
}

// check reports an error if the parts of a limit are invalid or do not fit together.
func (l Limit) check() error {
	windows := l.Unit.row().windows
	switch {
	case int(l.Unit) >= len(units):
		return fmt.Errorf("unknown unit %q: expected %s", l.Unit, unitList())
	case l.Window > Month:
		return fmt.Errorf("unknown window %q: expected %s", l.Window, windowList)
	case windows == noWindow && l.Window != NoWindow:
		return fmt.Errorf("%s takes no window, it counts requests in flight", l.Unit)
	case windows == quotaWindow && !l.Window.Quota():
		return fmt.Errorf("%[1]s needs a calendar window: expected %[1]s/day, %[1]s/week or %[1]s/month", l.Unit)
	case windows != noWindow && l.Window == NoWindow:
		return fmt.Errorf("missing window: expected %s/<window>, one of %s", l.Unit, windowList)
	case l.Amount < 1 || l.Amount > MaxAmount:
		return fmt.Errorf("amount %d: expected 1 to %d", l.Amount, MaxAmount)
	case l.Burst != 0 && !l.Window.Rate():
		return errors.New("burst is for rates (second, minute or hour): a quota or concurrent limit takes none")
	case l.Burst < 0 || l.Burst > MaxAmount:
		return fmt.Errorf("burst %d: expected 1 to %d", l.Burst, MaxAmount)
	}
	return nil
}
