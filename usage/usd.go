package usage

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// USD is an amount in nano-USD: 1 USD is 1,000,000,000. Its text and its JSON
// form are exact decimals in USD, such as 0.000125.
type USD int64

const nano = 1_000_000_000

// String is the amount in USD with as many digits as it takes.
func (u USD) String() string { return string(u.append(nil)) }

// MarshalJSON is a JSON number in USD, without an exponent.
func (u USD) MarshalJSON() ([]byte, error) { return u.append(nil), nil }

// UnmarshalJSON reads what MarshalJSON writes.
func (u *USD) UnmarshalJSON(b []byte) error {
	text, negative := strings.CutPrefix(string(b), "-")
	n, err := parseDecimal(text, 9)
	if err != nil {
		return fmt.Errorf("reading an amount in USD: %w", err)
	}
	if negative {
		n = -n
	}
	*u = USD(n)
	return nil
}

func (u USD) append(b []byte) []byte { return appendDecimal(b, int64(u), 9) }

// appendDecimal appends n / 10^digits without trailing zeros.
func appendDecimal(b []byte, n int64, digits int) []byte {
	magnitude := uint64(n)
	if n < 0 {
		b = append(b, '-')
		magnitude = -magnitude
	}
	unit := uint64(1)
	for range digits {
		unit *= 10
	}
	b = strconv.AppendUint(b, magnitude/unit, 10)
	fraction := magnitude % unit
	if fraction == 0 {
		return b
	}
	b = append(b, '.')
	for fraction > 0 {
		unit /= 10
		b = append(b, '0'+byte(fraction/unit))
		fraction %= unit
	}
	return b
}

// parseDecimal reads a plain decimal that is not negative and has at most so
// many digits behind the point, and returns it times 10^digits.
func parseDecimal(text string, digits int) (int64, error) {
	whole, fraction, point := strings.Cut(text, ".")
	if whole == "" || point && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a decimal number such as 2.50", text)
	}
	trimmed := strings.TrimRight(fraction, "0")
	if len(trimmed) > digits {
		return 0, fmt.Errorf("%q has more than %d digits behind the point", text, digits)
	}
	n, err := strconv.ParseInt(whole+trimmed+strings.Repeat("0", digits-len(trimmed)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is too large", text)
	}
	return n, nil
}

var errTooLarge = errors.New("too large")

// parseNumber reads a JSON number that is not negative, and returns it times
// 10^digits, rounded half up. It goes by the digits as they stand and not by
// way of a float64, which holds few decimals exactly.
func parseNumber(text string, digits int) (int64, error) {
	if strings.HasPrefix(text, "-") {
		return 0, fmt.Errorf("%s is negative", text)
	}
	exponent, mantissa := 0, text
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		var err error
		if exponent, err = strconv.Atoi(text[i+1:]); err != nil {
			return 0, fmt.Errorf("%q is not a number", text)
		}
		mantissa = text[:i]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, fmt.Errorf("%q is not a number", text)
	}
	all := strings.TrimLeft(whole+fraction, "0")
	// Where the point stands in the result, counted in digits from the left.
	point := len(all) - len(fraction) + exponent + digits
	switch {
	case all == "" || point < 0:
		return 0, nil
	case point > 18: // 10^18 fits
		return 0, fmt.Errorf("%s is %w", text, errTooLarge)
	case point >= len(all):
		return strconv.ParseInt(all+strings.Repeat("0", point-len(all)), 10, 64)
	}
	n, err := strconv.ParseInt("0"+all[:point], 10, 64)
	if err == nil && all[point] >= '5' {
		n++
	}
	return n, err
}

// ParseCost reads the cost of one answer as a backend says it, a JSON number in
// USD, as nano-USD rounded half up. More than a million USD is cut down to
// that; then sane is false, and so it is for what is no cost at all, which is 0.
func ParseCost(text string) (nanoUSD int64, sane bool) {
	n, err := parseNumber(text, 9)
	switch {
	case errors.Is(err, errTooLarge) || n > MaxCost:
		return MaxCost, false
	case err != nil:
		return 0, false
	}
	return n, true
}
