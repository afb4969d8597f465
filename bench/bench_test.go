package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestParseCPU(t *testing.T) {
	// A command name may hold spaces and parentheses.
	stat := "4711 (a (b) 99 c) S 1 4711 4711 0 -1 4194304 900 0 0 0 1234 66 0 0 20 0 9 0 1 1 1\n"
	got, err := parseCPU([]byte(stat))
	if want := 13 * time.Second; err != nil || got != want {
		t.Errorf("%s, %v; expected %s", got, err, want)
	}
	if _, err := parseCPU([]byte("4711 (caddy) S 1")); err == nil {
		t.Error("a short line is no CPU time")
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3}, 3}, {[]float64{9, 1, 5}, 5}, {[]float64{4, 1, 3, 2}, 3}} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v is %v, expected %v", test.values, got, test.want)
		}
	}
}

func TestRequestIsOf1500Bytes(t *testing.T) {
	if len(chatRequest) != 1500 {
		t.Errorf("%d bytes", len(chatRequest))
	}
}

// The mock backend alone holds nothing back: what checkStream finds late, the gate
// made late.
func TestStreamOfTheMockIsOnTime(t *testing.T) {
	mock := newMock()
	defer mock.Close()
	if err := checkStream(mock.URL); err != nil {
		t.Error(err)
	}
}

// One slow round must not decide: what is told first is of all rounds together.
func TestRatioIsOfAllRounds(t *testing.T) {
	round := func(cpu time.Duration) sample { return sample{n: 10, cpu: 3 * cpu} }
	bare := []sample{round(100), round(100), round(200)}
	gate := []sample{round(90), round(110), round(280)}
	want := ratio{Sums: 1.2, Median: 1.1, Lowest: 0.9, Highest: 1.4}
	if got := compare(gate, bare); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStreamsAreAsLongAsAskedFor(t *testing.T) {
	mock := newMock()
	defer mock.Close()
	during := 0
	s := settings{streams: 4, events: 7, every: time.Millisecond}
	waits, err := newLoad(4).runStreams(mock.URL, s, func() error { during++; return nil })
	if err != nil || during != 1 || len(waits) != 4 || waits[3] == 0 {
		t.Errorf("%v, %v, %d", waits, err, during)
	}
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { stream(w, 3, 0, false) }))
	defer half.Close()
	if _, err := newLoad(4).runStreams(half.URL, s, func() error { return nil }); err == nil {
		t.Error("streams that lack events were taken for whole")
	}
}

func TestReportTellsTheRatioFirst(t *testing.T) {
	samples := func(cpu time.Duration) []sample { return []sample{{n: 10, cpu: cpu}} }
	var text strings.Builder
	report(&text, []*target{
		{name: "direct", requests: samples(0)},
		{name: "bare", requests: samples(1000), streams: samples(100), process: new(gateway)},
		{name: "gate", requests: samples(1100), streams: samples(90), process: new(gateway)},
	})
	for _, want := range []string{"CPU of gate to that of the bare proxy, a request: 1.100 ", "an event: 0.900 "} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, text.String())
		}
	}
}
