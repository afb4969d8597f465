package backends

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/amanycodes/pine-gate/internal/wire"
)

// azureDomains holds the domains of Azure's model services in all of its clouds.
var azureDomains = []string{
	".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com",
	".openai.azure.us", ".cognitiveservices.azure.us", ".openai.azure.cn", ".cognitiveservices.azure.cn",
}

// IsAzure reports whether a host is one of Azure's model services, judging by
// its name: they take their keys in a header of their own.
func IsAzure(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, domain := range azureDomains {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}

// AzureBase returns the base path at which Azure serves an API, in the given version of
// its classic API or, if that is "", in its API v1. It is "" if Azure has none.
func AzureBase(api, version string) string {
	d := wire.DialectNamed(api)
	switch {
	case d == nil:
		return ""
	case version != "" && d.Azure.Classic != "":
		return d.Azure.Classic
	}
	return d.Azure.Base
}

// AzureKeyHeader returns the header in which Azure takes the keys of an API; "" for
// the API's own.
func AzureKeyHeader(api string) string {
	if d := wire.DialectNamed(api); d != nil {
		return d.Azure.KeyHeader
	}
	return ""
}

// IsAPIVersion reports whether version may be one of Azure's versions, such as
// 2024-10-21, 2025-04-01-preview or preview.
func IsAPIVersion(version string) bool {
	return version != "" && len(version) <= 64 && strings.Trim(version, "abcdefghijklmnopqrstuvwxyz0123456789-.") == ""
}

// IsAzure reports whether the backend is Azure.
func (t *Transport) IsAzure() bool { return t.keyHeader == azureKey || t.APIVersion != "" }

// isDeployment reports whether name may be the name of a deployment. Callers
// choose it, and it becomes part of the path.
func isDeployment(name string) bool {
	return len(name) <= 64 && strings.Trim(name, ".") != "" && strings.IndexFunc(name, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0
}

// url returns the URL of an attempt. It takes only the scheme and host from
// server: the gate has checked no query. It returns false for a model that can't
// be a deployment's name.
func (t *Transport) url(server *url.URL, ex *Attempt) (u *url.URL, ok bool) {
	path := ex.Path
	if path == "" {
		path = ex.Endpoint.Path()
	}
	base := t.BasePath
	if t.deployments && ex.Endpoint.Deployed() {
		if !isDeployment(ex.Model) {
			return nil, false
		}
		base += "/deployments/" + ex.Model
	}
	query := ex.Query
	if t.APIVersion != "" {
		if query != "" {
			query += "&"
		}
		query += "api-version=" + t.APIVersion
	}
	return &url.URL{Scheme: server.Scheme, Host: server.Host, Path: base + path, RawQuery: query}, true
}

// noDeployment returns the response for a model that can't be a deployment's
// name, as Azure responds to an unknown deployment.
func noDeployment(e wire.Endpoint) *http.Response {
	body := wire.Errorf(wire.KindModelNotFound, "").Body(e.Dialect(), "")
	return &http.Response{
		StatusCode: http.StatusNotFound, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        http.Header{"Content-Type": {"application/json"}},
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
	}
}
