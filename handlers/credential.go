package handlers

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/wire"
)

// credential returns the key that a request carries. Some clients send the same
// key in two headers; two different ones are refused, since a gate and a
// backend could each read another one. A key in the query string is refused
// too: URLs are logged.
func credential(r *http.Request) (string, *wire.Error) {
	secret, found, ok := bearer(r.Header["Authorization"])
	if !ok {
		return "", wire.Errorf(wire.KindInvalidKey, "")
	}
	for _, name := range wire.Carriers[1:] {
		for _, value := range r.Header[name] {
			value = strings.Trim(value, " \t")
			if found && value != secret {
				return "", wire.Errorf(wire.KindInvalidKey, "")
			}
			secret, found = value, true
		}
	}
	if r.URL.RawQuery != "" && hasQueryKey(r.URL.RawQuery) {
		return "", wire.Errorf(wire.KindInvalidKey, "")
	}
	if !found {
		return "", wire.Errorf(wire.KindNoKey, "")
	}
	// A longer one is refused before anything is hashed.
	if secret == "" || len(secret) > keys.MaxSecretLength {
		return "", wire.Errorf(wire.KindInvalidKey, "")
	}
	return secret, nil
}

// bearer parses the Authorization header: the scheme in any case, then blanks,
// then the key, which contains no blanks. ok is false for anything else.
func bearer(values []string) (secret string, found, ok bool) {
	switch len(values) {
	case 0:
		return "", false, true
	case 1:
	default:
		return "", false, false // a proxy could check one and pass on the other
	}
	const scheme = "bearer"
	value := strings.Trim(values[0], " \t")
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return "", false, false
	}
	rest := strings.TrimLeft(value[len(scheme):], " \t")
	if len(rest) == len(value)-len(scheme) || rest == "" || strings.ContainsAny(rest, " \t") {
		return "", false, false
	}
	return rest, true, true
}

// hasQueryKey reports whether a query has a parameter in which some API accepts
// a key.
func hasQueryKey(query string) bool {
	for pair := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if decoded, err := url.QueryUnescape(name); err == nil {
			name = decoded
		}
		switch strings.ToLower(strings.ReplaceAll(name, "-", "_")) {
		case "key", "api_key", "apikey", "x_api_key", "x_goog_api_key", "subscription_key", "token", "access_token", "authorization":
			return true
		}
	}
	return false
}
