package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/amanycodes/pine-gate/internal/redistest"
	"github.com/amanycodes/pine-gate/limiter"
)

func TestAnAdmissionIsOneCall(t *testing.T) {
	tuning := calm()
	tuning.batchDelay = 20 * time.Millisecond
	r, s := single(t, tuning)
	rules := []*limiter.Rule{rule("a", "1M requests/minute"), rule("a", "1M tokens/minute"), rule("a", "1M tokens/month"), rule("a", "900 concurrent"),
		limiter.NewRule(limiter.ScopeTeam, "crew", limiter.Limit{Unit: limiter.USD, Window: limiter.Month, Amount: 1000}), limiter.NewRule(limiter.ScopeModel, "m*", limiter.Limit{Unit: limiter.Requests, Window: limiter.Day, Amount: 500})}
	backends := [][]*limiter.Rule{{limiter.NewRule(limiter.ScopeBackend, "a", limiter.Limit{Unit: limiter.Concurrent, Amount: 1})}, {limiter.NewRule(limiter.ScopeBackend, "b", limiter.Limit{Unit: limiter.Concurrent, Amount: 500})}}
	ask := func() limiter.Request {
		req := asking(1, rules...)
		req.Candidates = backends
		return req
	}
	admit(t, r, ask()) // loads the script
	s.Do("config", "resetstat")
	var held []limiter.Reservation
	for range 20 {
		held = append(held, admit(t, r, ask()))
	}
	if n := s.Calls("evalsha") + s.Calls("eval"); n != 20 {
		t.Errorf("20 admissions were %d calls", n)
	}
	if err := held[0].Move(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	if n := s.Calls("evalsha"); n != 21 {
		t.Errorf("a move was %d calls", n-20)
	}
	s.Do("config", "resetstat")
	for _, res := range held {
		res.Settle(context.Background(), all)
	}
	flushed(t, r)
	if n := s.Calls("evalsha") + s.Calls("eval"); n > 4 {
		t.Errorf("20 settlements were %d calls", n)
	}
	remains(t, r, backends[1][0], 500)
}

// A caller that sends one request after the other is not refused for a permit that its last one has freed.
func TestAnAdmissionTakesAlongTheSettlementsThatWait(t *testing.T) {
	tuning := calm()
	tuning.batchDelay = never
	r, s := single(t, tuning)
	places, quota := rule("a", "1 concurrent"), rule("a", "10 tokens/month")
	admit(t, r, asking(9, places, quota)).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 1})
	flushed(t, r) // has loaded the scripts
	held := admit(t, r, asking(9, places, quota))
	held.Settle(context.Background(), limiter.Usage{})
	s.Do("config", "resetstat")
	for range 5 {
		admit(t, r, asking(9, places, quota)).Settle(context.Background(), limiter.Usage{})
	}
	if n := s.Calls("evalsha"); n != 10 {
		t.Errorf("5 admissions and as many settlements were %d calls", n)
	}
	flushed(t, r)
	remains(t, r, quota, 9)
	remains(t, r, places, 1)
}

