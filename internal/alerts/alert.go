package alerts

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// Alert reports that usage has reached a percentage of a quota or budget.
type Alert struct {
	Rule    *limiter.Rule
	Percent int   // the percentage that was reached
	Used    int64 // at the time of the alert, in the limit's unit (nano-USD for usd)
	Limit   int64 // the amount

	// Since and Until are the bounds of the quota's window, in UTC.
	Since, Until time.Time
}

// Type is the type of alerts in the body of a webhook.
const Type = "budget.threshold_reached"

// ID returns an id that is the same for the same percentage of the same quota in the same window, on
// all gates, so that receivers can drop duplicates.
func (a Alert) ID() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d %d", a.Rule.Name(), a.Limit, a.Percent, a.Since.Unix()))
	return "alert_" + hex.EncodeToString(sum[:16])
}

// MarshalJSON returns the body of the webhook: docs/alerts.md has an example. Money is in USD.
func (a Alert) MarshalJSON() ([]byte, error) {
	limit := a.Rule.Limit
	return json.Marshal(struct {
		Type    string      `json:"type"`
		Rule    string      `json:"rule"`
		Scope   string      `json:"scope"`
		ID      string      `json:"id"`
		Unit    string      `json:"unit"`
		Window  string      `json:"window"`
		Percent int         `json:"percent"`
		Used    json.Number `json:"used"`
		Limit   json.Number `json:"limit"`
		Since   time.Time   `json:"window_start"`
		Until   time.Time   `json:"reset_at"`
	}{
		Type, a.Rule.Name(), a.Rule.Kind.String(), a.Rule.ID, limit.Unit.String(), limit.Window.String(),
		a.Percent, json.Number(Amount(limit.Unit, a.Used)), json.Number(Amount(limit.Unit, a.Limit)), a.Since, a.Until,
	})
}

// Amount returns n of unit in human-readable form: money in USD.
func Amount(unit limiter.Unit, n int64) string {
	if unit == limiter.USD {
		return limiter.FormatUSD(n)
	}
	return strconv.FormatInt(n, 10)
}
