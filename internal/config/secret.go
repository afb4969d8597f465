package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// ExpectedPlaceholder describes a placeholder in messages.
const ExpectedPlaceholder = "{env.NAME} or {file./path}"

// CheckPlaceholder refuses placeholders with something around them and those
// that Caddy's Caddyfile adapter has rewritten. It accepts text without braces.
func CheckPlaceholder(text string) error {
	switch {
	case strings.HasPrefix(text, "{http.request.uri.path.file"):
		// {file.name} is Caddy's short form for a part of the request's path.
		return errors.New("{file.NAME} without a slash is a part of the request's path in a Caddyfile: write the whole path, as in {file./run/secrets/NAME}")
	case !strings.ContainsAny(text, "{}"):
		return nil
	case strings.HasPrefix(text, "{") && strings.IndexByte(text, '}') == len(text)-1 && strings.Count(text, "{") == 1:
		return nil
	default:
		return errors.New("a placeholder stands alone: expected {env.NAME} or {file./path} with nothing around it")
	}
}

// CheckCredential refuses credentials that are no placeholder. A credential is
// sent to a backend or to Redis: a hash of it can't be sent, and in clear text it
// would be part of the config, which Caddy stores and shows.
func CheckCredential(text string) error {
	if err := CheckPlaceholder(text); err != nil {
		return err
	}
	for _, prefix := range []string{"{env.", "{file."} {
		if strings.HasPrefix(text, prefix) && len(text) > len(prefix)+len("}") {
			return nil
		}
	}
	return errors.New("a credential in clear would stand in the config, which is stored and shown: put it into the environment or a file and write {env.NAME} or {file./path} ({$NAME} is clear text, too)")
}

// resolve returns the value of a placeholder, without the white space around it
// since files end with a newline. It fails if the value is empty. Its errors do
// not contain the value.
func resolve(placeholder string) (string, error) {
	value, err := caddy.NewReplacer().ReplaceOrErr(placeholder, true, true)
	if err != nil {
		return "", err
	}
	if value = strings.TrimSpace(value); value == "" {
		return "", fmt.Errorf("nothing is behind %s", placeholder)
	}
	return value, nil
}
