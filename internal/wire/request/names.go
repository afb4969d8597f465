package request

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// field is a name that the gate reads in a body.
type field uint8

// The fields. Those from fieldMessages on are parts of the prompt.
const (
	fieldNone field = iota
	fieldModel
	fieldStream
	fieldStreamOptions
	fieldMaxTokens // the three caps are consecutive: they index Request.caps
	fieldMaxCompletionTokens
	fieldMaxOutputTokens
	fieldN
	fieldBestOf
	fieldBackground
	fieldPreviousResponseID
	fieldModels       // OpenRouter's
	fieldFallbacks    // OpenRouter's and Anthropic's
	fieldConversation // of responses
	fieldServiceTier
	fieldSpeed        // of messages
	fieldContainer    // of messages
	fieldIncludeUsage // in stream_options, like the next one
	fieldContinuousUsageStats
	fieldMessages
	fieldPrompt
	fieldInput
	fieldSystem
	fieldInstructions
	fieldTools
	fieldFunctions
	fieldSuffix
	fieldQuery
	fieldDocuments
	fieldResponseFormat
	fieldText
	fieldImage
	fieldImages
)

const _ = fieldSet(1) << fieldImages // must not overflow: a fieldSet has one bit per field

// fieldNames holds each field's name as the APIs spell it.
var fieldNames = [...]string{
	fieldModel:                "model",
	fieldStream:               "stream",
	fieldStreamOptions:        "stream_options",
	fieldMaxTokens:            "max_tokens",
	fieldMaxCompletionTokens:  "max_completion_tokens",
	fieldMaxOutputTokens:      "max_output_tokens",
	fieldN:                    "n",
	fieldBestOf:               "best_of",
	fieldBackground:           "background",
	fieldPreviousResponseID:   "previous_response_id",
	fieldModels:               "models",
	fieldFallbacks:            "fallbacks",
	fieldConversation:         "conversation",
	fieldServiceTier:          "service_tier",
	fieldSpeed:                "speed",
	fieldContainer:            "container",
	fieldIncludeUsage:         "include_usage",
	fieldContinuousUsageStats: "continuous_usage_stats",
	fieldMessages:             "messages",
	fieldPrompt:               "prompt",
	fieldInput:                "input",
	fieldSystem:               "system",
	fieldInstructions:         "instructions",
	fieldTools:                "tools",
	fieldFunctions:            "functions",
	fieldSuffix:               "suffix",
	fieldQuery:                "query",
	fieldDocuments:            "documents",
	fieldResponseFormat:       "response_format",
	fieldText:                 "text",
	fieldImage:                "image",
	fieldImages:               "images",
}

// String returns the field's path in a body, for Error.Param.
func (f field) String() string {
	switch f {
	case fieldIncludeUsage, fieldContinuousUsageStats:
		return fieldNames[fieldStreamOptions] + "." + fieldNames[f]
	}
	return fieldNames[f]
}

// object is one of the objects in which the gate reads fields.
type object uint8

const (
	objectBody object = iota
	objectStreamOptions
)

// field returns the field of the object with the given name.
func (o object) field(name []byte) field {
	if o == objectStreamOptions {
		return streamOption(name)
	}
	return topField(name)
}

// topField returns the field of the body's object with the given name.
func topField(name []byte) field {
	switch string(name) { // compiles to a binary search, without a copy or a hash
	case "model":
		return fieldModel
	case "stream":
		return fieldStream
	case "stream_options":
		return fieldStreamOptions
	case "max_tokens":
		return fieldMaxTokens
	case "max_completion_tokens":
		return fieldMaxCompletionTokens
	case "max_output_tokens":
		return fieldMaxOutputTokens
	case "n":
		return fieldN
	case "best_of":
		return fieldBestOf
	case "background":
		return fieldBackground
	case "previous_response_id":
		return fieldPreviousResponseID
	case "models":
		return fieldModels
	case "fallbacks":
		return fieldFallbacks
	case "conversation":
		return fieldConversation
	case "service_tier":
		return fieldServiceTier
	case "speed":
		return fieldSpeed
	case "container":
		return fieldContainer
	case "messages":
		return fieldMessages
	case "prompt":
		return fieldPrompt
	case "input":
		return fieldInput
	case "system":
		return fieldSystem
	case "instructions":
		return fieldInstructions
	case "tools":
		return fieldTools
	case "functions":
		return fieldFunctions
	case "suffix":
		return fieldSuffix
	case "query":
		return fieldQuery
	case "documents":
		return fieldDocuments
	case "response_format":
		return fieldResponseFormat
	case "text":
		return fieldText
	case "image":
		return fieldImage
	case "images":
		return fieldImages
	}
	return fieldNone
}

// streamOption returns the field of stream_options with the given name.
func streamOption(name []byte) field {
	switch string(name) {
	case "include_usage":
		return fieldIncludeUsage
	case "continuous_usage_stats":
		return fieldContinuousUsageStats
	}
	return fieldNone
}

// maxFieldBytes is the length of the longest name that is looked up.
const maxFieldBytes = len("continuous_usage_stats")

// lookUp returns the field of object o that matches quoted, a quoted JSON name in a
// dialect with the given names. exact reports whether the unescaped name is identical to the field's;
// otherwise only parsers that ignore case (Go's encoding/json, Jackson, .NET)
// would match it.
func lookUp(quoted []byte, o object, names wire.Names) (f field, exact bool) {
	name := quoted[1 : len(quoted)-1]
	if len(name) > maxFieldBytes*len(`\u0000`) {
		return fieldNone, false
	}
	var folded [maxFieldBytes]byte
	exact = true
	for i, c := range name {
		switch {
		case c == '\\' || c >= 0x80:
			return lookUpSlowly(quoted, o, names)
		case i >= maxFieldBytes:
			return fieldNone, false
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
			exact = false
		}
		folded[i] = c
	}
	return o.field(names.Known(folded[:min(len(name), maxFieldBytes)])), exact
}

// lookUpSlowly is lookUp for names with escapes or characters outside ASCII.
func lookUpSlowly(quoted []byte, o object, names wire.Names) (f field, exact bool) {
	name, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return fieldNone, false // unreachable: the decoder has validated it
	}
	folded, exact := foldName(string(name))
	return o.field(names.Known(folded)), exact
}

// foldName returns name in lower case, and reports whether it was so already. It
// covers Unicode's simple folding (strings.EqualFold), which folds the long s and
// the Kelvin sign to ASCII letters, and the two Turkish letters that Java folds
// to an i. It returns nil if no folding turns name into a field's name.
func foldName(name string) (folded []byte, exact bool) {
	exact = true
	for _, c := range name {
		lower := c
		switch {
		case 'A' <= c && c <= 'Z':
			lower = c + 'a' - 'A'
		case c == '\u017F':
			lower = 's'
		case c == '\u212A':
			lower = 'k'
		case c == '\u0130' || c == '\u0131':
			lower = 'i'
		case c >= 0x80:
			return nil, false
		}
		exact = exact && lower == c
		folded = append(folded, byte(lower))
	}
	return folded, exact
}
