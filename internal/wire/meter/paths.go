package meter

// place is a spot in an answer's JSON that the meter knows: a container to
// look into, or a value to read. Everything else is placeElsewhere and is
// skipped without being looked at, which is why text that merely looks like
// usage is never taken for it: usage is usage by where it stands.
type place uint8

const (
	placeElsewhere place = iota

	// Containers.
	placeEvent       // the object in an event of a stream
	placeBody        // the object that is a whole answer
	placeUsage       // usage
	placeInDetails   // usage.prompt_tokens_details, usage.input_tokens_details
	placeOutDetails  // usage.completion_tokens_details, usage.output_tokens_details
	placeCreation    // usage.cache_creation, of messages
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
	placeBlock       // their elements, and `delta` of messages

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

	// Numbers of usage; the order is that of the fields of a usageFields.
	placePrompt
	placeInput
	placeCompletion
	placeOutput
	placeTotal
	placeCacheCreation // cache_creation_input_tokens: Anthropic's, beside input_tokens
	placeCacheRead     // cache_read_input_tokens: the same
	placeCachedDetail  // …_details.cached_tokens: a part of the input
	placeWriteDetail   // …_details.cache_write_tokens: the same
	placeCacheHit      // prompt_cache_hit_tokens, usage.cached_tokens: the same, as DeepSeek and Moonshot write it
	placeReasoning
	placeAudioIn   // …_details.audio_tokens: a part of the input
	placeImageIn   // …_details.image_tokens: the same
	placeAudioOut  // the same, of the output
	placeImageOut  // the same
	placeHourWrite // cache_creation.ephemeral_1h_input_tokens: a part of what was written
	placeSeconds
	placeCost

	places
)

// isCount reports whether the place holds a number of usage.
func (p place) isCount() bool { return p >= placePrompt }

// shape says what a place may hold beside what is skipped.
type shape struct {
	object, array, text bool
	element             place // of the array
}

var shapes = [places]shape{
	placeEvent:       {object: true},
	placeBody:        {object: true},
	placeUsage:       {object: true},
	placeInDetails:   {object: true},
	placeOutDetails:  {object: true},
	placeCreation:    {object: true},
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

// maxNameBytes bounds the member names that can lead anywhere.
const maxNameBytes = 32

// member finds where a member of an object leads.
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
		case "type":
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
		case "message":
			// Some backends repeat the whole message in every chunk of a
			// stream: it is text once, in the answer that is no stream.
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
	case placeUsage, placeInDetails, placeOutDetails, placeCreation:
		return p.usageMember(name)
	}
	return placeElsewhere
}

// commonMember finds what stands at the top of events and whole answers alike.
func commonMember(name []byte) place {
	switch string(name) {
	case "usage":
		return placeUsage
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

// usageMember finds the fields of wire.md's table of usage, and the few
// spellings of the same that other servers have.
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
	}
	switch string(name) {
	case "prompt_tokens":
		return placePrompt
	case "input_tokens":
		return placeInput
	case "completion_tokens":
		return placeCompletion
	case "output_tokens":
		return placeOutput
	case "total_tokens":
		return placeTotal
	case "cache_creation_input_tokens":
		return placeCacheCreation
	case "cache_read_input_tokens":
		return placeCacheRead
	case "prompt_cache_hit_tokens", "cached_tokens":
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
