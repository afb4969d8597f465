package backends

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/amanycodes/pine-gate/internal/wire"
)

const (
	echoModel      = "echo"
	echoTokenRunes = 4         // characters of a token; the last token of a text may have fewer
	echoMaxOutput  = 16 << 10  // tokens of a response, unless the request sets a lower cap
	echoMaxChoices = 128       // of a response
	echoMaxBody    = 128 << 20 // bytes of a request; the gate's max_body is lower
)

// echo is a model server inside the gate: it answers with the user's last
// message, under any model name. It speaks all dialects, streamed word by word
// or whole, and counts four characters as a token. Images, audio, moderations
// and rerank are not implemented: 404.
type echo struct {
	base string // in front of the endpoints' paths
	now  func() time.Time
}

// RoundTrip responds to a request. It returns an error only if the body can't be
// read or the request's context has ended.
func (e echo) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	if err := req.Context().Err(); err != nil {
		return nil, context.Cause(req.Context())
	}
	path, under := strings.CutPrefix(req.URL.Path, e.base)
	endpoint, id := wire.Match("/v1" + path)
	if !under || endpoint.Method() != req.Method {
		return e.refuse(req, wire.Errorf(wire.KindUnknownURL, "")), nil
	}
	switch endpoint {
	case wire.ListModels:
		return e.answer(req, wire.Models(wire.DialectOfClient(req.Header), []wire.Model{{ID: echoModel}})), nil
	case wire.GetModel:
		if id != echoModel {
			return e.refuse(req, wire.Errorf(wire.KindModelNotFound, "")), nil
		}
		return e.answer(req, wire.OneModel(wire.DialectOfClient(req.Header), wire.Model{ID: echoModel})), nil
	}
	answer, ok := map[wire.Endpoint]func(*echoCall) ([]byte, []stage, error){
		wire.Chat:        (*echoCall).chat,
		wire.Completions: (*echoCall).completions,
		wire.Embeddings:  (*echoCall).embeddings,
		wire.Responses:   (*echoCall).responses,
		wire.Messages:    (*echoCall).messages,
		wire.CountTokens: (*echoCall).countTokens,
	}[endpoint]
	if !ok {
		return e.refuse(req, wire.Errorf(wire.KindUnknownURL, "")), nil
	}
	body, err := io.ReadAll(io.LimitReader(req.Body, echoMaxBody))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	call := &echoCall{id: rand.Text(), created: e.now().Unix()}
	if err := json.Unmarshal(body, &call.req); err != nil {
		return e.refuse(req, wire.Errorf(wire.KindBadRequest, "The body is not what this endpoint takes.")), nil
	}
	whole, stages, err := answer(call)
	switch {
	case err != nil:
		return e.refuse(req, wire.Errorf(wire.KindBadRequest, "%s", err)), nil
	case stages != nil:
		res := e.respond(req, http.StatusOK, "text/event-stream; charset=utf-8")
		res.Body = &events{ctx: req.Context(), stages: stages}
		res.ContentLength = -1
		return res, nil
	}
	return e.answer(req, whole), nil
}

func (e echo) respond(req *http.Request, status int, contentType string) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{"Content-Type": {contentType}},
		Request: req,
	}
}

func (e echo) answer(req *http.Request, body []byte) *http.Response {
	return e.whole(req, http.StatusOK, body)
}

func (e echo) refuse(req *http.Request, err *wire.Error) *http.Response {
	return e.whole(req, err.StatusCode(), err.Body(wire.DialectOf("/v1"+strings.TrimPrefix(req.URL.Path, e.base)), ""))
}

func (e echo) whole(req *http.Request, status int, body []byte) *http.Response {
	res := e.respond(req, status, "application/json")
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	return res
}

// echoCall is one request to the echo backend. Its methods return the whole
// response or, if a stream was requested, its stages.
type echoCall struct {
	req     echoRequest
	id      string
	created int64
}

