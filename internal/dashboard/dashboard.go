// Package dashboard is the page by which people look after a gate: its files,
// and how they are served. The files hold nothing of the gate's: what they show
// they get from the control API, with the admin key that is typed into them.
package dashboard

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// Base is what the paths of all files but the page itself begin with.
const Base = "/dashboard/"

//go:embed static/*.html static/*.css static/*.js static/*.svg static/views static/uplot/*.js static/uplot/*.css static/uplot/LICENSE
var embedded embed.FS

// Policy is the Content-Security-Policy of the page: scripts, styles and
// pictures are files of its own and nothing is inline, it talks to its own
// origin alone, sends no form, stands in no frame, and no string becomes HTML or
// code in it, whatever a script tries.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"frame-ancestors 'none'; base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// contentTypes are those of the files, by the ends of their names: what the
// system's tables say of them differs.
var contentTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	"":      "text/plain; charset=utf-8", // a licence
}

// Dashboard serves the files.
type Dashboard struct {
	files map[string]file // by path
}

type file struct {
	content     []byte
	contentType string
	etag        string
}

// New reads the files, which are in the binary.
func New() (*Dashboard, error) {
	d := &Dashboard{make(map[string]file)}
	static, err := fs.Sub(embedded, "static")
	if err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	err = fs.WalkDir(static, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(static, name)
		if err != nil {
			return err
		}
		contentType, known := contentTypes[path.Ext(name)]
		if !known {
			return fmt.Errorf("%s: no content type is known", name)
		}
		sum := sha256.Sum256(content)
		d.files[pathOf(name)] = file{content, contentType, `"` + hex.EncodeToString(sum[:16]) + `"`}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	return d, nil
}

func pathOf(name string) string {
	if name == "index.html" {
		return "/"
	}
	return Base + name
}

// Has reports whether the dashboard serves a path.
func (d *Dashboard) Has(path string) bool {
	_, ok := d.files[path]
	return ok || path == Base || path == strings.TrimSuffix(Base, "/")
}

// ServeHTTP answers GET and HEAD of a path that the dashboard has.
//
// Browsers ask each time whether a file is still what they have: so an upgrade
// never mixes old scripts with new ones, and else nothing is sent twice.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", Policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY") // for what does not know frame-ancestors
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache")
	f, ok := d.files[r.URL.Path]
	switch {
	case ok:
	case r.URL.Path == Base: // the page is at the root, as seen from here
		header.Set("Location", "../")
		w.WriteHeader(http.StatusFound)
		return
	case d.Has(r.URL.Path):
		header.Set("Location", "./")
		w.WriteHeader(http.StatusFound)
		return
	default:
		http.NotFound(w, r)
		return
	}
	header.Set("Content-Type", f.contentType)
	header.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
