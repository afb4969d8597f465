package backends

import (
	"bytes"
	"net/http"
	"regexp"
	"strconv"
)

// subject is what an error of a backend is about.
type subject uint8

const (
	aboutBackend subject = iota // the backend, its model, or the gate's credential
	aboutRequest                // the request's content, size or price: others may pass
	aboutModel                  // the backend does not have the model
)

// subjectOf returns what an error is about by its status and, since servers use
// the same status for several things, by the words of its body.
func subjectOf(status int, body []byte) subject {
	text := bytes.ToLower(body)
	switch {
	case status < 400 || status == http.StatusUnauthorized:
		return aboutBackend
	case lacksModel(status, text):
		return aboutModel
	case status == http.StatusPaymentRequired:
		return either(holdsAny(text, priceWords))
	case status == http.StatusForbidden:
		return either(holdsAny(text, contentWords) || holdsAny(text, sizeWords))
	case status == http.StatusTooManyRequests:
		return either(holdsAny(text, sizeWords) || asksMoreThanLimit(text))
	case status >= 500:
		return either(holdsAny(text, contentWords) || holdsAny(text, sizeWords))
	case FallsBack(status):
		return aboutBackend
	}
	return aboutRequest
}

func either(request bool) subject {
	if request {
		return aboutRequest
	}
	return aboutBackend
}

// The words by which servers say what of a request they refuse, in lower case.
var (
	// Moderation: OpenRouter's flagged_input, Azure's and OpenAI's filters and
	// policies, Gemini's and Bedrock's safety settings.
	contentWords = words(
		"flagged", "moderation", "content_filter", "content filter", "contentfilter", "content_policy", "content policy", "responsibleai",
		"usage policy", "usage policies", "acceptable use", "safety", "guardrail", "harmful", "prohibited content", "prohibited_content", "violat",
	)
	// Requests that are larger than the server or the account takes.
	sizeWords = words(
		"request too large", "too large for", "too many tokens in", "context_length", "context length", "context size", "context window",
		"maximum context", "prompt is too long", "input is too long", "too long for", "exceeds the available context", "maximum number of tokens allowed",
	)
	// OpenRouter: "requires more credits, or fewer max_tokens … can only afford".
	priceWords = words("max_tokens", "fewer tokens", "afford", "this request requires", "this request costs")

	// A model that the server does not have. The codes are of any status; the
	// words only of 404 and 410, where a path may be meant, too.
	noModelCodes = words(
		"model_not_found", "model_decommissioned", "model_deprecated", "model_not_available", "model_not_supported", "model_retired",
		"deploymentnotfound", "deployment_not_found", "modelnotfound", "model_not_loaded", "unknown_model",
	)
	modelWords  = words("model", "deployment", "engine", "endpoints found")
	absentWords = words(
		"not found", "not_found", "not exist", "no endpoints", "unknown", "no such", "decommissioned", "deprecated", "retired", "no longer",
		"not available", "not loaded", "not supported", "not deployed",
	)
)

func words(list ...string) (all [][]byte) {
	for _, word := range list {
		all = append(all, []byte(word))
	}
	return all
}

func holdsAny(text []byte, words [][]byte) bool {
	for _, word := range words {
		if bytes.Contains(text, word) {
			return true
		}
	}
	return false
}

// lacksModel reports whether an error says that the model, or the deployment of
// it, is not there.
func lacksModel(status int, text []byte) bool {
	switch status {
	case http.StatusNotFound, http.StatusGone:
		return holdsAny(text, noModelCodes) || holdsAny(text, modelWords) && holdsAny(text, absentWords)
	case http.StatusBadRequest, http.StatusForbidden, http.StatusUnprocessableEntity:
		return holdsAny(text, noModelCodes)
	}
	return false
}

// limitAndRequested matches what OpenAI and Groq say of a limit of tokens, in
// lower case: "Limit 30000, Used 100, Requested 45000".
var limitAndRequested = regexp.MustCompile(`limit:? ([0-9]+),.{0,40}requested:? ([0-9]+)`)

// asksMoreThanLimit reports whether a refusal for a limit says that the request
// alone is over it, so that no wait would help.
func asksMoreThanLimit(text []byte) bool {
	m := limitAndRequested.FindSubmatch(text)
	if m == nil {
		return false
	}
	limit, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		return false
	}
	requested, err := strconv.ParseInt(string(m[2]), 10, 64)
	return err == nil && requested > limit
}
