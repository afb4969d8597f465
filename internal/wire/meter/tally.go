package meter

import "github.com/amanycodes/pine-gate/internal/wire"

// tally accumulates what the meter has read of an answer so far.
type tally struct {
	usage       usageFields
	model, id   string
	sequence    int64 // sequence_number of the last event that had one; -1 for none
	delivered   int64 // bytes of generated text
	unreported  int64 // bytes of generated text after the last usage
	written     *written
	bytes       int64 // of the body
	events      int64
	flagged     bool
	streamError bool
	complete    bool
	tier        wire.ServiceTier
	fast        bool // Anthropic's fast mode, which costs more in any tier
}

// closed records the payload of a complete value. It reports whether the totals
// are final: nothing that may follow changes them.
func (t *tally) closed(p *payload, e wire.Endpoint) (final bool) {
	if p.usage {
		t.covered() // includes text after the usage in the same value
	}
	if p.kind == kindSound { // the type may follow the delta
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
	// With continuous usage each chunk has usage and choices. Usage in a chunk
	// without choices is the last, unless text follows: some servers report the
	// usage of the prompt that way, or one for each choice.
	switch {
	case e.AsksUsage() && p.usage && !p.choices && t.delivered > 0:
		t.complete = true
	case p.text > 0 && e.AsksUsage():
		t.complete = false
	}
	return false
}

// covered records that reported usage covers all text so far.
func (t *tally) covered() {
	t.unreported = 0
	t.written.forget()
}

// result returns the tally as a Result.
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
