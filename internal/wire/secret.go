package wire

import (
	"slices"
	"strings"
)

// KeyHeaders holds the canonical names of the headers in which backends take keys.
// Authorization, which holds a key after a scheme, is the first.
var KeyHeaders = func() (all []string) {
	for _, d := range dialects {
		all = append(all, d.KeyHeader)
	}
	for _, d := range dialects {
		if d.Azure.KeyHeader != "" {
			all = append(all, d.Azure.KeyHeader)
		}
	}
	return unique(all)
}()

// Carriers holds the canonical names of the headers that carry a credential, from a
// caller to the gate or from the gate to a backend. Authorization is the first.
var Carriers = unique(append(slices.Clip(KeyHeaders), "X-Goog-Api-Key"))

// unique returns names without repetitions, in the same order.
func unique(names []string) (all []string) {
	for _, name := range names {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

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
