// Package handlers serves the gate's data plane and its control plane. A request
// goes through the steps of [Gateway.ServeHTTP] in order, each in a file of its own.
// Three types represent it, one after the other, each owned by the goroutine that
// serves the request.
//
//	request     the results of the steps up to admission. It does not change
//	            afterwards, so any goroutine may read it.
//	attempt     one attempt at one backend.
//	settlement  an admitted request: its attempts, and the one record of its usage.
//
//	ServeHTTP
//	   │ endpoint ─▶ authenticate ─▶ readRequest ─▶ authorise ─▶ route ─▶ openLedger ─▶ admit
//	   │ gateway.go  authenticate.go  body.go       request.go   route.go  store.go     admit.go
//	   │                      each of them may refuse: refuse.go
//	   ▼
//	forward ──▶ takeTurn ──▶ attempt ───────────────────────▶ backends.Forwarder ──▶ backend
//	forward.go  queue.go   ▲  attempt.go     retry: it failed, and no part
//	   │                   └────────────────  of an answer has been written
//	   │
//	   │  The answer flows through its readers, each of which reads from the next:
//	   │
//	   │   caller ◀── inflight.KeepAlive ◀── reverse_proxy ◀── wire.Meter ◀── backends ◀── backend
//	   │               adds keep-alives       or Direct          │             masks credentials,
//	   │               to a silent stream                        │             watches for stalls
//	   │                                                         │
//	   │          first byte ─▶ attempt.onFirst ◀────────────────┤
//	   │          broken off ─▶ attempt.onBroken: last event     │
//	   │          last byte  ─▶ attempt.onComplete ◀─────────────┘
//	   │                               │
//	   ▼                               ▼
//	finish (deferred) ────────▶ settlement.settle, once:
//	what did not complete        reservation settled, RECORD WRITTEN to the ledger,
//	                             metrics, logs; then, and only then, the meter
//	                             releases the last byte
//
// While a request is in flight, another goroutine writes a checkpoint of its usage
// every second, and cancels it if it takes too long: see package inflight.
package handlers
