package handlers

import (
	"io"
	"net/http"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// asksMethods reports whether the request asks what the endpoint is, and not for
// an answer of it: OPTIONS, or HEAD where GET is not served. Clients, browsers and
// monitors send these first, without a key.
func (q *request) asksMethods() bool {
	switch q.r.Method {
	case http.MethodOptions:
		return true
	case http.MethodHead:
		return q.endpoint.Method() != http.MethodGet
	}
	return false
}

// serveMethods answers with the allowed methods, and nothing else. Headers for
// browsers (CORS) are the operator's to set.
func (q *request) serveMethods() {
	q.w.Header().Set("Allow", q.endpoint.Allow())
	q.w.Header().Set("Cache-Control", "no-store")
	if q.r.Method == http.MethodOptions {
		q.w.WriteHeader(http.StatusNoContent)
	}
}

// page is the answer to GET /, for whoever wonders what answers here.
var page = "This is pine-gate, a gateway to language models.\n\n" +
	"Its paths are those of the OpenAI and Anthropic APIs, such as POST " + wire.Chat.PathPattern() +
	" and POST " + wire.Messages.PathPattern() + ".\nWith a key, GET " + wire.ListModels.PathPattern() + " lists the models.\n"

// servePage answers GET /. It needs no key and reveals nothing of the
// configuration.
func (q *request) servePage() {
	q.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	q.w.Header().Set("Cache-Control", "no-store")
	if q.r.Method != http.MethodHead {
		_, _ = io.WriteString(q.w, page) // the client may be gone
	}
}
