package wire

import (
	"fmt"
	"strings"
)

// version is the base of the APIs that clients call without it.
const version = "/v1"

// isBase reports whether the paths of a dialect begin with the segment.
func isBase(segment string) bool {
	for _, d := range dialects {
		if first, _, _ := strings.Cut(strings.TrimPrefix(d.Base, "/"), "/"); "/"+first == segment {
			return true
		}
	}
	return segment == version
}

// byPath holds the endpoints whose path has no id, indexed by the whole path.
var byPath = func() map[string]Endpoint {
	m := make(map[string]Endpoint, len(endpoints))
	for e := Chat; int(e) < len(endpoints); e++ {
		switch info := e.info(); {
		case e == GetModel || e == GetResponse:
		case info.dialect != nil:
			m[info.dialect.Base+info.path] = e
		default:
			m[info.path] = e
		}
	}
	return m
}()

// Match returns the endpoint of path, a decoded URL path, and the id that ends
// it, if any: that of a model, which may contain slashes, or of a response,
// which may not.
//
// It matches the spellings that base URLs often lead to, too: doubled slashes, a
// slash at the end, and no /v1. A backend is always sent the canonical path. Any
// other spelling is Unknown (dot segments, backslashes, another case), and so is
// every spelling but the canonical one of the gate's own endpoints: a proxy in
// front may block those by their path.
func Match(path string) (e Endpoint, id string) {
	if e, id = match(path); e != Unknown {
		return e, id
	}
	path, ok := canonical(path)
	if !ok {
		return Unknown, ""
	}
	if e, id = match(path); e.own() && e != Probe {
		return Unknown, ""
	}
	return e, id
}

// match returns the endpoint of a path that is spelled canonically.
func match(path string) (e Endpoint, id string) {
	if e, ok := byPath[path]; ok {
		return e, ""
	}
	if id, ok := strings.CutPrefix(path, "/v1/models/"); ok && validID(id) {
		return GetModel, id
	}
	if id, ok := strings.CutPrefix(path, "/v1/responses/"); ok && validID(id) && !strings.Contains(id, "/") {
		return GetResponse, id
	}
	return Unknown, ""
}

// own reports whether the endpoint is the gate's own and no part of an API.
func (e Endpoint) own() bool { return e.info().dialect == nil }

// canonical returns path without empty segments, and with /v1 in front; "/" if
// nothing else is left. ok is false if path contains anything that a server
// could resolve, decode or truncate.
func canonical(path string) (c string, ok bool) {
	if !strings.HasPrefix(path, "/") || len(path) > maxPathBytes || strings.ContainsAny(path, "\\?#%;") || HasControl(path) {
		return "", false
	}
	var b strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "":
			continue
		case ".", "..":
			return "", false
		}
		if b.Len() == 0 && !isBase("/"+segment) {
			b.WriteString(version)
		}
		b.WriteString("/" + segment)
	}
	if c = b.String(); c == "" || c == version {
		return "/", true
	}
	return c, true
}

// maxPathBytes bounds the length of a path that is matched leniently: the longest
// prefix and id, with some slashes.
const maxPathBytes = 2 * MaxModelBytes

// validID reports whether id is a valid id of a model or response: without
// anything that a server behind the gate would resolve, decode or truncate.
func validID(id string) bool {
	if id == "" || len(id) > MaxModelBytes || strings.ContainsAny(id, "\\?#%") || HasControl(id) {
		return false
	}
	for segment := range strings.SplitSeq(id, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// PathPattern returns the whole canonical path, with {id} where an id stands.
func (e Endpoint) PathPattern() string {
	path := e.Path()
	if d := e.info().dialect; d != nil {
		path = d.Base + path
	}
	if e == GetModel || e == GetResponse {
		path += "{id}"
	}
	return path
}

// UnknownURL returns the error for a path that the gate does not serve. It names
// the path, what is served, and the /v1 that clients forget.
func UnknownURL(method, path string) *Error {
	err := Errorf(KindUnknownURL, "")
	asked, missing := "This path", ""
	if _, ok := canonical(path); ok && plain(method) && plain(path) {
		asked = method + " " + path
		if !strings.HasPrefix(path, version+"/") && path != version {
			missing = ", and begin with " + version
		}
	}
	err.Message = fmt.Sprintf("Unknown request URL: %s is not served here. This gateway's paths are those of the OpenAI and Anthropic APIs that call models%s, such as %s, %s, %s and %s.",
		asked, missing, Chat.PathPattern(), Responses.PathPattern(), Messages.PathPattern(), ListModels.PathPattern())
	return err
}

// WrongMethod returns the error for a method that the endpoint does not answer.
// It names the path and the method that is served there.
func (e Endpoint) WrongMethod(method string) *Error {
	err := Errorf(KindMethod, "")
	err.Allow = e.Allow()
	if !plain(method) {
		method = "this method"
	}
	err.Message = fmt.Sprintf("This gateway serves %s %s, not %s.", e.Method(), e.PathPattern(), method)
	return err
}

// plain reports whether s is short and of characters that cannot break a log or
// be mistaken for a secret, so that a message may repeat it.
func plain(s string) bool {
	return len(s) <= 100 && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("/_-.{}0123456789", c)
	})
}
