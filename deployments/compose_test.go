package deployments

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/prometheus/common/promslog"
	prometheus "github.com/prometheus/prometheus/config"
)

// pinned is an image by tag and digest.
var pinned = regexp.MustCompile(`^[a-z0-9./-]+:[A-Za-z0-9._-]+@sha256:[0-9a-f]{64}$`)

func composeProject(t *testing.T) *types.Project {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"compose/compose.yaml"}, cli.WithName("pine-gate"))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatalf("compose refuses the file: %v", err)
	}
	return project
}

// Each container runs as nobody, without rights, on a file system that it can't
// change; what is published is so on loopback alone.
func TestComposeIsLockedDown(t *testing.T) {
	project := composeProject(t)
	if len(project.Services) != 3 {
		t.Errorf("%d services, expected the gate, Redis and Prometheus", len(project.Services))
	}
	for name, service := range project.Services {
		user, _, _ := strings.Cut(service.User, ":")
		for what, ok := range map[string]bool{
			"it is not root":              user != "" && user != "0" && user != "root",
			"its file system is fixed":    service.ReadOnly,
			"all capabilities dropped":    slices.Equal(service.CapDrop, []string{"ALL"}) && len(service.CapAdd) == 0,
			"no new privileges":           slices.Contains(service.SecurityOpt, "no-new-privileges:true"),
			"not privileged":              !service.Privileged,
			"memory is bounded":           service.MemLimit > 0,
			"no secret in environment":    len(service.Environment) == 0,
			"the image is pinned or ours": pinned.MatchString(service.Image) || service.Build != nil,
		} {
			if !ok {
				t.Errorf("%s: not so: %s", name, what)
			}
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s is published on %q", name, port.Published, port.HostIP)
			}
			if name == "gate" && port.Target == 9180 || name == "redis" {
				t.Errorf("%s: port %d is published", name, port.Target)
			}
		}
	}
	if !project.Networks["inside"].Internal {
		t.Error("the network of Redis leads out")
	}
}

// The Caddyfile is valid, fits the services, and ends its stop before it is killed.
func TestComposeFitsItsCaddyfile(t *testing.T) {
	text, err := os.ReadFile("compose/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), logFilter(t)) {
		t.Error("logs are not filtered as those of the shipped Caddyfile are")
	}
	project := composeProject(t)
	gate := project.Services["gate"]
	dir := t.TempDir()
	for _, secret := range gate.Secrets {
		if err := os.WriteFile(filepath.Join(dir, secret.Source), []byte("secret-of-the-compose-test:"+secret.Source), 0o600); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "{file./run/secrets/"+secret.Source+"}") {
			t.Errorf("the gate has no use for the secret %s", secret.Source)
		}
	}
	config := strings.NewReplacer("/run/secrets", dir, "/data/pinegate", dir).Replace(string(text))
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := caddy(t, "validate", "--config", file); err != nil {
		t.Fatal(err)
	}
	if out, err := caddy(t, "fmt", "--diff", "compose/Caddyfile"); err != nil {
		t.Errorf("`caddy fmt` would change it: %v\n%s", err, out)
	}
	adapted, err := caddy(t, "adapt", "--config", file)
	if err != nil {
		t.Fatal(err)
	}
	var read struct{ Apps struct{ HTTP httpApp } }
	if err := json.Unmarshal([]byte(adapted), &read); err != nil {
		t.Fatal(err)
	}
	app := read.Apps.HTTP
	if gate.StopGracePeriod == nil || app.GracePeriod <= 0 || app.ShutdownDelay <= 0 ||
		app.GracePeriod+app.ShutdownDelay >= time.Duration(*gate.StopGracePeriod) {
		t.Errorf("the gate takes %s and %s to stop, and is killed after %v", app.ShutdownDelay, app.GracePeriod, gate.StopGracePeriod)
	}
}

// Prometheus takes its configuration, and asks where the control plane is, with
// the admin key.
func TestComposePrometheusScrapesTheControlPlane(t *testing.T) {
	text, err := os.ReadFile("compose/prometheus.yml")
	if err != nil {
		t.Fatal(err)
	}
	config, err := prometheus.Load(string(text), promslog.NewNopLogger())
	if err != nil {
		t.Fatal(err)
	}
	scrape := config.ScrapeConfigs[0]
	secret := scrape.HTTPClientConfig.Authorization
	if scrape.MetricsPath != "/metrics" || secret == nil || secret.Type != "Bearer" || secret.CredentialsFile != "/run/secrets/admin_key" {
		t.Errorf("it scrapes %s with %v", scrape.MetricsPath, secret)
	}
}

// Everything that the image is built on is pinned, and it runs as nobody.
func TestDockerfileIsPinnedAndRootless(t *testing.T) {
	text, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	images := regexp.MustCompile(`(?m)^ARG (?:GO|RUN)_IMAGE=(.*)$`).FindAllStringSubmatch(string(text), -1)
	if len(images) != 2 {
		t.Fatalf("%d images, expected those to build and to run on", len(images))
	}
	for _, image := range images {
		if !pinned.MatchString(image[1]) {
			t.Errorf("%s is not pinned by tag and digest", image[1])
		}
	}
	for what, want := range map[string]string{
		"a user who is nobody":           `(?m)^USER 65532:65532$`,
		"a health check without a shell": `(?m)^\s+CMD \["/usr/bin/caddy", "pinegate", "check"\]$`,
		"an image without a shell":       `distroless/static`,
		"labels":                         `org\.opencontainers\.image\.source=`,
		"a static binary":                `CGO_ENABLED=0`,
	} {
		if !regexp.MustCompile(want).Match(text) {
			t.Errorf("the Dockerfile lacks %s", what)
		}
	}
}
