package deployments

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// workflow is what of a workflow of GitHub's is looked at.
type workflow struct {
	Name        string
	Permissions map[string]string
	Jobs        map[string]struct {
		RunsOn         string `json:"runs-on"`
		TimeoutMinutes int    `json:"timeout-minutes"`
		Needs          string
		Permissions    map[string]string
		Steps          []struct {
			Uses string
			Run  string
			With map[string]any
		}
	}
}

// An action by a tag is whatever its author, or who took over the account, says
// tomorrow.
func TestWorkflowsPinTheirActions(t *testing.T) {
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no workflows: %v", err)
	}
	byHash := regexp.MustCompile(`^[\w./-]+@[0-9a-f]{40}$`)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var w workflow
		if err := yaml.Unmarshal(text, &w); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if w.Permissions == nil || len(w.Jobs) == 0 {
			t.Errorf("%s: jobs get the rights that the repository gives by default", file)
		}
		for _, right := range w.Permissions {
			if right != "read" {
				t.Errorf("%s: all jobs may %s", file, right)
			}
		}
		for name, job := range w.Jobs {
			if job.RunsOn == "" || job.TimeoutMinutes == 0 {
				t.Errorf("%s: job %s has no runner or no end", file, name)
			}
			for _, step := range job.Steps {
				if step.Uses == "" {
					continue
				}
				if !byHash.MatchString(step.Uses) {
					t.Errorf("%s: %s is not pinned by a hash", file, step.Uses)
				}
				if !regexp.MustCompile(regexp.QuoteMeta(step.Uses) + ` # v\d`).Match(text) {
					t.Errorf("%s: %s lacks the version that it is, which dependabot reads", file, step.Uses)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: job %s leaves its token on the disk", file, name)
				}
			}
		}
	}
}

// Nothing is released that was not tested, and all of it is signed.
func TestReleaseIsTestedAndSigned(t *testing.T) {
	text, err := os.ReadFile("../.github/workflows/release.yml")
	if err != nil {
		t.Fatal(err)
	}
	var release workflow
	if err := yaml.Unmarshal(text, &release); err != nil {
		t.Fatal(err)
	}
	for name, job := range release.Jobs {
		if name != "test" && job.Needs != "test" {
			t.Errorf("job %s does not wait for the tests", name)
		}
	}
	for _, want := range []string{"cosign sign --yes", "anchore/scan-action@", "sbom: true", "goreleaser-action@"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the release lacks %s", want)
		}
	}
	goreleaser, err := os.ReadFile("../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Version int
		Builds  []struct {
			Main string
			Env  []string
			Tags []string
		}
		Signs    []struct{ Cmd string }
		SBOMs    []struct{ Artifacts string }
		Archives []struct{ Files []string }
	}
	if err := yaml.Unmarshal(goreleaser, &config); err != nil {
		t.Fatal(err)
	}
	if config.Version != 2 || len(config.Builds) != 1 || len(config.Signs) == 0 || len(config.SBOMs) == 0 {
		t.Errorf("the releaser makes %+v", config)
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if tags := strings.Join(config.Builds[0].Tags, ","); !strings.Contains(string(makefile), "TAGS := "+tags+"\n") {
		t.Errorf("the release is built with the tags %s, and `make build` with others", tags)
	}
	for _, file := range append(config.Archives[0].Files, "cmd/caddy") {
		if _, err := os.Stat(filepath.Join("..", file)); err != nil {
			t.Errorf("released, and not there: %v", err)
		}
	}
}

// Dependabot knows every module, and what else is pinned.
func TestDependabotKnowsWhatIsPinned(t *testing.T) {
	text, err := os.ReadFile("../.github/dependabot.yml")
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Version int
		Updates []struct {
			Ecosystem   string `json:"package-ecosystem"`
			Directory   string
			Directories []string
		}
	}
	if err := yaml.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	for _, u := range config.Updates {
		for _, dir := range append(u.Directories, u.Directory) {
			known[u.Ecosystem+" "+dir] = true
		}
	}
	for _, want := range []string{"gomod /", "gomod /bench", "gomod /browser", "gomod /conformance", "gomod /deployments", "github-actions /", "docker /", "docker-compose /deployments/compose"} {
		if !known[want] {
			t.Errorf("nobody updates %s", want)
		}
	}
}
