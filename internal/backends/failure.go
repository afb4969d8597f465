package backends

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// failure is what a JSON value may say about a failure, in the forms of all
// servers. The members of an envelope and of what is in it have the same names.
type failure struct {
	Error, Errors, Detail, Message, Msg     json.RawMessage
	Object, Type, Code, Status, Success     json.RawMessage
	StatusCode                              json.RawMessage `json:"status_code"`
	HTTPStatus                              json.RawMessage `json:"http_status"`
	RawStatusCode                           json.RawMessage `json:"raw_status_code"` // Mistral
	ErrorCode                               json.RawMessage `json:"error_code"`
	ErrorMsg                                json.RawMessage `json:"error_msg"`
	ErrorMessage                            json.RawMessage `json:"error_message"`
	BaseResp                                json.RawMessage `json:"base_resp"` // MiniMax
	Choices, Content, Output, Data, Results json.RawMessage
	Text                                    json.RawMessage
	Embeddings                              json.RawMessage
	InputTokens                             json.RawMessage `json:"input_tokens"`
}

// failureStatus returns the status that a JSON value stands for if it says that
// a request failed instead of answering it: an error in any of the envelopes
// that servers use. It returns 0 for anything else, such as a response of the
// Responses API with the status "failed".
func failureStatus(body []byte) int {
	body = bytes.TrimSpace(body)
	var list []json.RawMessage
	if len(body) > 0 && body[0] == '[' {
		if json.Unmarshal(body, &list) != nil || len(list) == 0 {
			return 0
		}
		body = list[0] // Gemini's errors are lists
	}
	var f failure
	if json.Unmarshal(body, &f) != nil || isWord(f.Object, "response") {
		return 0
	}
	switch {
	case f.answers():
		return f.choicesFailed()
	case isWord(f.Object, "error"), isWord(f.Type, "error"), has(f.Error), has(f.Detail), has(f.Errors):
	case has(f.ErrorCode), has(f.ErrorMsg), has(f.ErrorMessage), string(f.Success) == "false", f.base().failed():
	case textOf(f.Message) != "", textOf(f.Msg) != "":
	default:
		return 0
	}
	return f.status()
}

// answers reports whether a value has what only an answer has.
func (f *failure) answers() bool {
	for _, member := range []json.RawMessage{f.Choices, f.Content, f.Output, f.Data, f.Results, f.Text, f.Embeddings, f.InputTokens} {
		if has(member) {
			return true
		}
	}
	return false
}

// choicesFailed returns the status of an answer with an error, in it or in each
// of its choices, and without any text, as OpenRouter sends them.
func (f *failure) choicesFailed() int {
	type turn struct {
		Content   json.RawMessage
		ToolCalls json.RawMessage `json:"tool_calls"`
	}
	var choices []struct {
		Error          json.RawMessage
		Text           string
		Message, Delta turn
	}
	if json.Unmarshal(f.Choices, &choices) != nil || len(choices) == 0 {
		return 0
	}
	failed := f.Error
	for _, c := range choices {
		if has(c.Error) {
			failed = c.Error
		}
		if !has(failed) || has(c.Message.Content) || has(c.Delta.Content) || has(c.Message.ToolCalls) || has(c.Delta.ToolCalls) || c.Text != "" {
			return 0
		}
	}
	return (&failure{Error: failed}).status()
}

// status returns the status that a failure names, as a number or in words, or
// 502 if it names none.
func (f *failure) status() int {
	named := []*failure{f}
	for _, member := range []json.RawMessage{f.Error, first(f.Errors), first(f.Detail)} {
		var inner failure
		if json.Unmarshal(member, &inner) == nil {
			named = append(named, &inner)
			if inner.Error != nil {
				var within failure
				_ = json.Unmarshal(inner.Error, &within)
				named = append(named, &within)
			}
		}
	}
	for i := len(named) - 1; i >= 0; i-- { // the innermost is the most exact
		n := named[i]
		for _, number := range []json.RawMessage{n.Code, n.Status, n.StatusCode, n.HTTPStatus, n.RawStatusCode, n.ErrorCode, n.Error} {
			if code, err := strconv.Atoi(strings.Trim(string(number), `"`)); err == nil && code >= 400 && code < 600 {
				return code
			}
		}
	}
	if base := f.base(); base.failed() {
		return base.status()
	}
	if !has(f.Error) && first(f.Detail) != nil {
		return http.StatusUnprocessableEntity // FastAPI's list of what is invalid
	}
	for i := len(named) - 1; i >= 0; i-- {
		n := named[i]
		for _, word := range []json.RawMessage{n.Type, n.Code, n.Status, n.ErrorCode, n.Error} {
			if status := statusOfWord(textOf(word)); status != 0 {
				return status
			}
		}
	}
	return f.statusOfText()
}

