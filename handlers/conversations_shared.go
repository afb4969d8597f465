package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// responseKept is for how long Redis knows who made a response: as long as
	// OpenAI stores one.
	responseKept = 30 * 24 * time.Hour

	// responsesQueued bounds how many wait to be told to Redis. Of more than that
	// only this gate knows.
	responsesQueued = 4096

	// responsesTold is how many are told at once.
	responsesTold = 100

	// responsesRest is for how long Redis is not asked after it did not answer.
	responsesRest = time.Second

	// responsesTelling bounds how long telling them takes.
	responsesTelling = time.Second
)

// errResponsesAway is why nobody can tell whether a response exists.
var errResponsesAway = errors.New("what other gates know of stored responses is away")

// SharedResponses tells the gates of one Redis who made a response and which
// backend stores it. A response has a key of its own there, which expires by
// itself. Telling keeps no request waiting, and goes on when Redis is back.
type SharedResponses struct {
	client  redis.UniversalClient
	prefix  string
	timeout time.Duration
	away    atomic.Int64 // until when Redis is not asked, in nanoseconds since 1970
	queue   chan toldResponse
	stop    context.CancelFunc
	stopped chan struct{}
}

type toldResponse struct {
	id string
	conversation
}

// ShareResponses begins to tell. The client stays the caller's; timeout bounds how
// long a request waits for what others know.
func ShareResponses(client redis.UniversalClient, prefix string, timeout time.Duration) *SharedResponses {
	ctx, stop := context.WithCancel(context.Background())
	s := &SharedResponses{
		client: client, prefix: prefix + ":response:", timeout: timeout,
		queue: make(chan toldResponse, responsesQueued), stop: stop, stopped: make(chan struct{}),
	}
	go s.run(ctx)
	return s
}

// Close tells what is waiting, if Redis is there, and ends.
func (s *SharedResponses) Close() {
	s.stop()
	<-s.stopped
}

func (s *SharedResponses) tell(id string, made conversation) {
	select {
	case s.queue <- toldResponse{id, made}:
	default:
	}
}

func (s *SharedResponses) run(ctx context.Context) {
	defer close(s.stopped)
	var batch []toldResponse
	for ctx.Err() == nil {
		if len(batch) == 0 {
			select {
			case first := <-s.queue:
				batch = append(batch, first)
			case <-ctx.Done():
			}
		}
		if batch = s.send(batch); len(batch) > 0 {
			select {
			case <-time.After(responsesRest):
			case <-ctx.Done():
			}
		}
	}
	for left := len(batch) + len(s.queue); left > 0; left = len(batch) + len(s.queue) {
		if batch = s.send(batch); len(batch) > 0 {
			return
		}
	}
}

// send tells a batch, filled up from the queue, and returns what is left of it.
func (s *SharedResponses) send(batch []toldResponse) []toldResponse {
	for len(batch) < responsesTold && len(s.queue) > 0 {
		batch = append(batch, <-s.queue)
	}
	if len(batch) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), responsesTelling)
	defer cancel()
	_, err := s.client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for _, r := range batch {
			made, _ := json.Marshal([...]string{r.key, r.backend}) // texts always can be
			pipe.SetNX(ctx, s.prefix+r.id, made, responseKept)     // the first one owns it
		}
		return nil
	})
	if err != nil {
		return batch
	}
	return batch[:0]
}

// find returns who made a response, as another gate or an earlier process told.
func (s *SharedResponses) find(ctx context.Context, id string) (conversation, bool, error) {
	now := time.Now()
	if now.UnixNano() < s.away.Load() {
		return conversation{}, false, errResponsesAway
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	text, err := s.client.Get(ctx, s.prefix+id).Bytes()
	if errors.Is(err, redis.Nil) {
		return conversation{}, false, nil
	}
	var made [2]string
	if err == nil {
		err = json.Unmarshal(text, &made)
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) { // by who asked, who has left
			s.away.Store(now.Add(responsesRest).UnixNano())
		}
		return conversation{}, false, errResponsesAway
	}
	return conversation{made[0], made[1]}, true, nil
}
