package wire

// ServiceTier is the speed and price class of a request: the one that the request
// asks for in `service_tier`, or the one that the answer reports.
type ServiceTier uint8

// The service tiers.
const (
	TierUnsaid   ServiceTier = iota // not set, or left to the account (`auto`)
	TierStandard                    // at the list price; also prepaid capacity (`scale`)
	TierFlex                        // slower and cheaper
	TierBatch                       // much slower and cheaper
	TierPriority                    // faster and more expensive
	TierOther                       // a tier without a known price
)

// ParseTier parses the service tiers of OpenAI, Anthropic and Groq.
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