func TestNoLimitsAreNoCall(t *testing.T) {
	r, s := single(t, calm())
	s.Do("config", "resetstat")
	req := asking(1)
	req.Candidates = [][]*limiter.Rule{{}, {}}
	res := admit(t, r, req)
	if err := res.Move(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	res.Settle(context.Background(), all)
	flushed(t, r)
	if n := s.Calls("evalsha") + s.Calls("eval"); n != 0 {
		t.Errorf("there were %d calls", n)
	}
}

// On a Cluster all limits of a request are one call, too, and what one of them refuses takes nothing of the others.
func TestOnAClusterAnAdmissionIsOneCall(t *testing.T) {
	set := redistest.Cluster(t)
	r := store(t, Options{Client: Dial(t, set.URLs()...)}, calm())
	rules := []*limiter.Rule{rule("alice", "9 concurrent"), limiter.NewRule(limiter.ScopeTeam, "crew", limiter.Limit{Unit: limiter.Tokens, Window: limiter.Month, Amount: 1000}),
		limiter.NewRule(limiter.ScopeModel, "m*", limiter.Limit{Unit: limiter.Requests, Window: limiter.Day, Amount: 500})}
	full, free := limiter.NewRule(limiter.ScopeBackend, "full", limiter.Limit{Unit: limiter.Concurrent, Amount: 1}), limiter.NewRule(limiter.ScopeBackend, "free", limiter.Limit{Unit: limiter.Concurrent, Amount: 900})
	calls := func() (n int) {
		for _, s := range set.Servers {
			n += s.Calls("evalsha") + s.Calls("eval")
		}
		return n
	}
	ask := func(rules []*limiter.Rule, candidates ...[]*limiter.Rule) limiter.Request {
		req := asking(10, rules...)
		req.Candidates = candidates
		return req
	}
	held := admit(t, r, ask(nil, []*limiter.Rule{full})) // loads the script
	before := calls()
	for range 5 {
		if got := refuse(t, r, ask(rules, []*limiter.Rule{full})); got.Rule != full || len(got.States) != 4 {
			t.Fatalf("got %v with %d states", got, len(got.States))
		}
	}
	moving := admit(t, r, ask(rules, []*limiter.Rule{full}, []*limiter.Rule{free}, []*limiter.Rule{full, rules[2]}))
	if n := calls() - before; n != 6 {
		t.Errorf("six admissions were %d calls", n)
	}
	if moving.Candidate() != 1 {
		t.Errorf("the candidate is %d", moving.Candidate())
	}
	remains(t, r, rules[1], 990)
	held.Settle(context.Background(), all)
	flushed(t, r)
	if err := moving.Move(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	remains(t, r, free, 900)
	moving.Settle(context.Background(), limiter.Usage{})
	flushed(t, r)
	remains(t, r, rules[0], 9)
	remains(t, r, rules[1], 1000)
	remains(t, r, rules[2], 500)
	remains(t, r, full, 1)
}

func TestRefusalsAreRememberedForAMoment(t *testing.T) {
	tuning := calm()
	tuning.overLimit = 100 * time.Millisecond
	r, s := single(t, tuning)
	for _, words := range []string{"1 requests/hour", "100 tokens/hour", "100 tokens/month"} {
		limit := rule("a", words)
		admit(t, r, asking(100, limit)).Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 100})
		flushed(t, r)
		first := refuse(t, r, asking(100, limit))
		s.Do("config", "resetstat")
		asked := 0
		for start := time.Now(); time.Since(start) < 250*time.Millisecond; asked++ {
			again := refuse(t, r, asking(100, limit))
			if again.Rule != limit || again.Requested != first.Requested && limit.Limit.Window.Rate() || again.Reserved ||
				again.RetryAfter <= 0 || again.RetryAfter > first.RetryAfter || len(again.States) != 1 {
				t.Fatalf("%s: got %+v after %+v", words, again, first)
			}
		}
		if n := s.Calls("evalsha"); n > 4 {
			t.Errorf("%s: %d refusals were %d calls", words, asked, n)
		}
	}
}

func TestARefusalIsForgottenWhenSomethingComesBack(t *testing.T) {
	tuning := calm()
	tuning.overLimit = time.Hour
	r, _ := single(t, tuning)
	limit := rule("a", "100 tokens/hour")
	held := admit(t, r, asking(100, limit))
	refuse(t, r, asking(50, limit))
	refuse(t, r, asking(50, limit))
	held.Settle(context.Background(), all)
	flushed(t, r)
	admit(t, r, asking(50, limit))
	refuse(t, r, asking(100, limit))
	admit(t, r, asking(30, limit)) // less than what was refused
}

func TestSeedsAreAskedOnceByACrowd(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	var mu sync.Mutex
	asked := map[string]int{}
	r := store(t, Options{Client: Dial(t, s.URL), Seed: func(rule *limiter.Rule, since time.Time) (int64, error) {
		mu.Lock()
		defer mu.Unlock()
		asked[rule.Name()]++
		if start, _ := rule.Limit.Window.Bounds(time.Now()); !since.Equal(start) {
			t.Errorf("%s: asked since %v", rule.Name(), since)
		}
		return 960, nil
	}}, calm())
	day, month := rule("a", "1000 tokens/day"), rule("a", "10000 tokens/month")
	var admitted, refused int
	crowd(50, func(int) {
		_, err := r.Reserve(context.Background(), asking(10, day, month))
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			admitted++
		} else {
			refused++
		}
	})
	if admitted != 4 || refused != 46 {
		t.Errorf("%d were admitted, %d refused", admitted, refused)
	}
	if len(asked) != 2 || asked[day.Name()] != 1 || asked[month.Name()] != 1 {
		t.Errorf("asked for %v", asked)
	}
}

