// Package deployments holds what ships beside the binary, the chart, manifests,
// compose file, rules, dashboard and release files, to what they promise.
//
// It is a module of its own, so that nobody who builds the gate gets the
// dependencies of Helm, Kubernetes and Prometheus.
package deployments
