package meter

// place is a position in an answer's JSON that the meter recognizes: a container
// to descend into, or a value to read. Everything else is placeElsewhere and is
// skipped unread. So text that merely looks like usage is never read as usage:
// only its position makes it usage.
type place uint8

const (
	placeElsewhere place = iota

	// Containers.
	placeEvent       // the data of an event of a stream
	placeBody        // the object of a whole answer
	placeUsage       // usage
	placeInDetails   // usage.prompt_tokens_details, usage.input_tokens_details
	placeOutDetails  // usage.completion_tokens_details, usage.output_tokens_details
	placeCreation    // usage.cache_creation, of messages
	placeIterations  // usage.iterations, of messages
	placeIteration   // usage.iterations[]
	placeAround      // x_groq and others, of which only the usage inside is read
	placeEnvelope    // response, message: the answer itself, inside an event
	placeChoices     // choices
	placeChoice      // choices[]
	placeBodyChoices // choices, in a whole answer
	placeBodyChoice  // choices[], in a whole answer
	placeTurn        // choices[].delta, choices[].message
	placeToolCalls   // choices[].delta.tool_calls
	placeToolCall    // choices[].delta.tool_calls[]
	placeFunction    // choices[].delta.tool_calls[].function
	placeAudio       // choices[].delta.audio
	placeBlocks      // content, output, summary
	placeBlock       // elements of placeBlocks, and `delta` of messages

	// Values.
	placeDelta   // delta: a string in responses, a block in messages
	placeContent // text, or a list of blocks
	placeText    // generated text
	placeType    // type
	placeModel   // model
	placeID      // id
	placeError   // error
	placeSequence
	placeTier  // service_tier
	placeSpeed // usage.speed, of messages

	// Numbers of usage, which index usageFields in this order.
	placePrompt
	placeInput
	placeCompletion
	placeOutput
	placeTotal
	placeCacheCreation // cache_creation_input_tokens: Anthropic's, not included in input_tokens
	placeCacheRead     // cache_read_input_tokens: the same
	placeCachedDetail  // …_details.cached_tokens: part of the input
	placeWriteDetail   // …_details.cache_write_tokens: part of the input
	placeCacheHit      // prompt_cache_hit_tokens (DeepSeek), usage.cached_tokens (Moonshot): part of the input
	placeReasoning
	placeAudioIn   // …_details.audio_tokens: part of the input
	placeImageIn   // …_details.image_tokens: part of the input
	placeAudioOut  // …_details.audio_tokens: part of the output
	placeImageOut  // …_details.image_tokens: part of the output
	placeHourWrite // cache_creation.ephemeral_1h_input_tokens: part of cache_creation_input_tokens
	placeSeconds
	placeCost

	places
)

// isCount reports whether the place holds a number of usage.
func (p place) isCount() bool { return p >= placePrompt }

// shape describes the values at a place that are not skipped.
type shape struct {
	object, array, text bool
	element             place // place of the array's elements
}

var shapes = [places]shape{
	placeEvent:       {object: true},
	placeBody:        {object: true},
	placeUsage:       {object: true},
	placeInDetails:   {object: true},
	placeOutDetails:  {object: true},
	placeCreation:    {object: true},
	placeIterations:  {array: true, element: placeIteration},
	placeIteration:   {object: true},
	placeAround:      {object: true},
	placeEnvelope:    {object: true},
	placeChoices:     {array: true, element: placeChoice},
	placeChoice:      {object: true},
	placeBodyChoices: {array: true, element: placeBodyChoice},
	placeBodyChoice:  {object: true},
	placeTurn:        {object: true},
	placeToolCalls:   {array: true, element: placeToolCall},
	placeToolCall:    {object: true},
	placeFunction:    {object: true},
	placeAudio:       {object: true},
	placeBlocks:      {array: true, element: placeBlock},
	placeBlock:       {object: true},
	placeDelta:       {object: true, text: true},
	placeContent:     {array: true, text: true, element: placeBlock},
	placeText:        {text: true},
}

// maxNameBytes is the maximum length of a member name that is looked up.
const maxNameBytes = 32

