// Package decimal parses and formats decimal numbers as integers of a small
// unit. It avoids float64, which represents few decimals exactly.
package decimal

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrTooLarge is wrapped by ParseNumber's error for a number that does not fit.
var ErrTooLarge = errors.New("too large")

// Append appends n / 10^digits to b, without trailing zeros.
func Append(b []byte, n int64, digits int) []byte {
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

// Parse parses a plain decimal number, such as 2.50, that is not negative and
// has at most digits digits after the point. It returns the number times
// 10^digits.
func Parse(text string, digits int) (int64, error) {
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

// ParseNumber parses a JSON number that is not negative, and returns it times
// 10^digits, rounded half up. The error wraps ErrTooLarge if the result does
// not fit.
func ParseNumber(text string, digits int) (int64, error) {
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
	// The position of the point in the result, counted in digits from the left.
	point := len(all) - len(fraction) + exponent + digits
	switch {
	case all == "" || point < 0:
		return 0, nil
	case point > 18: // 10^18 fits
		return 0, fmt.Errorf("%s is %w", text, ErrTooLarge)
	case point >= len(all):
		return strconv.ParseInt(all+strings.Repeat("0", point-len(all)), 10, 64)
	}
	n, err := strconv.ParseInt("0"+all[:point], 10, 64)
	if err == nil && all[point] >= '5' {
		n++
	}
	return n, err
}
