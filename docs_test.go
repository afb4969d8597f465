package pinegate

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// docs/configuration.md has a line for each word that a parser of the Caddyfile
// knows.
func TestConfigurationPageKnowsEachWord(t *testing.T) {
	page, err := os.ReadFile("docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	known := vocabulary(t)
	if len(known) < 40 {
		t.Fatalf("found only %d words in the parsers", len(known))
	}
	for word, file := range known {
		if !regexp.MustCompile("(?m)^\\| `" + word + "[ `]").Match(page) {
			t.Errorf("no line begins with %q, a word of %s", word, file)
		}
	}
}

// vocabulary is every word of every block, with the file that its parser is in.
func vocabulary(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("internal/caddyfile/*.go")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]string)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			literal, ok := n.(*ast.CompositeLit)
			if !ok {
				return true
			}
			if kind, ok := literal.Type.(*ast.Ident); !ok || kind.Name != "subdirectives" {
				return true
			}
			for _, element := range literal.Elts {
				pair := element.(*ast.KeyValueExpr)
				if call, ok := pair.Value.(*ast.CallExpr); ok && isGone(call) {
					continue
				}
				key, ok := pair.Key.(*ast.BasicLit)
				if !ok {
					t.Errorf("%s: a word is no literal", file)
					continue
				}
				word, err := strconv.Unquote(key.Value)
				if err != nil {
					t.Fatal(err)
				}
				known[word] = file
			}
			return true
		})
	}
	return known
}

// isGone reports whether a call makes a subdirective of an earlier version.
func isGone(call *ast.CallExpr) bool {
	name, ok := call.Fun.(*ast.Ident)
	return ok && name.Name == "gone"
}

// TestSecurityPageNamesWhatThereIs checks that the tests and files that
// docs/security.md names exist.
func TestSecurityPageNamesWhatThereIs(t *testing.T) {
	page, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := declaredTests(t)
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(page, -1) {
		if !tests[string(m[1])] {
			t.Errorf("there is no test %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile("`([\\w.-]+/[\\w./-]*)`").FindAllSubmatch(page, -1) {
		if _, err := os.Stat(string(m[1])); err != nil {
			t.Errorf("named, and not there: %v", err)
		}
	}
}

// declaredTests returns the names of all tests, those of nested modules included.
func declaredTests(t *testing.T) map[string]bool {
	t.Helper()
	tests := make(map[string]bool)
	declaration := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declaration.FindAllSubmatch(source, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

// The README leads to every page, and no link between pages leads nowhere.
func TestPagesAreLinked(t *testing.T) {
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	read := func(file string) string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	readme := read("README.md")
	for _, page := range pages {
		if !strings.Contains(readme, "]("+page+")") {
			t.Errorf("README.md has no link to %s", page)
		}
	}
	link := regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]*))?\)`)
	for _, page := range append(pages, "README.md") {
		for _, m := range link.FindAllStringSubmatch(read(page), -1) {
			target := page
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s has a link that leads nowhere: %v", page, err)
				continue
			}
			if m[2] != "" && !slices.Contains(anchors(read(target)), m[2]) {
				t.Errorf("%s: %s has no heading #%s", page, target, m[2])
			}
		}
	}
}

// anchors are the names that GitHub gives to the headings of a page.
func anchors(page string) []string {
	var names []string
	for _, heading := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(page, -1) {
		kept := regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(strings.ToLower(heading[1]), "")
		names = append(names, strings.ReplaceAll(kept, " ", "-"))
	}
	return names
}
