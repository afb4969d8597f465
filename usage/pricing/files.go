package pricing

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Prices is the price list of some files, read again when they change. A nil
// one knows no price.
type Files struct {
	paths []string
	list  atomic.Pointer[List]

	mu     sync.Mutex // guards what follows
	looks  []os.FileInfo
	unsure bool   // read again, whatever the files look like
	failed string // the error that was told last
}

// settleTime is how long after its time stamp a file may still be written to
// without the stamp changing: file systems count in steps of up to 2 s.
const settleTime = 2 * time.Second

// OpenFiles reads the files for the first time. See [Read].
func OpenFiles(paths []string, now time.Time) (*Files, error) {
	p := &Files{paths: paths, looks: make([]os.FileInfo, len(paths))}
	p.look(now)
	list, err := Read(paths)
	if err != nil {
		return nil, err
	}
	p.list.Store(list)
	return p, nil
}

// List is the list as it was last read well.
func (p *Files) List() *List {
	if p == nil {
		return nil
	}
	return p.list.Load()
}

// Refresh reads the files again if one of them has changed, and tells whether
// the list is a new one. While one can't be read the list stays as it was; each
// such error is returned once.
func (p *Files) Refresh(now time.Time) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.look(now) {
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

// look looks at the files and tells whether they are worth reading. It comes
// before reading, so that what is written meanwhile is found the next time.
// Paths are followed through symbolic links, which is how Kubernetes exchanges
// mounted files.
func (p *Files) look(now time.Time) (changed bool) {
	changed, p.unsure = p.unsure, false
	for i, path := range p.paths {
		before := p.looks[i]
		info, err := os.Stat(path)
		if err != nil {
			info = nil
		}
		p.looks[i] = info
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
