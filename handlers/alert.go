package handlers

import (
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/alerts"
	"github.com/amanycodes/pine-gate/limiter"
)

// Alerts says which percentages of quotas and budgets are told of, and to whom beside the log and the
// metrics.
type Alerts struct {
	Percents []int
	Budgets  *alerts.Budgets // outlives the configuration
	Webhook  *alerts.Webhook // outlives it, too
}

// noteUsed tells of quotas that pass a percentage by what a request was charged: nil for one that was
// refused, which may show what other gates have used. A charge is noted before it is settled.
func (c *call) noteUsed(states []limiter.State, charged *limiter.Usage) {
	if c.g.Alerts == nil {
		return
	}
	for i := range states {
		amount := int64(0)
		if charged != nil {
			amount = charged.Charge(states[i].Rule.Limit.Unit)
		}
		for _, alert := range c.g.Alerts.Budgets.Note(states[i], amount, c.g.Alerts.Percents) {
			c.tell(alert)
		}
	}
}

// noteCharge is noteUsed of a request that is about to be settled.
func (c *call) noteCharge(charged *limiter.Usage) {
	if c.g.Alerts == nil {
		return
	}
	states := c.answer.states
	if c.answer.attempts > 1 { // another backend has limits of its own
		states = c.reservation.States()
	}
	c.noteUsed(states, charged)
}

func (c *call) tell(a alerts.Alert) {
	limit := a.Rule.Limit
	scope, unit, window := a.Rule.Kind.String(), limit.Unit.String(), limit.Window.String()
	id := a.Rule.ID
	if c.g.HideModels && a.Rule.Kind == limiter.ScopeModel {
		id = "*"
	}
	c.g.Logger.Warn("a part of a quota or budget is used",
		zap.String("scope", scope), zap.String("id", id), zap.String("unit", unit), zap.String("window", window),
		zap.Int("percent", a.Percent),
		zap.String("used", alerts.Amount(limit.Unit, a.Used)), zap.String("limit", alerts.Amount(limit.Unit, a.Limit)),
		zap.Time("window_start", a.Since), zap.Time("reset_at", a.Until), zap.String("alert_id", a.ID()))
	c.g.Metrics.Alerted(scope, unit, window, a.Percent)
	c.g.Alerts.Webhook.Send(a)
}
