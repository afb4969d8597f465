package wire

import (
	"strconv"
)

// Body returns the JSON envelope of the error in a dialect. In OpenAI's all
// four fields are always present, since clients read them unchecked.
func (e *Error) Body(d Dialect, requestID string) []byte {
	if d == Anthropic {
		return append(e.appendAnthropic(nil, requestID), '\n')
	}
	return append(e.appendOpenAI(nil), '\n')
}

func (e *Error) appendOpenAI(b []byte) []byte {
	b = append(b, `{"error":{"message":`...)
	b = AppendString(b, e.message())
	b = append(b, `,"type":`...)
	b = AppendString(b, e.openAIType())
	b = append(b, `,"param":`...)
	b = appendStringOrNull(b, e.param())
	b = append(b, `,"code":`...)
	b = appendStringOrNull(b, e.code())
	return append(b, "}}"...)
}

// appendAnthropic writes the envelope; without an id, as within a stream, the
// field is left out.
func (e *Error) appendAnthropic(b []byte, requestID string) []byte {
	b = append(b, `{"type":"error","error":{"type":`...)
	b = AppendString(b, e.anthropicType())
	b = append(b, `,"message":`...)
	b = AppendString(b, e.message())
	if e.Spend {
		b = append(b, `,"details":{"error_code":"enforced_spend_limit_reached"}`...)
	}
	b = append(b, '}')
	if requestID != "" {
		b = append(b, `,"request_id":`...)
		b = AppendString(b, requestID)
	}
	return append(b, '}')
}

// Event returns the bytes that end a stream midway, as the endpoint's clients
// expect them. The sequence number is of use to responses only, whose clients
// count the events.
func (e *Error) Event(ep Endpoint, sequence int64) []byte {
	var b []byte
	switch {
	case ep.Dialect() == Anthropic:
		b = append(b, "event: error\ndata: "...)
		b = e.appendAnthropic(b, "")
	case ep == Responses:
		b = append(b, `event: error`+"\n"+`data: {"type":"error","code":`...)
		b = appendStringOrNull(b, e.code())
		b = append(b, `,"message":`...)
		b = AppendString(b, e.message())
		b = append(b, `,"param":`...)
		b = appendStringOrNull(b, e.param())
		b = append(b, `,"sequence_number":`...)
		b = strconv.AppendInt(b, sequence, 10)
		b = append(b, '}')
	default:
		b = append(b, "data: "...)
		b = e.appendOpenAI(b)
	}
	return append(b, "\n\n"...)
}

func (e *Error) param() string {
	if e.Param != "" {
		return e.Param
	}
	return e.Kind.info().param
}

func (e *Error) code() string {
	if e.Code != "" {
		return e.Code
	}
	return e.Kind.info().code
}

func (e *Error) openAIType() string {
	switch {
	case e.Type != "":
		return e.Type
	case e.Kind == KindRateLimited && e.Unit != "":
		return e.Unit
	}
	return e.Kind.info().openai
}

func (e *Error) anthropicType() string {
	if e.Type != "" {
		return e.Type
	}
	return e.Kind.info().anthropic
}
