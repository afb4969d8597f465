package dashboard

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

func open(t *testing.T) *Dashboard {
	t.Helper()
	d, err := New()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *Dashboard) ask(method, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func TestEachFileIsServedWithItsTypeAndTheHeadersThatKeepItIn(t *testing.T) {
	d := open(t)
	for path, contentType := range map[string]string{
		"/":                                   "text/html; charset=utf-8",
		"/dashboard/app.js":                   "text/javascript; charset=utf-8",
		"/dashboard/views/keys.js":            "text/javascript; charset=utf-8",
		"/dashboard/style.css":                "text/css; charset=utf-8",
		"/dashboard/icon.svg":                 "image/svg+xml",
		"/dashboard/uplot/uPlot.iife.min.js":  "text/javascript; charset=utf-8",
		"/dashboard/uplot/LICENSE":            "text/plain; charset=utf-8",
		"/dashboard/uplot/uPlot.min.css":      "text/css; charset=utf-8",
		"/dashboard/index.html":               "",
		"/dashboard/uplot/README.md":          "",
		"/dashboard/nothing.js":               "",
		"/dashboard/views/":                   "",
		"/dashboard/../dashboard/app.js":      "",
		"/dashboard/%2e%2e/dashboard.go":      "",
		"/dashboard/views/../../dashboard.go": "",
	} {
		answer := d.ask("GET", path)
		if contentType == "" {
			if d.Has(path) || answer.Code != http.StatusNotFound {
				t.Errorf("%s: %d, want 404", path, answer.Code)
			}
			continue
		}
		if !d.Has(path) || answer.Code != http.StatusOK || answer.Body.Len() == 0 {
			t.Errorf("%s: %d, %d bytes", path, answer.Code, answer.Body.Len())
		}
		for name, want := range map[string]string{
			"Content-Type":                 contentType,
			"Content-Security-Policy":      Policy,
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "no-referrer",
			"Cross-Origin-Resource-Policy": "same-origin",
			"Cache-Control":                "no-cache",
		} {
			if got := answer.Header().Get(name); got != want {
				t.Errorf("%s: %s: %q, want %q", path, name, got, want)
			}
		}
		if head := d.ask("HEAD", path); head.Code != http.StatusOK || head.Body.Len() != 0 || head.Header().Get("Content-Length") != answer.Header().Get("Content-Length") {
			t.Errorf("HEAD %s: %d, %d bytes", path, head.Code, head.Body.Len())
		}
	}
}

func TestThePolicyLetsNothingInlineOrForeignIn(t *testing.T) {
	directives := make(map[string]string)
	for part := range strings.SplitSeq(Policy, "; ") {
		name, value, _ := strings.Cut(part, " ")
		directives[name] = value
	}
	for name, want := range map[string]string{
		"default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "img-src": "'self'", "connect-src": "'self'",
		"frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'",
		"require-trusted-types-for": "'script'", "trusted-types": "'none'",
	} {
		if directives[name] != want {
			t.Errorf("%s is %q, want %q", name, directives[name], want)
		}
		delete(directives, name)
	}
	if len(directives) > 0 {
		t.Errorf("it says more: %v", directives)
	}
}

func TestWhatABrowserHasIsNotSentAgainUntilItChanges(t *testing.T) {
	d := open(t)
	tags := make(map[string]string)
	for path := range d.files {
		tag := d.ask("GET", path).Header().Get("ETag")
		if other, taken := tags[tag]; tag == "" || taken {
			t.Errorf("%s has the tag %q, as has %q", path, tag, other)
		}
		tags[tag] = path
		if again := d.ask("GET", path, "If-None-Match", tag); again.Code != http.StatusNotModified || again.Body.Len() != 0 {
			t.Errorf("%s again: %d", path, again.Code)
		}
		if changed := d.ask("GET", path, "If-None-Match", `"of another version"`); changed.Code != http.StatusOK {
			t.Errorf("%s after a change: %d", path, changed.Code)
		}
	}
}

// Relative, since a proxy may serve all of it below a path of its own.
func TestTheFoldersNameLeadsToThePage(t *testing.T) {
	d := open(t)
	for path, want := range map[string]string{"/dashboard": "./", "/dashboard/": "../"} {
		if answer := d.ask("GET", path); !d.Has(path) || answer.Code != http.StatusFound || answer.Header().Get("Location") != want {
			t.Errorf("%s: %d %q", path, answer.Code, answer.Header().Get("Location"))
		}
	}
}

// What a page's policy would refuse, or would not see, stands in no file: inline
// scripts and styles, addresses of others, and strings that become HTML.
func TestFilesKeepToThePolicy(t *testing.T) {
	forbidden := regexp.MustCompile(`(?i)innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|localStorage|sessionStorage\.|document\.cookie`)
	inline := regexp.MustCompile(`(?i)<script(?:[^>]*)>[^<]|<style|\sstyle=|\son[a-z]+=|https?://`)
	for path, f := range open(t).files {
		if strings.HasPrefix(path, Base+"uplot/") {
			continue
		}
		text := string(f.content)
		if found := forbidden.FindString(text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
		if strings.HasSuffix(path, ".js") || strings.HasSuffix(path, ".svg") {
			continue
		}
		if found := inline.FindString(text); found != "" {
			t.Errorf("%s has %q", path, found)
		}
	}
}

// Whatever the page and its scripts name is there.
func TestNoFileIsMissing(t *testing.T) {
	d := open(t)
	for name, f := range d.files {
		for _, pattern := range []string{`(?:src|href)="(dashboard/[^"]+)"`, `from "(\.[^"]+)"`} {
			for _, found := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(f.content), -1) {
				if target := path.Join(path.Dir(name), found[1]); !d.Has(target) {
					t.Errorf("%s names %s, which is not there", name, target)
				}
			}
		}
	}
}

// The library is what its README says it is.
func TestTheChartLibraryIsUnchanged(t *testing.T) {
	readme, err := os.ReadFile("static/uplot/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"uPlot.iife.min.js", "uPlot.min.css"} {
		content, err := fs.ReadFile(embedded, "static/uplot/"+name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(content)
		if !strings.Contains(string(readme), "| `"+name+"` | `"+hex.EncodeToString(sum[:])+"` |") {
			t.Errorf("%s has the sum %x, of which the README knows nothing", name, sum)
		}
	}
}
