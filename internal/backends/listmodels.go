package backends

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/amanycodes/pine-gate/internal/backends/discovery"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// maxListBytes bounds one page of a list of models.
const maxListBytes = 4 << 20

// ListModels returns a function that requests pages of a backend's list of
// models in the same way as callers' requests: with its credential and under
// dial_allow. sized is set if the API needs the size of a page.
func ListModels(f Forwarder, sized bool) func(ctx context.Context, after string) ([]byte, error) {
	return func(ctx context.Context, after string) ([]byte, error) {
		query := make(url.Values)
		if sized {
			query.Set("limit", strconv.Itoa(discovery.MaxModels))
		}
		if after != "" {
			query.Set("after_id", after)
		}
		return listModels(ctx, f, query)
	}
}

func listModels(ctx context.Context, f Forwarder, query url.Values) (body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://pine-gate.invalid/v1/models", nil)
	if err != nil {
		return nil, err
	}
	req.RemoteAddr = "127.0.0.1:0" // reverse_proxy reads it; it is not sent
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "pine-gate")

	answer := &listAnswer{header: make(http.Header)}
	req = caddyhttp.PrepareRequest(req, caddy.NewReplacer(), answer, new(caddyhttp.Server))
	attempt := &Attempt{Endpoint: wire.ListModels, Query: query.Encode()}
	defer func() {
		// A response that breaks off ends in a panic.
		if r := recover(); r != nil {
			if r != http.ErrAbortHandler {
				panic(r)
			}
			if body, err = nil, errors.New("the list of models broke off"); answer.tooLong {
				err = errTooLong
			}
		}
	}()
	err = f.Forward(req.Context(), answer, req, attempt)
	switch {
	case attempt.Err != nil:
		return nil, attempt.Err
	case err != nil:
		return nil, err
	case attempt.Status != http.StatusOK:
		return nil, fmt.Errorf("backend answered %d", attempt.Status)
	case answer.tooLong:
		return nil, errTooLong
	}
	return answer.body.Bytes(), nil
}

var errTooLong = fmt.Errorf("the list of models is longer than %d bytes", maxListBytes)

// listAnswer is a ResponseWriter that stores a bounded body.
type listAnswer struct {
	header  http.Header
	body    bytes.Buffer
	tooLong bool
}

func (a *listAnswer) Header() http.Header { return a.header }
func (a *listAnswer) WriteHeader(int)     {}
func (a *listAnswer) Flush()              {}
func (a *listAnswer) Write(p []byte) (int, error) {
	if a.body.Len()+len(p) > maxListBytes {
		a.tooLong = true
		return 0, errTooLong // ends the transfer
	}
	return a.body.Write(p)
}
