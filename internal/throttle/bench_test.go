package throttle

import (
	"testing"
	"time"
)

func BenchmarkAllow(b *testing.B) {
	for _, c := range []struct {
		name   string
		config Config
		failed bool
	}{{"unseen", Config{}, false}, {"failed before", Config{}, true}, {"all", Config{All: true, N: 1_000_000}, false}} {
		b.Run(c.name, func(b *testing.B) {
			th := New(c.config, 0, time.Now)
			a := ip("2001:db8::1")
			if c.failed {
				th.Failed(a)
			}
			b.ReportAllocs()
			for b.Loop() {
				th.Allow(a)
			}
		})
	}
}

func BenchmarkAccepted(b *testing.B) {
	th := New(Config{}, 0, time.Now)
	a := ip("192.0.2.1")
	b.ReportAllocs()
	for b.Loop() {
		th.Accepted(a, good)
	}
}

func BenchmarkFlood(b *testing.B) {
	th := New(Config{}, 0, time.Now)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		guess(th, nth(i))
		i++
	}
}
