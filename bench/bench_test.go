package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"
)

func TestSizeOfAStatus(t *testing.T) {
	status := "Name:\tcaddy\nVmPeak:\t  900 kB\nVmHWM:\t   12 kB\nVmRSS:\t    8 kB\n"
	if got, err := statusSize(status, "VmHWM"); got != 12<<10 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := statusSize(status, "VmSwap"); err == nil {
		t.Error("a field that is missing has a size")
	}
}

func TestHeapOfAProfile(t *testing.T) {
	got, err := parseHeap(strings.NewReader("heap profile: 1: 2 [3: 4] @ heap/1048576\n\n# runtime.MemStats\n# Alloc = 7\n# HeapAlloc = 7168\n# Stack = 1024 / 2048\n"))
	if want := (held{7168, 1024}); got != want || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseHeap(strings.NewReader("heap profile:\n")); err == nil {
		t.Error("a profile without sizes is none of a heap")
	}
}

// The CPU of a process is that of this one too, and grows as it works.
func TestCPUOfAProcess(t *testing.T) {
	p, err := processOf(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	before, err := p.cpu()
	if err != nil || before <= 0 {
		t.Fatalf("%s, %v", before, err)
	}
	for after := before; after == before; { // it is no clock of ticks
		if after, err = p.cpu(); err != nil {
			t.Fatal(err)
		}
	}
	if size, err := p.peak(); size < 1<<20 || err != nil {
		t.Errorf("%d bytes, %v", size, err)
	}
}

func TestRedisCountsWhatItRuns(t *testing.T) {
	const info = "# Stats\r\ntotal_commands_processed:900\r\ntotal_reads_processed:40\r\n\r\n# Commandstats\r\n" +
		"cmdstat_evalsha:calls=30,usec=9,usec_per_call=0.3\r\ncmdstat_eval:calls=2,usec=1\r\ncmdstat_hget:calls=800,usec=5\r\n"
	now, err := parseRedisInfo(strings.NewReader(info))
	if want := (redisWork{Scripts: 32, Commands: 900, Reads: 40}); now != want || err != nil {
		t.Fatalf("%+v, %v", now, err)
	}
	if got, want := now.less(redisWork{Scripts: 12, Commands: 100}, 10), (redisWork{Scripts: 2, Commands: 80, Reads: 4}); got != want {
		t.Errorf("%+v for each, expected %+v", got, want)
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
	if n := len(chatRequest(benchModel(7))); n != 1500 {
		t.Errorf("%d bytes", n)
	}
}

// mockTarget is the mock backend without a gateway.
func mockTarget(t *testing.T) *target {
	t.Helper()
	mock, err := newMock("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mock.Close)
	direct := &target{name: "direct", url: mock.URL, key: benchKey, model: benchModel, keys: 2}
	if err := direct.connect(4); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(direct.hangUp)
	return direct
}

// The mock backend alone holds nothing back: what checkStream finds late, the gate
// made late.
func TestStreamOfTheMockIsOnTime(t *testing.T) {
	if err := checkStream(mockTarget(t)); err != nil {
		t.Error(err)
	}
}

func TestStreamsAreAsLongAsAskedFor(t *testing.T) {
	direct := mockTarget(t)
	open := 0
	s := stream{events: 7, every: time.Millisecond}
	waits, err := readStreams(direct.callers, direct, s, 0, func() error { open++; return nil })
	if err != nil || open != 1 || len(waits) != 4 || waits[3].first <= 0 || waits[3].last < waits[3].first {
		t.Errorf("%v, %v, %d", waits, err, open)
	}
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { stream{events: 3}.send(w) }))
	defer half.Close()
	short := &target{url: half.URL, key: benchKey, model: benchModel, keys: 1}
	if err := short.connect(1); err != nil {
		t.Fatal(err)
	}
	defer short.hangUp()
	if _, err := readStreams(short.callers, short, s, 0, func() error { return nil }); err == nil {
		t.Error("streams that lack events were taken for whole")
	}
}

// A server may close a connection that idles, and a caller may not fail for it.
func TestCallersDialAnew(t *testing.T) {
	direct := mockTarget(t)
	c := direct.callers[0]
	for range 2 {
		if _, err := c.ask(direct.chat(0), func([]byte) {}); err != nil {
			t.Fatal(err)
		}
		_ = c.conn.(*net.TCPConn).CloseWrite()
	}
}

func TestChatsTakeTurnsAmongTheKeys(t *testing.T) {
	direct := mockTarget(t)
	waits, err := chats(direct.callers, direct, 20*time.Millisecond)
	if err != nil || len(waits) == 0 {
		t.Fatalf("%v, %v", waits, err)
	}
	if a, b := string(direct.chat(0)), string(direct.chat(1)); a == b || !strings.Contains(b, benchKey(1)) || !strings.Contains(b, benchModel(1)) || string(direct.chat(2)) != a {
		t.Errorf("two keys were to take turns: %s\n%s", a, b)
	}
}

func TestOtherGateway(t *testing.T) {
	got, err := parseOther("x=http://127.0.0.1:4000/base/,pid=12,model=m,key=k,header=X-A: b,header=X-C: d")
	if err != nil || got.name != "x" || got.pid != 12 {
		t.Fatalf("%+v, %v", got, err)
	}
	got.pid = os.Getpid()
	target, err := got.target()
	if err != nil {
		t.Fatal(err)
	}
	const want = "POST /base/v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:4000\r\nAuthorization: Bearer k\r\nContent-Type: application/json\r\nAccept: application/json\r\nX-A: b\r\nX-C: d\r\nContent-Length: 1500\r\n\r\n{\"model\":\"m\","
	if !strings.HasPrefix(string(target.chat(0)), want) {
		t.Errorf("got %s", target.chat(0))
	}
	for _, wrong := range []string{"", "x=http://a", "x=https://a,pid=1", "x=http://a,pid=1,colour=red", "x=http://a,pid=one"} {
		if _, err := parseOther(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// One slow round must not decide.
func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	round := func(cpu time.Duration) sample { return sample{n: 10, cpu: 30 * cpu} }
	to := []sample{round(100), round(100), round(200)}
	of := []sample{round(90), round(110), round(280)}
	got := compare(of, to)
	if want := (ratio{Median: 1.1, Lower: 0.9, Upper: 1.4, Lowest: 0.9, Highest: 1.4, All: 1.2}); got == nil || *got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestReportTellsTheRatiosFirst(t *testing.T) {
	samples := func(cpu, first time.Duration) []sample {
		return []sample{{n: 10, cpu: 10 * cpu, firstByte: first, throughput: 500}}
	}
	var all results
	all.add(work{name: "chats", unit: "request", rounds: 1}, []*target{
		{name: "direct", samples: samples(0, time.Millisecond)},
		{name: bare, samples: samples(1000, 3*time.Millisecond)},
		{name: "gate", samples: samples(1100, 4*time.Millisecond), memory: memory{peak: 50 << 20}},
	})
	var text strings.Builder
	all.print(&text)
	_, table, _ := strings.Cut(text.String(), "work")
	for _, want := range []string{"chats   1.00 (1.00 to 1.00)   1.10 (1.10 to 1.10)", "gate      1.10             -         1.1µs          500", "50 MiB"} {
		_, rest, ok := strings.Cut(table, want)
		if !ok {
			t.Fatalf("no %q in\n%s", want, table)
		}
		table = rest
	}
	written, err := json.Marshal(all)
	if err != nil || !strings.Contains(string(written), `"first_byte_added_ratio_to_bare":1.5`) {
		t.Errorf("%s, %v", written, err)
	}
}
