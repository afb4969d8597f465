package meter

import "github.com/amanycodes/pine-gate/internal/wire"

// tally is what the meter knows of an answer so far.
type tally struct {
	usage       usageFields
	model, id   string
	sequence    int64 // of the last event that had one; -1 for none
	delivered   int64 // bytes of generated text
	unreported  int64 // those of them that came after the last usage
	written     *written
	bytes       int64 // of the body
	events      int64
	flagged     bool
	streamError bool
	complete    bool
	tier        wire.ServiceTier
	fast        bool // Anthropic's fast mode, which costs more whatever the tier
}

// closed takes note of a value that has ended. It reports whether the totals are
// final: nothing that may follow changes them.
func (t *tally) closed(p *payload, e wire.Endpoint) (final bool) {
	if p.usage {
		t.covered() // also text that stood behind it in the same value
	}
	if p.kind == kindSound { // which may be known only now
		t.delivered -= p.text
		t.unreported = max(0, t.unreported-p.text)
		t.written.takeBack()
	}
	if p.errored || p.kind == kindError || p.kind == kindFailed {
		t.streamError = true
	}
	switch {
	case p.done, p.kind == kindTerminal, p.kind == kindFailed:
		t.complete = true
		return true
	case p.kind == kindWhole:
		// More images may follow, each with the usage so far.
		t.complete = true
	}
	// With continuous usage there is usage beside each chunk's choices, and
	// the last word is spoken only by the chunk that has none; and not by one
	// before any text, by which a server says what the prompt came to.
	return e.AsksUsage() && p.usage && !p.choices && t.delivered > 0
}

// covered takes note that usage came which covers all text so far.
func (t *tally) covered() {
	t.unreported = 0
	t.written.forget()
}

// result brings the tally into the form that is handed out.
func (t *tally) result(e wire.Endpoint) Result {
	tokens, sane := t.usage.tokens(e)
	parts, soundParts := t.usage.parts(e, tokens)
	tier := t.tier
	if t.fast {
		tier = wire.TierOther
	}
	return Result{
		Tokens:      tokens,
		Parts:       parts,
		Tier:        tier,
		Reported:    t.usage.reported(e),
		Flagged:     t.flagged || !sane || !soundParts,
		Model:       t.model,
		ResponseID:  t.id,
		Complete:    t.complete,
		Delivered:   t.delivered,
		Unreported:  t.unreported,
		Bytes:       t.bytes,
		Events:      t.events,
		StreamError: t.streamError,
		Seconds:     t.usage.seconds,
		CostUSD:     string(t.usage.cost[:t.usage.costLen]),
	}
}
