package handlers

import (
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/amanycodes/pine-gate/internal/pattern"
	"github.com/amanycodes/pine-gate/internal/wire"
	"github.com/amanycodes/pine-gate/limiter"
	"github.com/amanycodes/pine-gate/usage"
)

// keyInfo is the answer to `GET /v1/key`: what a caller may see of its key.
type keyInfo struct {
	ID        string          `json:"id"`
	Team      *string         `json:"team"`
	Models    []string        `json:"models"` // patterns; null: every model
	ExpiresAt *time.Time      `json:"expires_at"`
	Limits    []limitInfo     `json:"limits"`
	Usage     map[string]sums `json:"usage"` // by `day` and `month`, in UTC; null while the shared store is unavailable
}

type limitInfo struct {
	Unit      string      `json:"unit"`
	Window    *string     `json:"window"` // null for concurrent
	Scope     string      `json:"scope"`  // key or team
	Limit     json.Number `json:"limit"`
	Remaining json.Number `json:"remaining"`
	ResetAt   *time.Time  `json:"reset_at"` // null for concurrent
}

type sums struct {
	Requests     int64      `json:"requests"`
	InputTokens  int64      `json:"input_tokens"`
	OutputTokens int64      `json:"output_tokens"`
	CostUSD      *usage.USD `json:"cost_usd"` // null where nothing has a price
}

// serveKey answers with the limits and the usage of the caller's own key.
func (q *request) serveKey() *wire.Error {
	shared := q.g.Shared
	shared.Acquire()
	defer shared.Release()

	ledger, refusal := ledgerOf(shared)
	if refusal != nil {
		return refusal
	}
	states, err := shared.Limiter().Peek(q.r.Context(), q.grants.rules)
	if err != nil {
		q.logLimiterError(err)
		return wire.Errorf(wire.KindOverloaded, "")
	}
	info := keyInfo{
		ID:     q.key.ID,
		Models: patternTexts(q.key.Models),
		Limits: make([]limitInfo, 0, len(states)),
		Usage:  make(map[string]sums, 2),
	}
	if q.key.Team != "" {
		info.Team = &q.key.Team
	}
	if !q.key.Expires.IsZero() {
		info.ExpiresAt = &q.key.Expires
	}
	for _, s := range states {
		info.Limits = append(info.Limits, newLimitInfo(s, q.start))
	}
	today := q.start.UTC().Truncate(24 * time.Hour)
	month := time.Date(today.Year(), today.Month(), 1, 0, 0, 0, 0, time.UTC)
	for name, since := range map[string]time.Time{"day": today, "month": month} {
		totals, err := ledger.Totals(q.r.Context(), q.key.ID, since)
		if errors.Is(err, usage.ErrUnavailable) {
			info.Usage = nil // the limits are shown nevertheless
			break
		}
		if err != nil {
			q.g.Logger.Error("reading usage failed", zap.Error(err))
			return wire.Errorf(wire.KindOverloaded, "")
		}
		info.Usage[name] = newSums(totals)
	}
	q.w.Header().Set("Content-Type", "application/json")
	q.w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(q.w).Encode(map[string]keyInfo{"data": info}) // the caller may be gone
	return nil
}

func newLimitInfo(s limiter.State, now time.Time) limitInfo {
	limit := s.Rule.Limit
	info := limitInfo{
		Unit:      limit.Unit.String(),
		Scope:     s.Rule.Kind.String(),
		Limit:     amount(limit.Unit, s.Limit),
		Remaining: amount(limit.Unit, s.Remaining),
	}
	if limit.Unit != limiter.Concurrent {
		window := limit.Window.String()
		reset := s.ResetAt(now)
		info.Window, info.ResetAt = &window, &reset
	}
	return info
}

// amount returns a count, or money in USD, as a JSON number.
func amount(unit limiter.Unit, n int64) json.Number {
	if unit == limiter.USD {
		return json.Number(limiter.FormatUSD(n))
	}
	return json.Number(strconv.FormatInt(n, 10))
}

func newSums(t usage.Totals) sums {
	s := sums{Requests: t.Requests, InputTokens: t.InputTokens, OutputTokens: t.OutputTokens}
	if t.Priced() {
		s.CostUSD = &t.Cost
	}
	return s
}

// patternTexts returns the patterns as written; nil for a nil list, which
// allows every model.
func patternTexts(list pattern.List) []string {
	if list == nil {
		return nil
	}
	texts := make([]string, 0, len(list))
	for _, p := range list {
		texts = append(texts, p.String())
	}
	return texts
}
