package wire

import "strings"

// Carriers are the canonical names of the headers that carry a credential, from a
// caller to the gate or from the gate to a backend. Authorization, which holds it
// after a scheme, is the first.
var Carriers = [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// HoldsSecret reports whether text contains one of the secrets. It ignores empty
// secrets.
func HoldsSecret(text string, secrets []string) bool {
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			return true
		}
	}
	return false
}