// statusOfText returns the status whose text a failure has, as in FastAPI's
// envelope, or 502.
func (f *failure) statusOfText() int {
	for _, said := range []json.RawMessage{f.Detail, f.Message, f.Msg, f.Error} {
		text := strings.TrimRight(textOf(said), ".")
		for status := 400; text != "" && status < 512; status++ {
			if strings.EqualFold(text, http.StatusText(status)) {
				return status
			}
		}
	}
	return http.StatusBadGateway
}

// baseResponse is the envelope in which MiniMax puts errors.
type baseResponse struct {
	Code int    `json:"status_code"`
	Text string `json:"status_msg"`
}

func (f *failure) base() (b baseResponse) {
	_ = json.Unmarshal(f.BaseResp, &b)
	return b
}

func (b baseResponse) failed() bool { return b.Code != 0 }

// status returns the status of one of MiniMax's codes.
func (b baseResponse) status() int {
	switch b.Code {
	case 1001:
		return http.StatusGatewayTimeout
	case 1002, 1039, 1041, 2045, 2056:
		return http.StatusTooManyRequests
	case 1004, 2049:
		return http.StatusUnauthorized
	case 1008:
		return http.StatusPaymentRequired
	case 1026, 1027, 1042, 1043, 2013:
		return http.StatusBadRequest
	}
	return http.StatusBadGateway
}

// statusWords are parts of types and codes, in lower case and without
// separators, with the status that they mean. The first that occurs counts.
var statusWords = []struct {
	word   string
	status int
}{
	{"serverisoverloaded", 503}, {"engineoverloaded", 503}, {"overloadederror", 529}, {"overloaded", 503},
	{"ratelimit", 429}, {"toomanyrequests", 429}, {"resourceexhausted", 429}, {"quota", 429}, {"throttl", 429}, {"capacityexceeded", 429}, {"slowdown", 429},
	{"timeout", 504}, {"timedout", 504}, {"deadlineexceeded", 504},
	{"invalidapikey", 401}, {"incorrectapikey", 401}, {"authentication", 401}, {"unauthenticated", 401}, {"unauthorized", 401},
	{"permission", 403}, {"forbidden", 403}, {"accessdenied", 403},
	{"billing", 402}, {"insufficientbalance", 402}, {"insufficientcredit", 402}, {"arrearage", 402}, {"payment", 402},
	{"toolarge", 413}, {"notfound", 404}, {"notimplemented", 501}, {"unavailable", 503},
	{"unprocessable", 422}, {"contentfilter", 400}, {"contentpolicy", 400}, {"datainspection", 400}, {"contextlength", 400}, {"contextsize", 400},
	{"invalid", 400}, {"badrequest", 400}, {"unsupported", 400}, {"validation", 400}, {"failedprecondition", 400}, {"outofrange", 400}, {"missing", 400},
}

// statusOfWord returns the status that a type or code means, 0 if none is known.
func statusOfWord(word string) int {
	if word == "" || len(word) > 80 || strings.Contains(word, " ") {
		return 0
	}
	word = strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(word))
	for _, w := range statusWords {
		if strings.Contains(word, w.word) {
			return w.status
		}
	}
	return 0
}

// has reports whether a member is there and says something.
func has(member json.RawMessage) bool {
	switch string(member) {
	case "", "null", "false", `""`, "0", "[]", "{}":
		return false
	}
	return true
}

func isWord(member json.RawMessage, word string) bool { return textOf(member) == word }

// textOf returns the value of a JSON string, "" for anything else.
func textOf(member json.RawMessage) (text string) {
	_ = json.Unmarshal(member, &text)
	return text
}

// first returns the first element of a list, nil if it is none.
func first(list json.RawMessage) json.RawMessage {
	var all []json.RawMessage
	if json.Unmarshal(list, &all) != nil || len(all) == 0 {
		return nil
	}
	return all[0]
}
