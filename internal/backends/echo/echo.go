// Package echo is a model server inside the gate, to try the gate without one:
// it answers with the user's last message.
package echo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// Model is the model that the server lists. It answers under any name.
const Model = "echo"

const maxBody = 128 << 20 // bytes of a request; the gate's max_body is lower

// Server is an [http.RoundTripper] that answers by itself. It speaks all
// dialects, streamed word by word or whole, and counts four characters as a
// token. Images, audio, moderations and rerank are not implemented: 404.
type Server struct {
	Base string // stands in place of /v1 in the endpoints' paths
}

// endpoints maps what the server implements to how it answers.
var endpoints = map[wire.Endpoint]func(*call) (reply, error){
	wire.Chat:        (*call).chat,
	wire.Completions: (*call).completions,
	wire.Embeddings:  (*call).embeddings,
	wire.Responses:   (*call).responses,
	wire.Messages:    (*call).messages,
	wire.CountTokens: (*call).countTokens,
}

// Has reports whether the server implements endpoint e.
func Has(e wire.Endpoint) bool { return endpoints[e] != nil }

// RoundTrip responds to a request. It returns an error only if the body can't be
// read or the request's context has ended.
func (s Server) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	if req.Context().Err() != nil {
		return nil, context.Cause(req.Context())
	}
	path, under := strings.CutPrefix(req.URL.Path, s.Base)
	endpoint, id := wire.Match("/v1" + path)
	client := wire.DialectOfClient(req.Header)
	switch answer := endpoints[endpoint]; {
	case !under || endpoint.Method() != req.Method:
	case endpoint == wire.ListModels:
		return whole(req, http.StatusOK, wire.Models(client, []wire.Model{{ID: Model}})), nil
	case endpoint == wire.GetModel && id == Model:
		return whole(req, http.StatusOK, wire.OneModel(client, wire.Model{ID: Model})), nil
	case endpoint == wire.GetModel:
		return s.refuse(req, wire.Errorf(wire.KindModelNotFound, "")), nil
	case answer != nil:
		return s.call(req, answer)
	}
	return s.refuse(req, wire.Errorf(wire.KindUnknownURL, "")), nil
}

func (s Server) call(req *http.Request, answer func(*call) (reply, error)) (*http.Response, error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	c := &call{id: rand.Text(), created: time.Now().Unix()}
	if json.Unmarshal(body, &c.req) != nil {
		return s.refuse(req, wire.Errorf(wire.KindBadRequest, "The body is not what this endpoint takes.")), nil //nolint:nilerr // the response is the error
	}
	r, err := answer(c)
	switch {
	case err != nil:
		return s.refuse(req, wire.Errorf(wire.KindBadRequest, "%s", err)), nil
	case c.req.Stream && r.events != nil:
		res := respond(req, http.StatusOK, "text/event-stream; charset=utf-8", newStream(req.Context(), r.events))
		res.ContentLength = -1
		return res, nil
	}
	return whole(req, http.StatusOK, marshal(r.whole)), nil
}

func (s Server) refuse(req *http.Request, err *wire.Error) *http.Response {
	return whole(req, err.StatusCode(), err.Body(wire.DialectOf("/v1"+strings.TrimPrefix(req.URL.Path, s.Base)), ""))
}

func whole(req *http.Request, status int, body []byte) *http.Response {
	res := respond(req, status, "application/json", io.NopCloser(bytes.NewReader(body)))
	res.Header.Set("Content-Length", strconv.Itoa(len(body)))
	res.ContentLength = int64(len(body))
	return res
}

func respond(req *http.Request, status int, contentType string, body io.ReadCloser) *http.Response {
	return &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:  http.Header{"Content-Type": {contentType}},
		Body:    body,
		Request: req,
	}
}

// object is a JSON object of a response.
type object map[string]any

// with returns a copy of o with other members.
func (o object) with(members object) object {
	both := make(object, len(o)+len(members))
	for _, from := range []object{o, members} {
		for name, value := range from {
			both[name] = value
		}
	}
	return both
}

// reply is the answer to a request in both forms. The events are created as they
// are read.
type reply struct {
	whole  object
	events iter.Seq[[]byte]
}

// call is one request.
type call struct {
	req     request
	id      string
	created int64
}

// marshal encodes a value of this package, which can't fail.
func marshal(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
