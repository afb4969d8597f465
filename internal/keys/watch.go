package keys

import (
	"crypto/sha256"
	"errors"
	"os"
	"time"
)

// settleTime is how long after its time stamp a file may still be written to
// without the stamp changing: file systems count in steps of up to 2 s.
const settleTime = 2 * time.Second

// watch tells whether a file is worth reading again. Paths are followed through
// symbolic links, which is how Kubernetes exchanges mounted files.
type watch struct {
	path    string
	info    os.FileInfo       // when it was read last; nil: it wasn't there
	unsure  bool              // read again, whatever it looks like
	outcome [sha256.Size]byte // of what was read last, or of why it could not be
}

// changed tells whether to read the file. It must be called before reading, so
// that what is written meanwhile is found by the next call.
func (w *watch) changed(now time.Time) bool {
	info, err := os.Stat(w.path)
	if err != nil {
		info = nil
	}
	changed := w.unsure || !sameFile(w.info, info)
	w.info = info
	w.unsure = info != nil && now.Sub(info.ModTime()) < settleTime
	return changed
}

// is tells whether what was read is what was read last.
func (w *watch) is(content []byte) bool { return sha256.Sum256(content) == w.outcome }

// note keeps what reading led to and tells whether it did so the last time
// too: then an error has been reported already.
func (w *watch) note(outcome []byte) (again bool) {
	again = w.is(outcome)
	w.outcome = sha256.Sum256(outcome)
	return again
}

// sameFile tells whether two looks at a path saw the same. The mode counts,
// since it may be what kept the file from being read.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}

// readFile reads a regular file: a pipe would block the poller for ever.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "read", Path: path, Err: errors.New("not a regular file")}
	}
	return os.ReadFile(path)
}
