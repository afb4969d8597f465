package usage

import (
	"fmt"
	"strings"

	"github.com/amanycodes/pine-gate/usage/internal/decimal"
)

// USD is an amount in nano-USD: 1 USD is 1,000,000,000. Its text and its JSON
// form are exact decimals in USD, such as 0.000125.
type USD int64

// String returns the amount in USD with as many digits as needed.
func (u USD) String() string { return string(u.append(nil)) }

// MarshalJSON returns a JSON number in USD, without an exponent.
func (u USD) MarshalJSON() ([]byte, error) { return u.append(nil), nil }

// UnmarshalJSON parses what MarshalJSON returns.
func (u *USD) UnmarshalJSON(b []byte) error {
	text, negative := strings.CutPrefix(string(b), "-")
	n, err := decimal.Parse(text, 9)
	if err != nil {
		return fmt.Errorf("reading an amount in USD: %w", err)
	}
	if negative {
		n = -n
	}
	*u = USD(n)
	return nil
}

func (u USD) append(b []byte) []byte { return decimal.Append(b, int64(u), 9) }
