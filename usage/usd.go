package usage

import (
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