// echoRequest holds the fields of a request that the echo backend reads, for all
// of its endpoints.
type echoRequest struct {
	Model         string `json:"model"`
	Stream        bool   `json:"stream"`
	N             *int   `json:"n"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`

	MaxTokens           *int64 `json:"max_tokens"`
	MaxCompletionTokens *int64 `json:"max_completion_tokens"`
	MaxOutputTokens     *int64 `json:"max_output_tokens"`

	Messages     []echoMessage `json:"messages"`
	System       content       `json:"system"`
	Instructions content       `json:"instructions"`
	Prompt       inputs        `json:"prompt"`

	Input          json.RawMessage `json:"input"` // embeddings: inputs; responses: text or messages
	EncodingFormat string          `json:"encoding_format"`
	Dimensions     *int            `json:"dimensions"`
}

type echoMessage struct {
	Role    string  `json:"role"`
	Content content `json:"content"`
}

// content is the text of a message: a string, or a list of parts, of which the
// text parts count.
type content string

func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil { // null becomes the empty string
		*c = content(text)
		return nil
	}
	var parts []struct {
		Text string `json:"text"`
	}
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	for _, part := range parts {
		*c += content(part.Text)
	}
	return nil
}

// inputs is a list of texts. It is decoded from one text, from several, or from
// token numbers, which become their decimal text.
type inputs []string

func (in *inputs) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var one string
	if json.Unmarshal(b, &one) == nil {
		*in = inputs{one}
		return nil
	}
	var list []json.RawMessage
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	var tokens []int64
	if json.Unmarshal(b, &tokens) == nil && len(tokens) > 0 {
		*in = inputs{strings.Trim(fmt.Sprint(tokens), "[]")}
		return nil
	}
	for _, raw := range list {
		var nested inputs
		if err := nested.UnmarshalJSON(raw); err != nil {
			return err
		}
		*in = append(*in, strings.Join(nested, ""))
	}
	return nil
}

// lastUser returns the text of the last user message, or "" if there is none.
func lastUser(messages []echoMessage) string {
	for i := len(messages) - 1; i >= 0; i-- {
		if messages[i].Role == "user" {
			return string(messages[i].Content)
		}
	}
	return ""
}

// countTokens returns how many of the echo backend's tokens texts have.
func countTokens[T ~string](texts ...T) int64 {
	var n int64
	for _, text := range texts {
		n += int64(utf8.RuneCountInString(string(text))+echoTokenRunes-1) / echoTokenRunes
	}
	return n
}

func countMessages(messages []echoMessage) int64 {
	var n int64
	for _, m := range messages {
		n += countTokens(m.Content)
	}
	return n
}

// cut truncates text to the lowest of the caps and reports whether it did.
func (c *echoCall) cut(text string) (string, bool) {
	limit := int64(echoMaxOutput)
	for _, cap := range []*int64{c.req.MaxTokens, c.req.MaxCompletionTokens, c.req.MaxOutputTokens} {
		if cap != nil && *cap >= 0 {
			limit = min(limit, *cap)
		}
	}
	runes := limit * echoTokenRunes
	for i := range text {
		if runes == 0 {
			return text[:i], true
		}
		runes--
	}
	return text, false
}

// choices returns how many choices to return for each of a number of prompts.
func (c *echoCall) choices(prompts int) (int, error) {
	n := 1
	if c.req.N != nil {
		n = *c.req.N
	}
	if n < 1 || n > echoMaxChoices || n*prompts > echoMaxChoices {
		return 0, fmt.Errorf("echo gives between 1 and %d answers", echoMaxChoices)
	}
	return n, nil
}

// marshal encodes a value of this package's types, which can't fail.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// echoes reports whether the echo backend has endpoint e.
func echoes(e wire.Endpoint) bool {
	switch e {
	case wire.Chat, wire.Completions, wire.Responses, wire.Embeddings, wire.Messages, wire.CountTokens:
		return true
	}
	return false
}
