package pricing

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Files is the price list of some files, which are read again when they change. A
// nil Files has an empty list.
type Files struct {
	paths []string
	list  atomic.Pointer[List]

	mu     sync.Mutex    // guards what follows
	infos  []os.FileInfo // as of the last check; nil for a missing file
	unsure bool          // read the files again even if nothing seems changed
	failed string        // the last error that was returned
}

// settleTime is how long a file may be written to after its time stamp without a
// change of the stamp: file systems have a resolution of up to 2 s.
const settleTime = 2 * time.Second

// OpenFiles reads the files for the first time. See [Read].
func OpenFiles(paths []string, now time.Time) (*Files, error) {
	p := &Files{paths: paths, infos: make([]os.FileInfo, len(paths))}
	p.changed(now)
	list, err := Read(paths)
	if err != nil {
		return nil, err
	}
	p.list.Store(list)
	return p, nil
}

// List returns the list as of the last time that all files were valid.
func (p *Files) List() *List {
	if p == nil {
		return nil
	}
	return p.list.Load()
}

// Refresh reads the files again if one of them has changed, and reports whether the
// list is new. If a file is invalid the list stays as it was; Refresh returns each
// such error once.
func (p *Files) Refresh(now time.Time) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.changed(now) {
		return false, nil
	}
	list, err := Read(p.paths)
	if err != nil {
		p.unsure = true
		if again := p.failed == err.Error(); again {
			return false, nil
		}
		p.failed = err.Error()
		return false, err
	}
	p.failed = ""
	p.list.Store(list)
	return true, nil
}

// changed reports whether the files have to be read. It must be called before
// reading, so that the next call detects what is written meanwhile. It follows
// symbolic links, which Kubernetes uses to replace mounted files.
func (p *Files) changed(now time.Time) (changed bool) {
	changed, p.unsure = p.unsure, false
	for i, path := range p.paths {
		before := p.infos[i]
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		p.infos[i] = info
		if (before == nil) != (info == nil) ||
			info != nil && !(os.SameFile(before, info) && before.Size() == info.Size() && before.ModTime().Equal(info.ModTime())) {
			changed = true
		}
		if info != nil && now.Sub(info.ModTime()) < settleTime {
			p.unsure = true
		}
	}
	return changed
}
