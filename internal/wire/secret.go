package wire

import "strings"

// Carriers are the headers in which a credential travels, a caller's to the gate
// and the gate's to a backend: canonical, Authorization first, which holds it
// behind a scheme.
var Carriers = [...]string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key"}

// HoldsSecret reports whether a text holds one of the secrets. An empty one is
// none.
func HoldsSecret(text string, secrets []string) bool {
	for _, secret := range secrets {
		if secret != "" && strings.Contains(text, secret) {
			return true
		}
	}
	return false
}
