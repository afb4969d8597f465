package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

const (
	// queueBound is the most alerts that may wait for the webhook. Further ones are dropped.
	queueBound = 256

	// postTimeout is the timeout of one post, including the answer.
	postTimeout = 10 * time.Second

	// answerBound is how many bytes of an answer are read, so that its connection can be reused.
	answerBound = 64 << 10
)

// pauses are the delays between the attempts to send one alert. After the last attempt, three quarters
// of an hour after the first, it is dropped.
var pauses = []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute}

// Outcome is the outcome of sending an alert, as in metrics.
type Outcome string

// The outcomes. All but Retried are final.
const (
	Delivered Outcome = "delivered" // the webhook answered with 2xx
	Retried   Outcome = "retried"   // an attempt failed, and another one will follow
	Failed    Outcome = "failed"    // the last attempt failed
	Dropped   Outcome = "dropped"   // the queue was full, or the gate ended first
)

// Target is the destination of alerts.
type Target struct {
	URL *url.URL
	Key []byte // of the signatures
}

// WebhookOptions are the options of [NewWebhook].
type WebhookOptions struct {
	// Report, if set, is called with each outcome, and with the reason if that is not Delivered. The reason
	// contains nothing of the URL but its host. Send may call Report.
	Report func(a Alert, outcome Outcome, reason error)

	// Queue, Timeout and Pauses are set by tests. Defaults: queueBound, postTimeout and pauses.
	Queue   int
	Timeout time.Duration
	Pauses  []time.Duration
}

// Webhook sends signed alerts to a URL in the background, each until it is answered with 2xx or its last
// attempt fails. An alert that waits for its next attempt does not delay others.
type Webhook struct {
	options WebhookOptions
	client  *http.Client
	posting context.Context // of all posts
	cancel  context.CancelFunc
	wake    chan struct{} // has room for one
	closing chan struct{} // closed by Close
	ended   chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex // guards what follows
	target  func() (Target, error)
	queue   []*delivery
	running bool
	closed  bool
}

// delivery is a queued alert.
type delivery struct {
	alert Alert
	id    string
	body  []byte
	due   time.Time
	tries int
}

// NewWebhook returns a webhook that sends nothing until [Webhook.Configure] sets its target.
func NewWebhook(options WebhookOptions) *Webhook {
	if options.Report == nil {
		options.Report = func(Alert, Outcome, error) {}
	}
	if options.Queue == 0 {
		options.Queue = queueBound
	}
	if options.Timeout == 0 {
		options.Timeout = postTimeout
	}
	if options.Pauses == nil {
		options.Pauses = pauses
	}
	w := &Webhook{
		options: options,
		wake:    make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	w.posting, w.cancel = context.WithCancel(context.Background())
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns = 1
	w.client = &http.Client{
		Transport: transport,
		Timeout:   options.Timeout,
		// A redirect would send the alert to a host that is not configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return w
}

// Configure sets the destination of alerts, including queued ones. target is called for each attempt, so
// that the content of a placeholder may change. If it is nil, queued and later alerts are dropped.
func (w *Webhook) Configure(target func() (Target, error)) {
	w.mu.Lock()
	w.target = target
	var dropped []*delivery
	if target == nil {
		dropped, w.queue = w.queue, nil
	}
	w.mu.Unlock()
	for _, d := range dropped {
		w.options.Report(d.alert, Dropped, errors.New("there is no webhook any more"))
	}
}

// Send queues a. It does not block.
func (w *Webhook) Send(a Alert) {
	reason := w.enqueue(a)
	if reason != nil {
		w.options.Report(a, Dropped, reason)
	}
}

func (w *Webhook) enqueue(a Alert) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.target == nil:
		return nil
	case w.closed:
		return errEnded
	case len(w.queue) >= w.options.Queue:
		return fmt.Errorf("%d alerts wait for the webhook already", len(w.queue))
	}
	body, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	w.queue = append(w.queue, &delivery{alert: a, id: a.ID(), body: body})
	if !w.running {
		w.running = true
		go w.run()
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
	return nil
}

var errEnded = errors.New("the gate ended before the webhook answered")

// Close makes one more attempt for each queued alert, within bound, and drops the rest.
func (w *Webhook) Close(bound time.Duration) {
	w.mu.Lock()
	running, closed := w.running, w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return
	}
	defer w.client.CloseIdleConnections()
	defer w.cancel()
	close(w.closing)
	if !running {
		return
	}
	timer := time.AfterFunc(bound, w.cancel)
	defer timer.Stop()
	<-w.ended
}

// run sends due alerts until the webhook is closed, and then makes one attempt for each of the rest.
func (w *Webhook) run() {
	defer close(w.ended)
	for {
		d, wait := w.next()
		if d != nil && wait <= 0 {
			w.try(d)
			continue
		}
		if !w.pause(d != nil, wait) {
			break
		}
	}
	for d, _ := w.next(); d != nil; d, _ = w.next() {
		w.try(d)
	}
}

// pause waits for a new alert, or, if bounded, until wait has passed. It returns false when the webhook
// is closed.
func (w *Webhook) pause(bounded bool, wait time.Duration) bool {
	var due <-chan time.Time
	if bounded {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-w.wake:
	case <-w.closing:
		return false
	}
	return true
}

// next returns the alert that is due first, and the time until then; nil if the queue is empty.
func (w *Webhook) next() (*delivery, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil, 0
	}
	first := slices.MinFunc(w.queue, func(a, b *delivery) int { return a.due.Compare(b.due) })
	return first, time.Until(first.due)
}

// try posts an alert and reports the outcome.
func (w *Webhook) try(d *delivery) {
	reason := w.post(d)
	outcome := w.after(d, reason)
	if outcome == Dropped {
		reason = errEnded
	}
	if outcome != "" {
		w.options.Report(d.alert, outcome, reason)
	}
}

// after reschedules an alert or removes it from the queue. It returns "" for an alert that was removed
// while it was being sent, whose outcome has been reported already.
func (w *Webhook) after(d *delivery, reason error) Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	if reason != nil && !w.closed && d.tries < len(w.options.Pauses) {
		// Up to a tenth longer, so that alerts that failed together are not retried together.
		pause := w.options.Pauses[d.tries]
		d.due = time.Now().Add(pause + rand.N(pause/10+1))
		d.tries++
		if !slices.Contains(w.queue, d) {
			return ""
		}
		return Retried
	}
	left := len(w.queue)
	w.queue = slices.DeleteFunc(w.queue, func(other *delivery) bool { return other == d })
	switch {
	case reason == nil:
		return Delivered
	case len(w.queue) == left:
		return ""
	case w.posting.Err() != nil:
		return Dropped
	}
	return Failed
}

// post sends an alert. Its error contains nothing of the URL but the host.
func (w *Webhook) post(d *delivery) error {
	w.mu.Lock()
	resolve := w.target
	w.mu.Unlock()
	if resolve == nil {
		return errors.New("there is no webhook any more")
	}
	target, err := resolve()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(w.posting, http.MethodPost, target.URL.String(), bytes.NewReader(d.body))
	if err != nil {
		return errors.New("the URL can't be used")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "pine-gate")
	sign(req.Header, target.Key, d.id, time.Now(), d.body)
	res, err := w.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, answerBound) // the status is all that matters
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("it answered with status %d", res.StatusCode)
	}
	return nil
}

// withoutURL returns a client's error without the URL, whose path and query may contain a credential.
func withoutURL(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		return withURL.Err
	}
	return err
}
