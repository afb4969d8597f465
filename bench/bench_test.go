package main

import (
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
