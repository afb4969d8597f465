package deployments

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the plain manifests anew from the chart")

// helmLines are what only Helm has a use for.
var helmLines = regexp.MustCompile(`(?m)^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n`)

// The plain manifests are the chart's, with the values of k8s/values.yaml: they
// can't fall behind it. `go test . -run TestPlainManifests -update` makes them.
func TestPlainManifestsAreTheCharts(t *testing.T) {
	rendered, err := render(t, valuesOf(t, "k8s/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	delete(rendered, "NOTES.txt")
	kustomization, err := os.ReadFile("k8s/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range rendered {
		want := "# Made from the chart: see README.md.\n" + helmLines.ReplaceAllString(text, "")
		file := filepath.Join("k8s", name)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v: make them with -update", err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the chart makes: write it anew with -update", file)
		}
		if !strings.Contains(string(kustomization), "  - "+name+"\n") {
			t.Errorf("kustomization.yaml lacks %s", name)
		}
	}
}
