package alerts

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// enough is the timeout for what should happen at once.
const enough = 30 * time.Second

// report is a call of Report.
type report struct {
	alert   Alert
	outcome Outcome
	reason  error
}

// post is a request that a receiver got.
type post struct {
	header http.Header
	body   []byte
}

// receiver starts a server for alerts; it sends each request to posts.
func receiver(t *testing.T, answer http.HandlerFunc) (address string, posts chan post) {
	t.Helper()
	posts = make(chan post, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posts <- post{r.Header, body}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/hook?token=hush", posts
}

// sender returns a webhook that posts to address, and a channel of its
// reports.
func sender(t *testing.T, address string, options WebhookOptions) (*Webhook, chan report) {
	t.Helper()
	reports := make(chan report, 1000)
	options.Report = func(a Alert, outcome Outcome, reason error) { reports <- report{a, outcome, reason} }
	w := NewWebhook(options)
	t.Cleanup(func() { w.Close(0) })
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	w.Configure(func() (Target, error) { return Target{URL: u, Key: key}, nil })
	return w, reports
}

// get waits for the next value of the channel.
func get[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(enough):
		t.Fatalf("not within %v: %s", enough, what)
		panic("unreachable")
	}
}

func alert(id string) Alert {
	r := limiter.NewRule(limiter.ScopeKey, id, limiter.Limit{Unit: limiter.USD, Window: limiter.Month, Amount: 25 * limiter.NanoUSD})
	return Alert{Rule: r, Percent: 80, Used: 20_500_000_000, Limit: r.Limit.Amount, Since: june, Until: june.AddDate(0, 1, 0)}
}

func isSigned(p post) bool {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, p.header.Get("webhook-id")+"."+p.header.Get("webhook-timestamp")+"."+string(p.body))
	return p.header.Get("webhook-signature") == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// The test vector of Standard Webhooks' libraries.
func TestSignaturesAreThoseOfStandardWebhooks(t *testing.T) {
	key, err := ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	h := make(http.Header)
	sign(h, key, "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	want := http.Header{
		"Webhook-Id": {"msg_p5jXN8AQM9LWM0D4loKWxJek"}, "Webhook-Timestamp": {"1614265330"},
		"Webhook-Signature": {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
	}
	if !reflect.DeepEqual(h, want) {
		t.Errorf("got %v", h)
	}
}

func TestSecrets(t *testing.T) {
	if key, err := ParseSecret("sixteen-bytes-16"); err != nil || string(key) != "sixteen-bytes-16" {
		t.Errorf("as it is: %q, %v", key, err)
	}
	for _, bad := range []string{"", "too-short", "whsec_", "whsec_aHVzaA==", "whsec_hush-hush-hush-hush-hush"} {
		if _, err := ParseSecret(bad); err == nil || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestAnAlertIsSentSigned(t *testing.T) {
	address, posts := receiver(t, func(http.ResponseWriter, *http.Request) {})
	w, reports := sender(t, address, WebhookOptions{})
	w.Send(alert("alice"))
	got := get(t, posts, "a post")
	if !isSigned(got) {
		t.Errorf("the signature is not of what was sent: %v", got.header)
	}
	if id := got.header.Get("webhook-id"); id != alert("alice").ID() || id == alert("bob").ID() {
		t.Errorf("its id is %q", id)
	}
	var members map[string]any
	if err := json.Unmarshal(got.body, &members); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"type": "budget.threshold_reached", "rule": "key/alice/usd/month", "scope": "key", "id": "alice", "unit": "usd", "window": "month",
		"percent": 80.0, "used": 20.5, "limit": 25.0, "window_start": "2025-06-01T00:00:00Z", "reset_at": "2025-07-01T00:00:00Z",
	}
	if !reflect.DeepEqual(members, want) {
		t.Errorf("got %s", got.body)
	}
	if r := get(t, reports, "the report"); r.outcome != Delivered || r.reason != nil {
		t.Errorf("reported %v", r)
	}
}

// A failed alert is sent again with the same id, and does not delay others
// meanwhile.
func TestWhatFailsIsSentAgain(t *testing.T) {
	failures := 2
	address, posts := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		if failures > 0 {
			failures--
			w.WriteHeader(500)
		}
	})
	w, reports := sender(t, address, WebhookOptions{Pauses: []time.Duration{time.Millisecond, time.Millisecond}})
	w.Send(alert("alice"))
	first := get(t, posts, "the first try")
	for range 2 {
		if r := get(t, reports, "a retry"); r.outcome != Retried || r.reason == nil || r.reason.Error() != "it answered with status 500" {
			t.Errorf("reported %v", r)
		}
		again := get(t, posts, "the next try")
		if again.header.Get("webhook-id") != first.header.Get("webhook-id") || !isSigned(again) {
			t.Errorf("it came again as %v", again.header)
		}
	}
	if r := get(t, reports, "the report"); r.outcome != Delivered {
		t.Errorf("reported %v", r)
	}
}

