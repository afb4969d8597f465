package stored

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// retention is how long Redis keeps the owner of a response: as long as
	// OpenAI stores one.
	retention = 30 * 24 * time.Hour

	// queueSize bounds how many owners wait to be written to Redis. The rest stay
	// local to this gate.
	queueSize = 4096

	// batchSize is the most owners in one write.
	batchSize = 100

	// lookupsAtOnce is how many lookups are under way at once. They use the client of
	// the limits: callers with ids that nobody knows must not delay admissions.
	lookupsAtOnce = 8

	// writeTimeout bounds one write.
	writeTimeout = time.Second
)

// Backoff is how long Redis is not used after it did not answer.
const Backoff = time.Second

// ErrUnavailable is returned when Redis, which holds the responses of all gates,
// does not answer.
var ErrUnavailable = errors.New("shared index of stored responses unavailable")

// Shared shares the owners of responses among the gates of one Redis, each in
// an expiring key of its own. Writes are asynchronous: they delay no request,
// and are retried while Redis is unavailable.
type Shared struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration
	backoff atomic.Int64  // end of the backoff of lookups, in nanoseconds since 1970
	lookups chan struct{} // holds a token for each lookup under way
	queue   chan response
	stop    context.CancelFunc
	stopped chan struct{}
}

type response struct {
	id string
	owner
}

// Share starts writing owners to Redis, until Close. The caller owns client;
// timeout bounds one lookup.
func Share(client redis.UniversalClient, prefix string, timeout time.Duration) *Shared {
	ctx, stop := context.WithCancel(context.Background())
	s := &Shared{
		client: client, prefix: prefix + ":response:", timeout: timeout,
		lookups: make(chan struct{}, lookupsAtOnce), queue: make(chan response, queueSize), stop: stop, stopped: make(chan struct{}),
	}
	go s.run(ctx)
	return s
}

// Close writes what is queued, if Redis answers, and stops.
func (s *Shared) Close() {
	s.stop()
	<-s.stopped
}

// add queues an owner, or drops it if the queue is full.
func (s *Shared) add(id string, made owner) {
	select {
	case s.queue <- response{id, made}:
	default:
	}
}

// run writes the queue until ctx ends, and then what is left in it.
func (s *Shared) run(ctx context.Context) {
	defer close(s.stopped)
	var batch []response
	for ctx.Err() == nil {
		if len(batch) == 0 {
			select {
			case first := <-s.queue:
				batch = append(batch, first)
			case <-ctx.Done():
			}
		}
		if batch = s.write(batch); len(batch) > 0 {
			select {
			case <-time.After(Backoff):
			case <-ctx.Done():
			}
		}
	}
	for left := len(batch) + len(s.queue); left > 0; left = len(batch) + len(s.queue) {
		if batch = s.write(batch); len(batch) > 0 {
			return
		}
	}
}

// write fills the batch up from the queue and writes it. It returns the batch
// if the write failed, else an empty one.
func (s *Shared) write(batch []response) []response {
	for len(batch) < batchSize && len(s.queue) > 0 {
		batch = append(batch, <-s.queue)
	}
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, r := range batch {
			made, _ := json.Marshal([...]string{r.key, r.backend}) // never fails for strings
			pipe.SetNX(ctx, s.prefix+r.id, made, retention)        // the first owner stays
		}
		return nil
	})
	if err != nil {
		return batch
	}
	return batch[:0]
}

// find reads from Redis the owner of a response that another gate or an earlier
// process has recorded.
func (s *Shared) find(ctx context.Context, id string) (owner, bool, error) {
	now := time.Now()
	if now.UnixNano() < s.backoff.Load() {
		return owner{}, false, ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	text, err := s.get(ctx, id)
	if errors.Is(err, redis.Nil) {
		return owner{}, false, nil
	}
	var made [2]string
	if err == nil {
		err = json.Unmarshal(text, &made)
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) { // else the caller left
			s.backoff.Store(now.Add(Backoff).UnixNano())
		}
		return owner{}, false, ErrUnavailable
	}
	return owner{made[0], made[1]}, true, nil
}

// get reads the owner of a response. It waits while too many lookups are under way.
func (s *Shared) get(ctx context.Context, id string) ([]byte, error) {
	select {
	case s.lookups <- struct{}{}:
		defer func() { <-s.lookups }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.client.Get(ctx, s.prefix+id).Bytes()
}
