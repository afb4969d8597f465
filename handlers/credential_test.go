package handlers

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/amanycodes/pine-gate/internal/keys"
	"github.com/amanycodes/pine-gate/internal/wire"
)

func TestCredentialIsFoundInEachCarrier(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		want   string
	}{
		"bearer":                      {http.Header{"Authorization": {"Bearer k1"}}, "k1"},
		"bearer in lower case":        {http.Header{"Authorization": {"bearer k1"}}, "k1"},
		"two spaces":                  {http.Header{"Authorization": {"Bearer  k1"}}, "k1"},
		"a tab":                       {http.Header{"Authorization": {"Bearer\tk1"}}, "k1"},
		"x-api-key":                   {http.Header{"X-Api-Key": {"k1"}}, "k1"},
		"api-key":                     {http.Header{"Api-Key": {"k1"}}, "k1"},
		"x-goog-api-key":              {http.Header{"X-Goog-Api-Key": {"k1"}}, "k1"},
		"the same key in two of them": {http.Header{"Authorization": {"Bearer k1"}, "X-Api-Key": {"k1"}}, "k1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/v1/chat/completions", nil)
			r.Header = c.header
			got, err := credential(r)
			if err != nil || got != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestCredentialThatIsNoneOrTwoIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		header http.Header
		query  string
		reason string
	}{
		"nothing":                    {reason: "You didn't provide"},
		"basic":                      {header: http.Header{"Authorization": {"Basic k1"}}},
		"empty bearer":               {header: http.Header{"Authorization": {"Bearer "}}},
		"bearer alone":               {header: http.Header{"Authorization": {"Bearer"}}},
		"no blank":                   {header: http.Header{"Authorization": {"Bearerk1"}}},
		"two words":                  {header: http.Header{"Authorization": {"Bearer k1 k2"}}},
		"two lines":                  {header: http.Header{"Authorization": {"Bearer k1", "Bearer k1"}}},
		"two carriers differ":        {header: http.Header{"Authorization": {"Bearer k1"}, "X-Api-Key": {"k2"}}},
		"one carrier twice, differs": {header: http.Header{"X-Api-Key": {"k1", "k2"}}},
		"an empty carrier beside":    {header: http.Header{"Authorization": {"Bearer k1"}, "X-Api-Key": {""}}},
		"bad bearer, good x-api-key": {header: http.Header{"Authorization": {"Basic x"}, "X-Api-Key": {"k1"}}},
		"too long":                   {header: http.Header{"X-Api-Key": {strings.Repeat("k", keys.MaxSecretLength+1)}}},
		"query":                      {query: "api_key=k1", header: http.Header{"Authorization": {"Bearer k1"}}},
		"query, encoded name":        {query: "%6bey=k1"},
		"query, other case":          {query: "a=b;API-Key=k1"},
		"query, Google's carrier":    {query: "x-goog-api-key=k1"},
		"query, Azure's":             {query: "api-version=1&Subscription-Key=k1"},
		"query, a token":             {query: "token=k1"},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/v1/chat/completions?"+c.query, nil)
			r.Header = c.header
			secret, err := credential(r)
			if err == nil {
				t.Fatalf("accepted %q", secret)
			}
			want := c.reason
			if want == "" {
				want = "Incorrect API key"
			}
			if err.StatusCode() != http.StatusUnauthorized || !strings.HasPrefix(err.Message, want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Every method is judged alike.
func TestNoMethodGetsAnUpgradePastTheGate(t *testing.T) {
	for method, status := range map[string]int{http.MethodGet: http.StatusUpgradeRequired, http.MethodHead: http.StatusBadRequest} {
		r := httptest.NewRequest(method, "/v1/models", nil)
		r.Header = http.Header{"Connection": {"upgrade"}, "Upgrade": {"websocket"}}
		c := request{r: r, endpoint: wire.ListModels}
		if err := c.checkProtocol(); err == nil || err.StatusCode() != status {
			t.Errorf("%s: %v", method, err)
		}
		r.Header = nil
		if err := c.checkProtocol(); err != nil {
			t.Errorf("%s without an upgrade: %v", method, err)
		}
	}
}

func TestUpgradesAreToldFromOffersOfH2C(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		header http.Header
		want   bool
	}{
		"plain":                   {},
		"h2c offer":               {header: http.Header{"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}}},
		"upgrade without a token": {header: http.Header{"Upgrade": {"websocket"}}},
		"websocket":               {header: http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}}, want: true},
		"h2c and websocket":       {header: http.Header{"Connection": {"upgrade"}, "Upgrade": {"h2c, websocket"}}, want: true},
		"extended connect":        {method: http.MethodConnect, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/v1/chat/completions", nil)
			if c.method != "" {
				r.Method = c.method
			}
			if c.header != nil {
				r.Header = c.header
			}
			if got := isUpgrade(r); got != c.want {
				t.Errorf("isUpgrade = %t", got)
			}
		})
	}
}
