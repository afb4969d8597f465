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
	fieldThinking      // of messages
	fieldBudgetTokens  // in thinking
	fieldOptions       // Ollama's; it and the next ones hold caps and counts, too
	fieldParameters    // of Hugging Face's servers
	fieldSamplingParam // SGLang's
	fieldGeneration    // Gemini's and Hugging Face's
	fieldExtraBody     // LiteLLM's and Gemini's
	fieldMaxTokens     // the first of the caps, which end before fieldN
	fieldMaxCompletionTokens
	fieldMaxOutputTokens
	fieldNPredict          // llama.cpp's, which prefers it
	fieldNumPredict        // Ollama's
	fieldMaxNewTokens      // of Hugging Face's servers, SGLang and text-generation-webui
	fieldMaxLength         // the same, and KoboldCpp
	fieldMaxTokensToSample // Anthropic's, formerly
	fieldMaxGenLen         // Llama's, at Bedrock
	fieldN                 // the first of the numbers of answers, which end before fieldBackground
	fieldBestOf
	fieldNCmpl // llama.cpp's, which prefers it
	fieldNumReturnSequences
	fieldCandidateCount // Gemini's
	fieldBackground
	fieldPreviousResponseID
	fieldModels       // OpenRouter's; the first of the refused ones, which end before fieldServiceTier
	fieldFallbacks    // OpenRouter's and Anthropic's
	fieldConversation // of responses
	fieldPromptEmbeds // vLLM's: these are prompts beside the text, which can't be estimated
	fieldPromptTokenIDs
	fieldInputIDs // SGLang's
	fieldInputEmbeds
	fieldLoraPath // SGLang's: these choose other weights than the model's
	fieldLoraRequest
	fieldAdapterID // of Hugging Face's servers
	fieldAdapterSource
	fieldPreset // OpenRouter's: a model and settings that are stored
	fieldRoute  // OpenRouter's, beside models
	fieldThread // of messages: these name what a backend stores
	fieldThreadID
	fieldPreviousMessageID
	fieldPreviousInteractionID
	fieldConversationID
	fieldContainerID
	fieldUserProfileID
	fieldCachedContent    // Gemini's
	fieldKVTransferParams // vLLM's
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

// isCap reports whether the field caps the tokens of an answer.
func (f field) isCap() bool { return fieldMaxTokens <= f && f < fieldN }

// isCount reports whether the field is a number of answers.
func (f field) isCount() bool { return fieldN <= f && f < fieldBackground }

// isRefused reports whether the field is refused unless it is null.
func (f field) isRefused() bool { return fieldModels <= f && f < fieldServiceTier }

// hasSettings reports whether the field's object holds caps and numbers of answers.
func (f field) hasSettings() bool { return fieldOptions <= f && f <= fieldExtraBody }

// fieldNames holds each field's name as the APIs spell it.
var fieldNames = [...]string{
	fieldModel:                 "model",
	fieldStream:                "stream",
	fieldStreamOptions:         "stream_options",
	fieldMaxTokens:             "max_tokens",
	fieldMaxCompletionTokens:   "max_completion_tokens",
	fieldMaxOutputTokens:       "max_output_tokens",
	fieldNPredict:              "n_predict",
	fieldNumPredict:            "num_predict",
	fieldMaxNewTokens:          "max_new_tokens",
	fieldMaxLength:             "max_length",
	fieldMaxTokensToSample:     "max_tokens_to_sample",
	fieldMaxGenLen:             "max_gen_len",
	fieldThinking:              "thinking",
	fieldBudgetTokens:          "budget_tokens",
	fieldOptions:               "options",
	fieldParameters:            "parameters",
	fieldSamplingParam:         "sampling_params",
	fieldGeneration:            "generation_config",
	fieldExtraBody:             "extra_body",
	fieldN:                     "n",
	fieldBestOf:                "best_of",
	fieldNCmpl:                 "n_cmpl",
	fieldNumReturnSequences:    "num_return_sequences",
	fieldCandidateCount:        "candidate_count",
	fieldBackground:            "background",
	fieldPreviousResponseID:    "previous_response_id",
	fieldModels:                "models",
	fieldFallbacks:             "fallbacks",
	fieldConversation:          "conversation",
	fieldPromptEmbeds:          "prompt_embeds",
	fieldPromptTokenIDs:        "prompt_token_ids",
	fieldInputIDs:              "input_ids",
	fieldInputEmbeds:           "input_embeds",
	fieldLoraPath:              "lora_path",
	fieldLoraRequest:           "lora_request",
	fieldAdapterID:             "adapter_id",
	fieldAdapterSource:         "adapter_source",
	fieldPreset:                "preset",
	fieldRoute:                 "route",
	fieldThread:                "thread",
	fieldThreadID:              "thread_id",
	fieldPreviousMessageID:     "previous_message_id",
	fieldPreviousInteractionID: "previous_interaction_id",
	fieldConversationID:        "conversation_id",
	fieldContainerID:           "container_id",
	fieldUserProfileID:         "user_profile_id",
	fieldCachedContent:         "cached_content",
	fieldKVTransferParams:      "kv_transfer_params",
	fieldServiceTier:           "service_tier",
	fieldSpeed:                 "speed",
	fieldContainer:             "container",
	fieldIncludeUsage:          "include_usage",
	fieldContinuousUsageStats:  "continuous_usage_stats",
	fieldMessages:              "messages",
	fieldPrompt:                "prompt",
	fieldInput:                 "input",
	fieldSystem:                "system",
	fieldInstructions:          "instructions",
	fieldTools:                 "tools",
	fieldFunctions:             "functions",
	fieldSuffix:                "suffix",
	fieldQuery:                 "query",
	fieldDocuments:             "documents",
	fieldResponseFormat:        "response_format",
	fieldText:                  "text",
	fieldImage:                 "image",
	fieldImages:                "images",
}

// String returns the field's path in a body, for Error.Param.
func (f field) String() string {
	switch f {
	case fieldIncludeUsage, fieldContinuousUsageStats:
		return fieldNames[fieldStreamOptions] + "." + fieldNames[f]
	case fieldBudgetTokens:
		return fieldNames[fieldThinking] + "." + fieldNames[f]
	}
	return fieldNames[f]
}

// object is one of the objects in which the gate reads fields.
type object uint8

const (
	objectBody object = iota
	objectStreamOptions
	objectSettings // of the fields for which hasSettings
	objectThinking
)

// field returns the field of the object with the given name.
func (o object) field(name []byte) field {
	switch {
	case o == objectStreamOptions:
		return streamOption(name)
	case o != objectThinking:
	case string(name) == fieldNames[fieldBudgetTokens]:
		return fieldBudgetTokens
	default:
		return fieldNone
	}
	f := byName[string(name)] // without a copy
	if o == objectSettings && !f.isCap() && !f.isCount() && !f.isRefused() {
		return fieldNone
	}
	return f
}

// byName holds the fields of the body's object by their names.
var byName = func() map[string]field {
	m := make(map[string]field, len(fieldNames))
	for f, name := range fieldNames {
		if name != "" && streamOption([]byte(name)) == fieldNone && field(f) != fieldBudgetTokens {
			m[name] = field(f)
		}
	}
	return m
}()

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
const maxFieldBytes = len("previous_interaction_id")

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
