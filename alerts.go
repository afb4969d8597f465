package pinegate

import (
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/handlers"
	"github.com/amanycodes/pine-gate/internal/alerts"
)

// alerts is what is told of quotas of the gate's requests, nil where nothing is.
func (h *Handler) alerts(app *App) *handlers.Alerts {
	if len(h.Alert) == 0 {
		return nil
	}
	percents := slices.Sorted(slices.Values(h.Alert))
	return &handlers.Alerts{Percents: percents, Budgets: &app.state.budgets, Webhook: app.state.webhook}
}

// How long alerts that wait for the webhook may take when the state is closed: when
// the process exits, and when it goes on without it.
const (
	exitAlerts  = 2 * time.Second
	closeAlerts = 30 * time.Second
)

// closeWebhook sends what waits and holds up nothing but an exit.
func (s *state) closeWebhook() {
	if caddy.Exiting() {
		s.webhook.Close(exitAlerts)
		return
	}
	go s.webhook.Close(closeAlerts)
}

// configureWebhook says where alerts go. It must be called with s.mu held.
func (s *state) configureWebhook(app *App) {
	if app.Webhook == nil {
		s.webhook.Configure(nil)
		return
	}
	s.webhook.Configure(app.Webhook.Target)
}

// reportAlert tells what became of an alert that was to be sent.
func (s *state) reportAlert(a alerts.Alert, outcome alerts.Outcome, reason error) {
	if h := s.health.Load(); h != nil {
		h.metrics.Webhook(string(outcome))
	}
	logger := caddy.Log().Named("pinegate")
	fields := []zap.Field{zap.String("alert_id", a.ID()), zap.String("outcome", string(outcome)), zap.Error(reason)}
	switch outcome {
	case alerts.Delivered:
	case alerts.Retried:
		logger.Warn("an alert did not reach the webhook, and is sent again", fields...)
	default:
		logger.Error("an alert did not reach the webhook", fields...)
	}
}
