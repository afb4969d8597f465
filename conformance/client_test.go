package conformance

import (
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
)

// attempts counts the requests that an SDK makes for its calls.
type attempts struct {
	count atomic.Int64
	next  http.RoundTripper
}

func (a *attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	a.count.Add(1)
	return a.next.RoundTrip(r)
}

func newAttempts(t *testing.T) *attempts {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(transport.CloseIdleConnections)
	return &attempts{next: transport}
}

// openAI returns a client as an application would make one, and its count of
// requests.
func openAI(t *testing.T, key string, options ...openaioption.RequestOption) (*openai.Client, *attempts) {
	a := newAttempts(t)
	client := openai.NewClient(append([]openaioption.RequestOption{
		openaioption.WithBaseURL(gateURL + "/v1/"),
		openaioption.WithAPIKey(key),
		openaioption.WithHTTPClient(&http.Client{Transport: a}),
	}, options...)...)
	return &client, a
}

// anthropicClient is openAI's like for Anthropic's SDK.
func anthropicClient(t *testing.T, key string, options ...anthropicoption.RequestOption) (*anthropic.Client, *attempts) {
	a := newAttempts(t)
	client := anthropic.NewClient(append([]anthropicoption.RequestOption{
		anthropicoption.WithoutEnvironmentDefaults(),
		anthropicoption.WithBaseURL(gateURL),
		anthropicoption.WithAPIKey(key),
		anthropicoption.WithHTTPClient(&http.Client{Transport: a}),
	}, options...)...)
	return &client, a
}