// deaf is a connection path to Redis that can drop replies.
type deaf struct {
	net.Listener
	mu   sync.Mutex
	mute bool
	wg   sync.WaitGroup
}

func newDeaf(t *testing.T, addr string) *deaf {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{Listener: l}
	d.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				_ = client.Close()
				continue
			}
			d.wg.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
			d.wg.Go(func() { _, _ = io.Copy(&hearing{d, client}, server); _ = client.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		d.wg.Wait()
	})
	return d
}

// hearing is the client side of a connection, which receives no replies of scripts while d is mute. The
// handshake of a new connection passes: a list of more than nine and a word, which no script replies.
type hearing struct {
	d *deaf
	io.Writer
}

func (h *hearing) Write(p []byte) (int, error) {
	h.d.mu.Lock()
	mute := h.d.mute
	h.d.mu.Unlock()
	if greeting := p[0] == '+' || p[0] == '*' && p[2] != '\r'; mute && !greeting {
		return len(p), nil
	}
	return h.Writer.Write(p)
}

func (d *deaf) set(mute bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mute = mute
}

func TestAnAnswerThatIsLostCountsOnce(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{})
	way := newDeaf(t, s.Addr())
	r := store(t, Options{Client: Dial(t, "redis://"+way.Addr().String())}, calm())
	quota, places := rule("a", "1000 tokens/month"), rule("a", "5 concurrent")
	admit(t, r, asking(100, quota, places)).Settle(context.Background(), limiter.Usage{}) // loads the scripts
	flushed(t, r)
	held := admit(t, r, asking(100, quota, places))

	r.opts.Timeout = time.Second
	s.Do("config", "resetstat")
	way.set(true)
	_, err := r.Reserve(context.Background(), asking(10, quota, places))
	fails(t, err, limiter.ReasonTimeout)
	if n := s.Calls("evalsha"); n < 1 || n > 2 { // itself, and that it was given up
		t.Errorf("it was sent %d times", n)
	}
	held.Settle(context.Background(), limiter.Usage{Dispatched: true, Input: 60})
	eventually(t, "a settlement that was sent again", func() bool { return s.Calls("zrem") > 0 && r.Stats().Queued > 0 })
	way.set(false)
	r.opts.Timeout = 5 * time.Second
	flushed(t, r)
	remains(t, r, quota, 940)
	remains(t, r, places, 5)
}

