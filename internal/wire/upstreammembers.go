package wire

import (
	"bytes"
	"encoding/json"
)

// maxUpstreamMembers is the most bytes of further members that an error keeps.
const maxUpstreamMembers = 8 << 10

// upstreamMembers holds the names of the further members of an error that agents act
// on: Anthropic's details, Azure's innererror with the results of its content filter,
// and what OpenRouter's moderation flagged.
var upstreamMembers = []string{"details", "error_code", "innererror", "reasons", "metadata"}

// metadataMembers holds the members of metadata that are kept.
var metadataMembers = []string{"flagged_input", "provider_name", "reasons"}

// appendUpstreamMembers appends the further members of the error object raw, each
// after a comma. It omits what holds a secret and what exceeds maxUpstreamMembers.
func appendUpstreamMembers(b []byte, raw json.RawMessage, secrets []string) []byte {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var object map[string]any
	if decoder.Decode(&object) != nil {
		return b
	}
	for _, name := range upstreamMembers {
		value := object[name]
		if name == "metadata" {
			value = keepMembers(value, metadataMembers)
		}
		if value == nil || valueHoldsSecret(value, secrets) {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil || len(b)+len(name)+len(text)+len(`,"":`) > maxUpstreamMembers {
			continue
		}
		b = append(AppendString(append(b, ','), name), ':')
		b = append(b, text...)
	}
	return b
}

// keepMembers returns the object with these members only, or nil if value is no object
// or has none of them.
func keepMembers(value any, names []string) any {
	object, _ := value.(map[string]any)
	kept := make(map[string]any)
	for _, name := range names {
		if member := object[name]; member != nil {
			kept[name] = member
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// valueHoldsSecret reports whether a name or text within a JSON value contains one of
// the secrets.
func valueHoldsSecret(value any, secrets []string) bool {
	switch value := value.(type) {
	case string:
		return HoldsSecret(value, secrets)
	case json.Number:
		return HoldsSecret(value.String(), secrets)
	case []any:
		for _, element := range value {
			if valueHoldsSecret(element, secrets) {
				return true
			}
		}
	case map[string]any:
		for name, member := range value {
			if HoldsSecret(name, secrets) || valueHoldsSecret(member, secrets) {
				return true
			}
		}
	}
	return false
}
