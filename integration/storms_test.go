package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// attempt sends a chat and returns its status and error code; it may be called
// by any goroutine.
func (g *gate) attempt(key, body string) (status int, code string, err error) {
	req, err := http.NewRequest("POST", g.url+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Content-Type", jsonType)
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, "", err
	}
	var refusal struct{ Error struct{ Code string } }
	_ = json.Unmarshal(text, &refusal) // an answer has no code
	return res.StatusCode, refusal.Error.Code, nil
}

// storm runs n callers at once and waits for them.
func storm(n int, call func(i int)) {
	var callers sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		callers.Go(func() {
			<-start
			call(i)
		})
	}
	close(start)
	callers.Wait()
}

func TestStormOverARateAdmitsExactlyItsBurst(t *testing.T) {
	b := newBackend(t, answers(200, chatAnswer("ok", 1, 1)))
	g := startGate(t, block(b, keyWith("carol", "limit 20 requests/hour")))
	var admitted, refused atomic.Int64
	storm(200, func(int) {
		switch status, code, err := g.attempt(secretOf("carol"), chatBody("m", "x")); {
		case err != nil:
			t.Error(err)
		case status == 200:
			admitted.Add(1)
		case status == 429 && code == "rate_limit_exceeded":
			refused.Add(1)
		default:
			t.Errorf("got %d %s", status, code)
		}
	})
	if admitted.Load() != 20 || refused.Load() != 180 || len(b.seen()) != 20 {
		t.Errorf("%d admitted, %d refused, %d at the backend; want 20, 180, 20", admitted.Load(), refused.Load(), len(b.seen()))
	}
	if got := g.usageOf("carol"); got.Requests != 20 || got.Input != 20 || got.Output != 20 {
		t.Errorf("usage %+v", got)
	}
}

func TestStormOverAConcurrencyLimitNeverExceedsIt(t *testing.T) {
	const limit, callers = 4, 50
	var inside, peak, refused atomic.Int64
	release := make(chan struct{})
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		n := inside.Add(1)
		for old := peak.Load(); n > old && !peak.CompareAndSwap(old, n); old = peak.Load() {
		}
		<-release
		inside.Add(-1) // before the answer: the gate frees the place with its last byte
		answers(200, chatAnswer("ok", 1, 1))(w, r)
	})
	g := startGate(t, block(b, keyWith("carol", "limit 4 concurrent")))
	go func() { // the first ones wait until each of the others was refused, or has come too
		defer close(release)
		for inside.Load()+refused.Load() < callers && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}()
	storm(callers, func(int) {
		for first := true; ; first = false {
			status, code, err := g.attempt(secretOf("carol"), chatBody("m", "x"))
			switch {
			case err != nil:
				t.Error(err)
				return
			case status == 200:
				return
			case status != 429 || code != "slow_down":
				t.Errorf("got %d %s", status, code)
				return
			}
			if first {
				refused.Add(1)
			}
			time.Sleep(5 * time.Millisecond) // as a caller does who was asked to
		}
	})
	if peak.Load() != limit || refused.Load() < callers-limit {
		t.Errorf("the backend saw %d at once and %d were refused; want %d, and all others", peak.Load(), refused.Load(), limit)
	}
	if got := g.usageOf("carol"); got.Requests != callers {
		t.Errorf("usage %+v", got)
	}
	eventually(t, "all places are free", func() bool { return g.keyInfo(secretOf("carol")).limit("concurrent", "").Remaining == limit })
}

// However many come at once, what they may use together is no more than the
// budget.
func TestStormOverABudgetReservesNoMoreThanIt(t *testing.T) {
	const budget, callers = 1000, 200 // tokens, at a tenth of a cent each
	release := make(chan struct{})
	var reserved, arrived, refused atomic.Int64
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		<-release
		answers(200, chatAnswer("ok", 1, 1))(w, r)
	})
	g := startGate(t, block(b, keyWith("carol", "limit 1 usd/month")+"model gpt-* {\nprice input 1000 output 1000\n}"))
	go func() {
		defer close(release)
		for arrived.Load()+refused.Load() < callers && !t.Failed() {
			time.Sleep(time.Millisecond)
		}
	}()
	storm(callers, func(int) {
		switch status, code, err := g.attempt(secretOf("carol"), chatBody("gpt-5", "hi", `"max_tokens":300`)); {
		case err != nil:
			t.Error(err)
		case status == 429 && code == "slow_down":
			refused.Add(1)
		case status != 200:
			t.Errorf("got %d %s", status, code)
		}
	})
	for _, sent := range b.seen() {
		var body struct {
			Max int64 `json:"max_tokens"`
		}
		if err := json.Unmarshal([]byte(sent.body), &body); err != nil {
			t.Fatal(err)
		}
		reserved.Add(hi + body.Max)
	}
	if n := len(b.seen()); n < 4 || reserved.Load() > budget || n+int(refused.Load()) != callers {
		t.Errorf("%d requests were admitted that may use %d tokens of %d, and %d refused", n, reserved.Load(), budget, refused.Load())
	}
	if left := g.keyInfo(secretOf("carol")).limit("usd", "month").Remaining; left != 1-0.002*float64(len(b.seen())) {
		t.Errorf("%v USD are left after %d requests of 0.002", left, len(b.seen()))
	}
}
