package limiter

import (
	"fmt"
	"strconv"
	"time"
)

// Message returns the message for a caller who asked for model: why the request was refused and when
// to retry. It names the scope, never a team, backend or other key, and discloses no figures of the
// backends. For rates it is the sentence that clients parse for the time to wait, in seconds or
// milliseconds: "Please try again in 1.2s."
func (r *Refusal) Message(model string) string {
	switch {
	case r.TooLarge:
		return r.tooLargeMessage(model)
	case r.Rule.Limit.Unit == Concurrent:
		return r.concurrentMessage(model)
	case r.Rule.Limit.Window.Quota():
		return r.quotaMessage(model)
	default:
		return r.rateMessage(model)
	}
}

// rateMessage returns the message in OpenAI's wording. For a limit that others share, a sentence that
// says so follows at the end, where no client's pattern matches.
func (r *Refusal) rateMessage(model string) string {
	again := " Please try again in " + formatWait(r.RetryAfter) + "."
	head := "Rate limit reached for " + model + " on " + rateWords(r.Rule.Limit)
	if r.Rule.Kind == ScopeBackend {
		return head + ": the backend capacity, shared by all callers, is used up." + again
	}
	return head + ": " + r.figures() + "." + again + sharedBy(r.Rule.Kind)
}

func (r *Refusal) tooLargeMessage(model string) string {
	limit := r.Rule.Limit
	words := rateWords(limit)
	if limit.Window.Quota() {
		words = quotaWords(limit)
	}
	head := "Request too large for " + model + " on " + words
	if r.Rule.Kind == ScopeBackend {
		return head + ": it is more than the backend capacity. Send a shorter input."
	}
	return fmt.Sprintf("%s: Limit %s, Requested %s. Send a shorter input.%s",
		head, r.amount(r.Limit), r.amount(r.Requested), sharedBy(r.Rule.Kind))
}

func (r *Refusal) concurrentMessage(model string) string {
	again := " Please try again in " + formatWait(r.RetryAfter) + "."
	if r.Rule.Kind == ScopeBackend {
		return "Too many requests in flight for " + model + ": the backend capacity, shared by all callers, is in use." + again
	}
	return fmt.Sprintf("Too many requests in flight for %s: Limit %d for %s.%s", model, r.Limit, scopeWords(r.Rule.Kind), again)
}

func (r *Refusal) quotaMessage(model string) string {
	words := quotaWords(r.Rule.Limit)
	when := " It renews " + renewal(r.Rule.Limit.Window) + "."
	if r.Reserved {
		when = " Please try again in " + formatWait(r.RetryAfter) + "."
	}
	switch {
	case r.Rule.Kind == ScopeBackend && r.Reserved:
		return "The " + words + " of the backend capacity for " + model + ", shared by all callers, is held by requests in flight." + when
	case r.Rule.Kind == ScopeBackend:
		return "The " + words + " of the backend capacity for " + model + ", shared by all callers, is used up." + when
	case r.Reserved:
		return "What is left of the " + words + " of " + scopeWords(r.Rule.Kind) + " is held by requests in flight: " + r.figures() + "." + when
	case r.Rule.Kind == ScopeTeam:
		return "You exceeded your team's " + words + ": " + r.figures() + "." + when
	case r.Rule.Kind == ScopeModel:
		return "You exceeded the " + words + " of this model, shared by all callers: " + r.figures() + "." + when
	default:
		return "You exceeded your " + words + ": " + r.figures() + "." + when
	}
}

// figures returns the numbers of a refusal in the form that clients expect.
func (r *Refusal) figures() string {
	return fmt.Sprintf("Limit %s, Used %s, Requested %s", r.amount(r.Limit), r.amount(r.Used), r.amount(r.Requested))
}

// amount formats n in the rule's unit.
func (r *Refusal) amount(n int64) string {
	if r.Rule.Limit.Unit == USD {
		return "$" + FormatUSD(n)
	}
	return strconv.FormatInt(n, 10)
}

// rateWords returns the name of a rate with the providers' abbreviation.
func rateWords(l Limit) string {
	words, letters := l.Unit.row().rate, l.Unit.row().letter
	switch l.Window {
	case Second:
		return words + " per sec (" + letters + "PS)"
	case Hour:
		return words + " per hour (" + letters + "PH)"
	default:
		return words + " per min (" + letters + "PM)"
	}
}

// quotaWords returns the name of a quota, such as "monthly token quota" or "daily budget".
func quotaWords(l Limit) string {
	often := map[Window]string{Day: "daily", Week: "weekly", Month: "monthly"}[l.Window]
	return often + " " + l.Unit.row().quota
}

func renewal(w Window) string {
	switch w {
	case Day:
		return "at 00:00 UTC"
	case Week:
		return "on Monday at 00:00 UTC"
	default:
		return "on the first of next month at 00:00 UTC"
	}
}

// scopeWords returns the name of a scope in messages to callers.
func scopeWords(k ScopeKind) string {
	switch k {
	case ScopeTeam:
		return "your team"
	case ScopeModel:
		return "this model"
	case ScopeBackend:
		return "the backend capacity"
	default:
		return "this key"
	}
}

// sharedBy returns a sentence, with a leading space, on who shares the limit; "" for a key's limit.
func sharedBy(k ScopeKind) string {
	switch k {
	case ScopeTeam:
		return " This limit is shared by your team."
	case ScopeModel:
		return " This limit of this model is shared by all callers."
	default:
		return ""
	}
}

// formatWait formats a wait as one number of seconds or milliseconds, rounded up to the next
// millisecond: the pattern in clients matches neither minutes nor two units.
func formatWait(d time.Duration) string {
	ms := d.Milliseconds()
	if d%time.Millisecond > 0 {
		ms++
	}
	switch {
	case ms < 1:
		return "1ms"
	case ms < 1000:
		return strconv.FormatInt(ms, 10) + "ms"
	case ms%1000 == 0:
		return strconv.FormatInt(ms/1000, 10) + "s"
	default:
		return strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64) + "s"
	}
}
