package request

import "github.com/go-json-experiment/json/jsontext"

// field is a name that the gate reads in a body.
type field uint8

// The fields. Those from fieldMessages on hold what the model reads.
const (
	fieldNone field = iota
	fieldModel
	fieldStream
	fieldStreamOptions
	fieldMaxTokens // the three caps stand together: Request.caps is indexed by them
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
	fieldContainer    // the same
	fieldIncludeUsage // within stream_options, as the next one
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

const _ = fieldSet(1) << fieldImages // must not overflow: a set holds every field

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

// String returns the name as it stands in a body, for Error.Param.
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

// field finds a field of the object by its name.
func (o object) field(name []byte) field {
	if o == objectStreamOptions {
		return streamOption(name)
	}
	return topField(name)
}

// topField finds a field of the body's own object by its name.
func topField(name []byte) field {
	switch string(name) { // compiled to a search: neither a copy nor a hash
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

// streamOption finds a field of the object stream_options by its name.
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

// lookUp finds the field that a quoted JSON name stands for in an
// object. It is exact where the name, unescaped, is the field's own;
// otherwise some parser that ignores case (Go's encoding/json, Jackson, .NET)
// would take it for the field while others would not.
func lookUp(quoted []byte, o object) (f field, exact bool) {
	name := quoted[1 : len(quoted)-1]
	if len(name) > maxFieldBytes*len(`\u0000`) {
		return fieldNone, false
	}
	var folded [maxFieldBytes]byte
	exact = true
	for i, c := range name {
		switch {
		case c == '\\' || c >= 0x80:
			return lookUpSlowly(quoted, o)
		case i >= maxFieldBytes:
			return fieldNone, false
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
			exact = false
		}
		folded[i] = c
	}
	return o.field(folded[:min(len(name), maxFieldBytes)]), exact
}

// lookUpSlowly is lookUp for names with escapes or characters outside ASCII.
func lookUpSlowly(quoted []byte, o object) (f field, exact bool) {
	name, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		return fieldNone, false // the decoder has taken it, so it is sound
	}
	folded, exact := foldName(string(name))
	return o.field(folded), exact
}

// foldName brings a name to the case in which fields are spelled. It covers
// Unicode's simple folding (strings.EqualFold), by which the long s and the
// Kelvin sign are letters of ASCII, and the two Turkish letters that Java takes
// for an i. It returns nil for a name that no folding makes a field's.
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
