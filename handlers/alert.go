package handlers

import (
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/alerts"
	"github.com/amanycodes/pine-gate/limiter"
)

// Alerts configures the alerts on quotas and budgets.
type Alerts struct {
	Percents []int           // of a limit, each of which raises an alert when it is passed
	Budgets  *alerts.Budgets // outlives the configuration
	Webhook  *alerts.Webhook // outlives the configuration
}

// alert sends an alert for each quota that passes a percentage by the charge of
// the request. charged is nil for a request that was refused: its states may
// show the usage of other gates.
func (q *request) alert(states []limiter.State, charged *limiter.Usage) {
	if q.g.Alerts == nil {
		return
	}
	for i := range states {
		amount := int64(0)
		if charged != nil {
			amount = charged.Charge(states[i].Rule.Limit.Unit)
		}
		for _, alert := range q.g.Alerts.Budgets.Note(states[i], amount, q.g.Alerts.Percents) {
			q.sendAlert(alert)
		}
	}
}

// alertOn sends the alerts of a request that is about to be settled.
func (s *settlement) alertOn(charged *limiter.Usage) {
	if s.g.Alerts == nil {
		return
	}
	states := s.states
	if s.attempts > 1 { // another backend has limits of its own
		states = s.reservation.States()
	}
	s.alert(states, charged)
}

// sendAlert writes an alert to the log and the metrics, and sends it to the
// webhook.
func (q *request) sendAlert(a alerts.Alert) {
	limit := a.Rule.Limit
	scope, unit, window := a.Rule.Kind.String(), limit.Unit.String(), limit.Window.String()
	id := a.Rule.ID
	if q.g.HideModels && a.Rule.Kind == limiter.ScopeModel {
		id = "*"
	}
	q.g.Logger.Warn("quota or budget partly used",
		zap.String("scope", scope), zap.String("id", id), zap.String("unit", unit), zap.String("window", window),
		zap.Int("percent", a.Percent),
		zap.String("used", alerts.Amount(limit.Unit, a.Used)), zap.String("limit", alerts.Amount(limit.Unit, a.Limit)),
		zap.Time("window_start", a.Since), zap.Time("reset_at", a.Until), zap.String("alert_id", a.ID()))
	q.g.Metrics.Alerted(scope, unit, window, a.Percent)
	q.g.Alerts.Webhook.Send(a)
}