// member returns the place of the member with the given name.
func (p place) member(name []byte) place {
	switch p {
	case placeEvent:
		switch string(name) {
		case "choices":
			return placeChoices
		case "delta":
			return placeDelta
		case "response", "message":
			return placeEnvelope
		case "type", "object": // an error may name itself in either
			return placeType
		case "sequence_number":
			return placeSequence
		}
		return commonMember(name)
	case placeBody:
		switch string(name) {
		case "choices":
			return placeBodyChoices
		case "content", "output":
			return placeContent
		case "text":
			return placeText
		case "input_tokens": // the answer of messages/count_tokens
			return placeInput
		}
		return commonMember(name)
	case placeEnvelope:
		switch string(name) {
		case "usage", "id", "model", "service_tier":
			return commonMember(name)
		}
	case placeChoice, placeBodyChoice:
		switch string(name) {
		case "delta":
			return placeTurn
		case "text":
			return placeText
		case "usage": // Moonshot
			return placeUsage
		case "message":
			// Some backends repeat the whole message in every chunk of a
			// stream: it counts only in an answer that is not a stream.
			if p == placeBodyChoice {
				return placeTurn
			}
		}
	case placeTurn:
		switch string(name) {
		case "content":
			return placeContent
		case "reasoning_content", "reasoning", "refusal":
			return placeText
		case "tool_calls":
			return placeToolCalls
		case "function_call":
			return placeFunction
		case "audio":
			return placeAudio
		}
	case placeToolCall:
		switch string(name) {
		case "function", "custom":
			return placeFunction
		}
	case placeFunction:
		switch string(name) {
		case "arguments", "input":
			return placeText
		}
	case placeAudio:
		if string(name) == "transcript" {
			return placeText
		}
	case placeBlock, placeDelta:
		switch string(name) {
		case "text", "thinking", "partial_json", "refusal", "arguments", "input":
			return placeText
		case "content", "summary":
			return placeContent
		}
	case placeAround:
		switch string(name) {
		case "usage", "tokens":
			return placeUsage
		}
	case placeUsage, placeInDetails, placeOutDetails, placeCreation, placeIteration:
		return p.usageMember(name)
	}
	return placeElsewhere
}

// commonMember returns the place of a member of an event or whole answer alike.
func commonMember(name []byte) place {
	switch string(name) {
	case "usage", "usageMetadata", "amazon-bedrock-invocationMetrics":
		return placeUsage
	case "x_groq", "meta": // Groq, Cohere
		return placeAround
	case "model":
		return placeModel
	case "id":
		return placeID
	case "error":
		return placeError
	case "service_tier":
		return placeTier
	}
	return placeElsewhere
}

// usageMember returns the place of a field in wire.md's table of usage, or of one
// of the few alternative spellings that other servers use.
func (p place) usageMember(name []byte) place {
	switch p {
	case placeInDetails:
		switch string(name) {
		case "cached_tokens":
			return placeCachedDetail
		case "cache_write_tokens":
			return placeWriteDetail
		case "audio_tokens":
			return placeAudioIn
		case "image_tokens":
			return placeImageIn
		}
		return placeElsewhere
	case placeOutDetails:
		switch string(name) {
		case "reasoning_tokens":
			return placeReasoning
		case "audio_tokens":
			return placeAudioOut
		case "image_tokens":
			return placeImageOut
		}
		return placeElsewhere
	case placeCreation:
		if string(name) == "ephemeral_1h_input_tokens" {
			return placeHourWrite
		}
		return placeElsewhere
	case placeIteration:
		switch string(name) {
		case "input_tokens":
			return placeInput
		case "output_tokens":
			return placeOutput
		case "cache_creation_input_tokens":
			return placeCacheCreation
		case "cache_read_input_tokens":
			return placeCacheRead
		}
		return placeElsewhere
	}
	switch string(name) {
	case "prompt_tokens", "promptTokenCount", "inputTokenCount": // the others: Gemini, Bedrock
		return placePrompt
	case "input_tokens":
		return placeInput
	case "completion_tokens", "candidatesTokenCount", "outputTokenCount":
		return placeCompletion
	case "output_tokens":
		return placeOutput
	case "total_tokens", "totalTokenCount":
		return placeTotal
	case "thoughtsTokenCount":
		return placeReasoning
	case "iterations":
		return placeIterations
	case "cache_creation_input_tokens":
		return placeCacheCreation
	case "cache_read_input_tokens":
		return placeCacheRead
	case "prompt_cache_hit_tokens", "cached_tokens", "cachedContentTokenCount":
		return placeCacheHit
	case "prompt_tokens_details", "input_tokens_details", "input_token_details": // the last: transcriptions
		return placeInDetails
	case "completion_tokens_details", "output_tokens_details", "output_token_details":
		return placeOutDetails
	case "cache_creation":
		return placeCreation
	case "service_tier":
		return placeTier
	case "speed":
		return placeSpeed
	case "seconds":
		return placeSeconds
	case "cost":
		return placeCost
	}
	return placeElsewhere
}
