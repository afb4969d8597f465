// Package handlers holds the data plane of the gate, and the handler of its
// control plane. A request goes through the steps of [Gateway.ServeHTTP] in order,
// each in a file of its own, and is held by three types, one after the other. The
// goroutine that serves the request owns each of them.
//
//	request     what the steps up to admission find out. Nothing of it changes
//	            afterwards, so that any goroutine may read it.
//	attempt     one attempt at one backend.
//	settlement  what becomes of an admitted request: its attempts, and the one
//	            record of what it used.
//
//	ServeHTTP
//	   │ endpoint ─▶ authenticate ─▶ readRequest ─▶ authorise ─▶ route ─▶ openLedger ─▶ admit
//	   │ gateway.go  authenticate.go  body.go       request.go   route.go  store.go     admit.go
//	   │                      each of them may refuse: refuse.go
//	   ▼
//	forward ──▶ takeTurn ──▶ attempt.send ──────────────────▶ backends.Forwarder ──▶ backend
//	forward.go  queue.go   ▲  attempt.go     ask again: it failed, and nothing
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
// While it is in flight, another goroutine writes a checkpoint of what it has used
// every second, and ends it if it takes too long: package inflight.
package handlers
