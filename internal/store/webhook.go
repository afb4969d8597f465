package store

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/alerts"
)

// How long pending alerts may take when the state is closed: when the process
// exits, and when it goes on without the state.
const (
	exitAlerts  = 2 * time.Second
	closeAlerts = 30 * time.Second
)

// closeWebhook sends the pending alerts. It blocks only if the process exits.
func (s *localState) closeWebhook() {
	if caddy.Exiting() {
		s.webhook.Close(exitAlerts)
		return
	}
	go s.webhook.Close(closeAlerts)
}

// configureWebhook sets the target of alerts. s.mu must be held.
func (s *localState) configureWebhook(c *Config) {
	if c.Webhook == nil {
		s.webhook.Configure(nil)
		return
	}
	s.webhook.Configure(c.Webhook.Target)
}

// reportAlert counts and logs the outcome of sending an alert.
func (s *localState) reportAlert(a alerts.Alert, outcome alerts.Outcome, reason error) {
	if m := s.metrics.Load(); m != nil {
		m.Webhook(string(outcome))
	}
	logger := gateLog()
	fields := []zap.Field{zap.String("alert_id", a.ID()), zap.String("outcome", string(outcome)), zap.Error(reason)}
	switch outcome {
	case alerts.Delivered:
	case alerts.Retried:
		logger.Warn("alert not delivered to the webhook, retrying", fields...)
	default:
		logger.Error("alert not delivered to the webhook", fields...)
	}
}