func TestTriesAreBounded(t *testing.T) {
	address, posts := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) })
	w, reports := sender(t, address, WebhookOptions{Pauses: []time.Duration{time.Millisecond}})
	w.Send(alert("alice"))
	if r := get(t, reports, "a retry"); r.outcome != Retried {
		t.Errorf("reported %v", r)
	}
	if r := get(t, reports, "the end"); r.outcome != Failed || len(posts) != 2 {
		t.Errorf("reported %v after %d posts", r, len(posts))
	}
}

func TestAnAlertThatWaitsLetsOthersPass(t *testing.T) {
	address, posts := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("webhook-id") == alert("alice").ID() {
			w.WriteHeader(503)
		}
	})
	w, reports := sender(t, address, WebhookOptions{Pauses: []time.Duration{time.Hour}})
	w.Send(alert("alice"))
	if r := get(t, reports, "the first fails"); r.outcome != Retried {
		t.Fatalf("reported %v", r)
	}
	w.Send(alert("bob"))
	if r := get(t, reports, "the second"); r.outcome != Delivered || r.alert.Rule.ID != "bob" {
		t.Errorf("reported %v", r)
	}
	w.Close(enough) // makes one more attempt
	if r := get(t, reports, "the end of the first"); r.outcome != Failed || len(posts) != 3 {
		t.Errorf("reported %v after %d posts", r, len(posts))
	}
}

// A webhook that hangs blocks neither Send nor Close.
func TestAWebhookThatHangsHoldsUpNothing(t *testing.T) {
	end := make(chan struct{})
	address, posts := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(end) })
	w, reports := sender(t, address, WebhookOptions{Queue: 3, Timeout: time.Hour})
	w.Send(alert("alice"))
	get(t, posts, "the first post") // and then it hangs
	for range 4 {
		w.Send(alert("bob")) // returns
	}
	for range 2 {
		if r := get(t, reports, "what is beyond the queue"); r.outcome != Dropped || r.reason.Error() != "3 alerts wait for the webhook already" {
			t.Errorf("reported %v", r)
		}
	}
	closed := make(chan struct{})
	go func() {
		w.Close(10 * time.Millisecond)
		close(closed)
	}()
	get(t, closed, "it closes")
	for range 3 {
		if r := get(t, reports, "what was left"); r.outcome != Dropped || !errors.Is(r.reason, errEnded) {
			t.Errorf("reported %v", r)
		}
	}
	w.Send(alert("carol"))
	if r := get(t, reports, "what comes later"); r.outcome != Dropped {
		t.Errorf("reported %v", r)
	}
}

func TestATryIsBounded(t *testing.T) {
	address, _ := receiver(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	w, reports := sender(t, address, WebhookOptions{Timeout: 20 * time.Millisecond, Pauses: []time.Duration{}})
	w.Send(alert("alice"))
	if r := get(t, reports, "it is given up"); r.outcome != Failed || r.reason == nil {
		t.Errorf("reported %v", r)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	elsewhere, followed := receiver(t, func(http.ResponseWriter, *http.Request) {})
	address, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, elsewhere, http.StatusTemporaryRedirect)
	})
	w, reports := sender(t, address, WebhookOptions{Pauses: []time.Duration{}})
	w.Send(alert("alice"))
	if r := get(t, reports, "the report"); r.outcome != Failed || len(followed) != 0 {
		t.Errorf("reported %v; %d followed", r, len(followed))
	}
}

// An alert that can't be sent is logged without the contents of the URL.
func TestReasonsHoldNothingOfTheURL(t *testing.T) {
	server := httptest.NewServer(nil)
	address := strings.Replace(server.URL, "http://", "http://user:hush@", 1) + "/hush?token=hush"
	server.Close() // nothing listens
	w, reports := sender(t, address, WebhookOptions{Pauses: []time.Duration{}})
	w.Send(alert("alice"))
	if r := get(t, reports, "the report"); r.outcome != Failed || strings.Contains(r.reason.Error(), "hush") {
		t.Errorf("reported %v", r)
	}
}

// A reload may change the destination, also of queued alerts, or remove it.
func TestAReloadChangesWhereAlertsGo(t *testing.T) {
	away, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) })
	address, posts := receiver(t, func(http.ResponseWriter, *http.Request) {})
	w, reports := sender(t, away, WebhookOptions{Pauses: []time.Duration{time.Hour}})
	w.Send(alert("alice"))
	get(t, reports, "the first try")
	w.Configure(nil)
	if r := get(t, reports, "what waited"); r.outcome != Dropped {
		t.Errorf("reported %v", r)
	}
	w.Send(alert("bob"))
	u, _ := url.Parse(address)
	w.Configure(func() (Target, error) { return Target{URL: u}, nil })
	w.Send(alert("carol"))
	if got := get(t, posts, "the post"); got.header.Get("webhook-id") != alert("carol").ID() {
		t.Errorf("sent %s", got.body)
	}
}