func TestWaysToRedis(t *testing.T) {
	for name, c := range map[string]struct {
		opts redistest.Options
		with func(o *ClientOptions)
	}{
		"password":    {opts: redistest.Options{Password: "hush"}},
		"an ACL user": {opts: redistest.Options{User: "gate", UserPassword: "hush", UserRules: "~pinegate:* +@read +@write +@scripting +time +select +hello +ping"}},
		"an ACL user in the options": {
			opts: redistest.Options{User: "gate", UserPassword: "hush", UserRules: "~pinegate:* +@all"},
			with: func(o *ClientOptions) {
				o.URLs[0] = "redis://" + o.URLs[0][strings.LastIndex(o.URLs[0], "@")+1:]
				o.Username, o.Password = "gate", "hush"
			},
		},
		"TLS":              {opts: redistest.Options{TLS: true, Password: "hush"}},
		"unix":             {opts: redistest.Options{Unix: true, Password: "hush"}},
		"another database": {with: func(o *ClientOptions) { o.URLs[0] += "/3" }},
	} {
		t.Run(name, func(t *testing.T) {
			s := redistest.Standalone(t, c.opts)
			opts := ClientOptions{URLs: []string{s.URL}, TLS: s.TLS}
			if c.with != nil {
				c.with(&opts)
			}
			r := store(t, Options{Client: DialWith(t, opts)}, calm())
			decides(t, r)
			if err := r.Ping(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRedisThatIsNotTrustedIsUnavailable(t *testing.T) {
	s := redistest.Standalone(t, redistest.Options{TLS: true})
	r := store(t, Options{Client: Dial(t, s.URL)}, calm())
	_, err := r.Reserve(context.Background(), asking(1, rule("a", "1 concurrent")))
	fails(t, err, limiter.ReasonConnect)
}

func TestRedisOptionsThatMakeNoSense(t *testing.T) {
	for name, c := range map[string]struct {
		opts ClientOptions
		want string
	}{
		"no URL":             {ClientOptions{}, "no URL"},
		"no scheme":          {ClientOptions{URLs: []string{"hush@localhost"}}, "scheme"},
		"another scheme":     {ClientOptions{URLs: []string{"http://u:hush@localhost"}}, "scheme"},
		"no URL at all":      {ClientOptions{URLs: []string{"redis://u:hush@local host"}}, "not a URL"},
		"a bad database":     {ClientOptions{URLs: []string{"redis://u:hush@localhost/hush"}}, "database"},
		"a parameter":        {ClientOptions{URLs: []string{"redis://localhost?max_retries=3"}}, "max_retries"},
		"two passwords":      {ClientOptions{URLs: []string{"redis://u:hush@a", "redis://u:hushed@b"}}, "must be those of the first"},
		"a unix node":        {ClientOptions{URLs: []string{"unix:///a", "unix:///b"}}, "unix socket"},
		"a unix sentinel":    {ClientOptions{URLs: []string{"unix:///a"}, Sentinel: "main"}, "not by a unix socket"},
		"a Cluster database": {ClientOptions{URLs: []string{"redis://a/1", "redis://b/1"}}, "database 0"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Opener(c.opts)
			if err == nil {
				t.Fatal("got no error")
			}
			if strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// A changed password is used for new connections.
func TestCredentialsAreReadForEachConnection(t *testing.T) {
	var password atomic.Value
	password.Store("old")
	var broken atomic.Bool
	read := func() (string, string, error) {
		if broken.Load() {
			return "", "", errors.New("the file is gone")
		}
		return "", password.Load().(string), nil
	}
	set := redistest.Sentinel(t)
	for name, c := range map[string]struct {
		servers []*redistest.Server
		opts    ClientOptions
	}{
		"one Redis": {opts: ClientOptions{}},
		"Sentinel":  {servers: set.Servers, opts: ClientOptions{URLs: set.URLs(), Sentinel: redistest.SentinelMaster}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.servers == nil {
				s := redistest.Standalone(t, redistest.Options{})
				c.servers, c.opts.URLs = []*redistest.Server{s}, []string{s.URL}
			}
			change := func(rules ...any) {
				for _, s := range c.servers {
					s.Do(append([]any{"acl", "setuser", "gate", "on", "+@all", "~*"}, rules...)...)
				}
			}
			cut := func() {
				for _, s := range c.servers {
					s.Do("client", "kill", "user", "gate")
				}
			}
			password.Store("old")
			change(">old")
			opts := c.opts
			opts.Credentials = func() (string, string, error) {
				_, word, err := read()
				return "gate", word, err
			}
			r := store(t, Options{Client: DialWith(t, opts)}, calm())
			decides(t, r)

			change(">new", "<old")
			decides(t, r) // open connections keep theirs
			cut()
			eventually(t, "a password that is wrong", func() bool {
				away := new(limiter.Unavailable)
				return errors.As(r.Ping(context.Background()), &away) && away.Reason == limiter.ReasonAuth
			})
			password.Store("new")
			eventually(t, "Redis with the new password", func() bool { return r.Ping(context.Background()) == nil })
			decides(t, r)

			broken.Store(true)
			cut()
			eventually(t, "a password that can't be read", func() bool {
				away := new(limiter.Unavailable)
				err := r.Ping(context.Background())
				return errors.As(err, &away) && away.Reason == limiter.ReasonAuth && strings.Contains(err.Error(), "the file is gone")
			})
			broken.Store(false)
			eventually(t, "Redis again", func() bool { return r.Ping(context.Background()) == nil })
		})
	}
}
