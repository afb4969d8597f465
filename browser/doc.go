// Package browser holds the dashboard to what people do with it: a real Chromium,
// without a window, opens the page of the real binary.
//
// It is a module of its own, so that nobody who builds the gate gets its
// dependencies.
package browser
