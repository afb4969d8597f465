package keys

import (
	"crypto/sha256"
	"errors"
	"os"
	"time"
)

// settleTime is how long a file may be written to after its time stamp without a
// change of the stamp: file systems have a resolution of up to 2 s.
const settleTime = 2 * time.Second

// watch detects whether a file has to be read again. It follows symbolic links,
// which Kubernetes uses to replace mounted files.
type watch struct {
	path    string
	info    os.FileInfo       // as of the last check; nil if there was no file
	unsure  bool              // read it again in any case
	outcome [sha256.Size]byte // hash of the last content, or of the last error
}

// changed reports whether the file has to be read. It must be called before
// reading, so that the next call detects what is written meanwhile.
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

// is reports whether content is the same as that of the last read.
func (w *watch) is(content []byte) bool { return sha256.Sum256(content) == w.outcome }

// remember stores the outcome of a read, and reports whether it is the same as
// the last one. If it is the same error again, that has been reported already.
func (w *watch) remember(outcome []byte) (again bool) {
	again = w.is(outcome)
	w.outcome = sha256.Sum256(outcome)
	return again
}

// sameFile reports whether two checks of a path found the same file. The mode
// counts, since it may have kept the file from being read.
func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.Mode() == b.Mode() && a.ModTime().Equal(b.ModTime())
}

// readFile reads a regular file. It rejects others: a pipe would block the poller
// forever.
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
