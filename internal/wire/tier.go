package wire

// ServiceTier is how fast, and at what price, a request is served: what it asks
// for by `service_tier`, and what its answer says it got.
type ServiceTier uint8

// The service tiers.
const (
	TierUnsaid   ServiceTier = iota // nobody said, or left it to the account (`auto`)
	TierStandard                    // as the list price says; also capacity that was paid for before (`scale`)
	TierFlex                        // slower, for less
	TierBatch                       // much slower, for less
	TierPriority                    // faster, for more
	TierOther                       // one that the gate knows no price for
)

// ParseTier reads the words of OpenAI, Anthropic and Groq.
func ParseTier(word []byte) ServiceTier {
	switch string(word) {
	case "", "auto":
		return TierUnsaid
	case "default", "standard", "standard_only", "on_demand", "scale":
		return TierStandard
	case "flex":
		return TierFlex
	case "batch":
		return TierBatch
	case "priority":
		return TierPriority
	}
	return TierOther
}
