package metrics

import (
	"cmp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Rejection is the number of requests that were refused for a reason.
type Rejection struct {
	Reason, Scope string
	Count         int64
}

// Since returns when counting began, which is when the process read its first
// configuration.
func (m *Metrics) Since() time.Time { return m.since }

// Rejections returns the counts of refused requests, by reason and scope.
func (m *Metrics) Rejections() []Rejection {
	all := []Rejection{}
	for _, series := range read(m.rejected) {
		all = append(all, Rejection{
			Reason: labelOf(series, "reason"),
			Scope:  labelOf(series, "scope"),
			Count:  int64(series.GetCounter().GetValue()),
		})
	}
	slices.SortFunc(all, func(a, b Rejection) int {
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Scope, b.Scope))
	})
	return all
}

// BackendsUp returns by name whether the last attempt reached the backend. It
// leaves out backends without an attempt.
func (m *Metrics) BackendsUp() map[string]bool {
	up := make(map[string]bool)
	for _, series := range read(m.backendUp) {
		up[labelOf(series, "backend")] = series.GetGauge().GetValue() == 1
	}
	return up
}

// read returns the current series of a collector.
func read(from prometheus.Collector) (all []*dto.Metric) {
	series := make(chan prometheus.Metric)
	go func() {
		defer close(series)
		from.Collect(series)
	}()
	for s := range series {
		read := new(dto.Metric)
		if err := s.Write(read); err == nil { // it fails for invalid labels only
			all = append(all, read)
		}
	}
	return all
}

func labelOf(series *dto.Metric, name string) string {
	for _, label := range series.GetLabel() {
		if label.GetName() == name {
			return label.GetValue()
		}
	}
	return ""
}
