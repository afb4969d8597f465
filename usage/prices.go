package usage

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Prices is the price list of some files, read again when they change. A nil
// one knows no price.
type Prices struct {
	paths []string
	list  atomic.Pointer[PriceList]

	mu     sync.Mutex // guards what follows
	looks  []os.FileInfo
	unsure bool   // read again, whatever the files look like
	failed string // the error that was told last
}

// priceSettle is how long after its time stamp a file may still be written to
// without the stamp changing: file systems count in steps of up to 2 s.
const priceSettle = 2 * time.Second

// OpenPrices reads the files for the first time. See [ReadPrices].
func OpenPrices(paths []string, now time.Time) (*Prices, error) {
	p := &Prices{paths: paths, looks: make([]os.FileInfo, len(paths))}
	p.look(now)
	list, err := ReadPrices(paths)
	if err != nil {
		return nil, err
	}
	p.list.Store(list)
	return p, nil
}

// List is the list as it was last read well.
func (p *Prices) List() *PriceList {
	if p == nil {
		return nil
	}
	return p.list.Load()
}

// Refresh reads the files again if one of them has changed, and tells whether
// the list is a new one. While one can't be read the list stays as it was; each
// such error is returned once.
func (p *Prices) Refresh(now time.Time) (changed bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.look(now) {
		return false, nil
	}
	list, err := ReadPrices(p.paths)
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
func (p *Prices) look(now time.Time) (changed bool) {
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
		if info != nil && now.Sub(info.ModTime()) < priceSettle {
			p.unsure = true
		}
	}
	return changed
}
