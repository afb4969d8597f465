package limitertest

import (
	"context"
	"errors"
	"time"

	"github.com/amanycodes/pine-gate/limiter"
)

// over returns req with candidates.
func over(req limiter.Request, candidates ...[]*limiter.Rule) limiter.Request {
	req.Candidates = candidates
	return req
}

var candidateTests = []test{
	{"takes the first with room", func(g *gate) {
		a, b, c := backend("a", "1 concurrent"), backend("b", "2 concurrent"), backend("c", "1 requests/hour")
		key := keyRule("100 requests/hour")
		req := over(plain(key), a, b, c)
		var first limiter.Reservation
		for i, want := range []int{0, 1, 1, 2} {
			r := g.admit(req)
			equal(g, "candidate", r.Candidate(), want)
			equal(g, "states", len(r.States()), 2)
			equal(g, "state", r.States()[1].Rule, req.Candidates[want][0])
			if i == 0 {
				first = r
			}
		}
		g.refuse(req)
		g.remaining(key, 96)
		settle(first, used(1, 1))
		equal(g, "candidate", g.admit(req).Candidate(), 0)
	}},
	{"takes a backend without limits", func(g *gate) {
		req := over(plain(), backend("a", "1 concurrent"), nil)
		equal(g, "candidate", g.admit(req).Candidate(), 0)
		equal(g, "candidate", g.admit(req).Candidate(), 1)
		equal(g, "candidate", g.admit(req).Candidate(), 1)
	}},
	{"refuses for the one that frees soonest where all are full", func(g *gate) {
		slow, quick, quota := backend("slow", "1 requests/hour"), backend("quick", "6 requests/minute burst 1"), backend("quota", "1 requests/month")
		req := over(plain(keyRule("100 requests/hour")), slow, quick, quota)
		for range 3 {
			settle(g.admit(req), used(1, 1))
		}
		refusal := g.refuse(req)
		equal(g, "rule", refusal.Rule, quick[0])
		equal(g, "retry", refusal.RetryAfter, 10*time.Second)
		equal(g, "states", len(refusal.States), 2)
		equal(g, "state", refusal.States[1].Rule, quick[0])
		g.advance(10 * time.Second)
		equal(g, "candidate", g.admit(req).Candidate(), 1)
	}},
	{"passes over one that a request is too large for", func(g *gate) {
		small, large := backend("small", "10 tokens/minute"), backend("large", "100 tokens/minute")
		req := over(chat(50, 0, 0), small, large)
		equal(g, "candidate", g.admit(req).Candidate(), 1)
		g.admit(req)
		refusal := g.refuse(req)
		equal(g, "rule", refusal.Rule, large[0])
		equal(g, "too large", refusal.TooLarge, false)
		equal(g, "too large for all", g.refuse(over(chat(500, 0, 0), small, large)).TooLarge, true)
	}},
	{"names the later of the request's own rules and the backends", func(g *gate) {
		key, slow := keyRule("60 requests/minute burst 1"), backend("slow", "1 requests/hour")
		settle(g.admit(over(plain(key), slow)), used(1, 1))
		equal(g, "rule", g.refuse(over(plain(key), slow)).Rule, slow[0])
		equal(g, "rule where a backend has room", g.refuse(over(plain(key), slow, nil)).Rule, key)
	}},
	{"lowers the cap by the backend's own quota", func(g *gate) {
		key, rate := keyRule("1000 tokens/day"), limiter.NewRule(limiter.ScopeTeam, "crew", limit("10k tokens/minute"))
		r := g.admit(over(chat(100, 400, 400, key, rate), backend("b", "300 tokens/day")))
		equal(g, "cap", r.Cap(), 200)
		g.remaining(key, 700)
		g.remaining(rate, 9700)
	}},
	{"moves the backend's part and nothing else", func(g *gate) {
		key := keyRule("10 requests/hour")
		a := backend("a", "10 requests/hour", "1000 tokens/hour", "5 concurrent")
		b := backend("b", "10 requests/hour", "1000 tokens/hour", "5 concurrent")
		r := g.admit(over(chat(100, 20, 20, key), a, b))
		g.move(r, 1)
		g.remaining(key, 9)
		for i, want := range []int64{9, 1000, 5} { // the attempt stays counted, tokens and permit are returned
			g.remaining(a[i], want)
		}
		for i, want := range []int64{9, 880, 4} {
			g.remaining(b[i], want)
			equal(g, "state", r.States()[1+i].Rule, b[i])
			equal(g, "state", r.States()[1+i].Remaining, want)
		}
		settle(r, used(50, 10))
		for i, want := range []int64{9, 1000, 5} {
			g.remaining(a[i], want)
		}
		for i, want := range []int64{9, 940, 5} {
			g.remaining(b[i], want)
		}
	}},
	{"stays where the other has no room", func(g *gate) {
		a, b := backend("a", "1 concurrent"), backend("b", "1 concurrent", "100 requests/hour")
		other := g.admit(over(plain(), b))
		r := g.admit(over(plain(), a, b))
		refusal := g.refusal(r.Move(context.Background(), 1))
		equal(g, "rule", refusal.Rule, b[0])
		equal(g, "candidate", r.Candidate(), 0)
		g.remaining(a[0], 0)
		g.remaining(b[1], 99)
		settle(other, used(1, 1))
		g.move(r, 1)
		g.remaining(a[0], 1)
		g.remaining(b[0], 0)
		settle(r, limiter.Usage{})
		g.remaining(b[0], 1)
	}},
	{"moves to the same backend within its permits", func(g *gate) {
		// Two candidates may be two models of one backend.
		a := backend("a", "1 concurrent", "3 requests/hour", "100 tokens/hour", "100 tokens/day")
		r := g.admit(over(chat(60, 40, 40), a, a))
		g.move(r, 1)
		g.move(r, 1)
		g.remaining(a[0], 0)
		g.remaining(a[1], 0)
		g.remaining(a[2], 0)
		equal(g, "cap", r.Cap(), int64(-1))
		equal(g, "rule", g.refusal(r.Move(context.Background(), 0)).Rule, a[1])
		settle(r, used(10, 10))
		g.remaining(a[0], 1)
		g.remaining(a[2], 80)
		g.remaining(a[3], 80)
	}},
	{"counts what it gives up as free", func(g *gate) {
		a := backend("a", "150 tokens/day", "150 tokens/hour")
		r := g.admit(over(chat(10, 90, 90), a, a))
		g.move(r, 1)
		equal(g, "cap", r.Cap(), int64(-1))
		g.remaining(a[0], 50)
		g.remaining(a[1], 50)
	}},
	{"does not count as free what it took of a window that has passed", func(g *gate) {
		a := backend("a", "100 tokens/day")
		r := g.admit(over(chat(60, 0, 0), a, a))
		g.turn(a[0], time.Minute)
		other := g.admit(over(chat(60, 0, 0), a))
		g.refusal(r.Move(context.Background(), 1))
		settle(other, limiter.Usage{})
		g.move(r, 1)
		g.remaining(a[0], 40)
		settle(r, limiter.Usage{})
		g.remaining(a[0], 100)
	}},
	{"returns the backend's states as of the move", func(g *gate) {
		key, a, b := keyRule("100 tokens/day"), backend("a", "100 tokens/day"), backend("b", "100 tokens/day")
		g.turn(key, 0)
		r := g.admit(over(chat(10, 0, 0, key), a, b))
		g.advance(time.Hour)
		g.move(r, 1)
		equal(g, "own", r.States()[0].Reset, 24*time.Hour)
		equal(g, "backend's", r.States()[1].Reset, 23*time.Hour)
	}},
	{"lowers the cap further by a move, and never raises it", func(g *gate) {
		key := keyRule("1000 tokens/day")
		a, b, c := backend("a", "500 tokens/day"), backend("b", "300 tokens/day"), backend("c", "900 tokens/day")
		r := g.admit(over(chat(100, 800, 800, key), a, b, c))
		equal(g, "cap", r.Cap(), 400)
		g.move(r, 1)
		equal(g, "cap", r.Cap(), 200)
		g.move(r, 2)
		equal(g, "cap", r.Cap(), 200)
		g.remaining(key, 500)
		g.remaining(a[0], 500)
		g.remaining(b[0], 300)
		g.remaining(c[0], 600)
		settle(r, used(100, 50))
		g.remaining(key, 850)
		g.remaining(c[0], 750)
	}},
	{"does not move what is settled", func(g *gate) {
		a, b := backend("a", "1 concurrent"), backend("b", "1 concurrent")
		r := g.admit(over(plain(), a, b))
		settle(r, used(1, 1))
		if err := r.Move(context.Background(), 1); !errors.Is(err, limiter.ErrSettled) {
			g.Fatalf("got %v, want ErrSettled", err)
		}
		g.remaining(b[0], 1)
	}},
	{"does not move to a candidate that there is not", func(g *gate) {
		a := backend("a", "1 concurrent")
		r := g.admit(over(plain(), a))
		for _, candidate := range []int{-1, 1} {
			var refusal *limiter.Refusal
			if err := r.Move(context.Background(), candidate); err == nil || errors.As(err, &refusal) {
				g.Fatalf("candidate %d: got error %v", candidate, err)
			}
		}
		g.remaining(a[0], 0)
	}},
	{"gives back in the window that was left", func(g *gate) {
		a, b := backend("a", "100 tokens/day"), backend("b", "100 tokens/day")
		r := g.admit(over(chat(10, 50, 50), a, b))
		g.turn(a[0], time.Minute)
		g.move(r, 1)
		g.remaining(a[0], 100)
		g.remaining(b[0], 40)
		settle(r, used(10, 20))
		g.remaining(b[0], 70)
	}},
}
