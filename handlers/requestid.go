package handlers

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"time"
)

// newRequestID returns the id under which a request is billed and logged: `req_`
// and 32 hexadecimal digits, 48 bits of the time in milliseconds before 80
// random ones, so that ids sort by time. They are unique, not secret: the
// runtime's generator is seeded for each process and needs no system call.
func newRequestID(now time.Time) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(now.UnixMilli())<<16|rand.Uint64()>>48)
	binary.BigEndian.PutUint64(raw[8:], rand.Uint64())
	var text [4 + 2*len(raw)]byte
	copy(text[:], "req_")
	hex.Encode(text[4:], raw[:])
	return string(text[:])
}
