package deployments

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

const chartDir = "helm/pine-gate"

// cluster is what a chart, or a folder of manifests, brings into a cluster.
type cluster struct {
	statefulSets []appsv1.StatefulSet
	deployments  []appsv1.Deployment
	services     map[string]corev1.Service
	configMaps   []corev1.ConfigMap
	secrets      []corev1.Secret
	accounts     []corev1.ServiceAccount
	policies     []networkingv1.NetworkPolicy
	ingresses    []networkingv1.Ingress
	budgets      []policyv1.PodDisruptionBudget
	scalers      []autoscalingv2.HorizontalPodAutoscaler
	others       map[string]map[string]any // by kind: what Kubernetes itself has no types for
}

// render renders the chart as `helm install gate` would, into the manifests by
// the names of their templates.
func render(t *testing.T, values map[string]any) (map[string]string, error) {
	t.Helper()
	chart, err := loader.LoadDir(chartDir)
	if err != nil {
		t.Fatalf("loading the chart: %v", err)
	}
	release := common.ReleaseOptions{Name: "gate", Namespace: "inference", Revision: 1, IsInstall: true}
	merged, err := util.ToRenderValues(chart, values, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	rendered, err := engine.Engine{}.RenderWithContext(t.Context(), chart, merged)
	if err != nil {
		return nil, err
	}
	files := make(map[string]string)
	for name, text := range rendered {
		if text := strings.TrimSpace(text); text != "" && !strings.Contains(name, "/_") {
			files[filepath.Base(name)] = text + "\n"
		}
	}
	return files, nil
}

// install renders the chart with a file of values and reads what comes out as
// strictly as an API server would.
func install(t *testing.T, file string) *cluster {
	t.Helper()
	files, err := render(t, valuesOf(t, file))
	if err != nil {
		t.Fatalf("rendering with %s: %v", file, err)
	}
	delete(files, "NOTES.txt")
	return decode(t, files)
}

func valuesOf(t *testing.T, file string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]any)
	if err := yaml.UnmarshalStrict(text, &values); err != nil {
		t.Fatal(err)
	}
	return values
}

func decode(t *testing.T, files map[string]string) *cluster {
	t.Helper()
	c := &cluster{services: make(map[string]corev1.Service), others: make(map[string]map[string]any)}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		for doc := range strings.SplitSeq(files[name], "\n---\n") {
			c.add(t, name, doc)
		}
	}
	return c
}

func (c *cluster) add(t *testing.T, name, doc string) {
	t.Helper()
	var head struct{ Kind string }
	if err := yaml.Unmarshal([]byte(doc), &head); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, doc)
	}
	switch head.Kind {
	case "StatefulSet":
		c.statefulSets = append(c.statefulSets, strictly[appsv1.StatefulSet](t, name, doc))
	case "Deployment":
		c.deployments = append(c.deployments, strictly[appsv1.Deployment](t, name, doc))
	case "Service":
		service := strictly[corev1.Service](t, name, doc)
		c.services[service.Name] = service
	case "ConfigMap":
		c.configMaps = append(c.configMaps, strictly[corev1.ConfigMap](t, name, doc))
	case "Secret":
		c.secrets = append(c.secrets, strictly[corev1.Secret](t, name, doc))
	case "ServiceAccount":
		c.accounts = append(c.accounts, strictly[corev1.ServiceAccount](t, name, doc))
	case "NetworkPolicy":
		c.policies = append(c.policies, strictly[networkingv1.NetworkPolicy](t, name, doc))
	case "Ingress":
		c.ingresses = append(c.ingresses, strictly[networkingv1.Ingress](t, name, doc))
	case "PodDisruptionBudget":
		c.budgets = append(c.budgets, strictly[policyv1.PodDisruptionBudget](t, name, doc))
	case "HorizontalPodAutoscaler":
		c.scalers = append(c.scalers, strictly[autoscalingv2.HorizontalPodAutoscaler](t, name, doc))
	case "HTTPRoute", "ServiceMonitor", "PrometheusRule":
		c.others[head.Kind] = strictly[map[string]any](t, name, doc)
	default:
		t.Fatalf("%s: nobody expects a %q", name, head.Kind)
	}
}

// strictly reads a manifest: a field that Kubernetes does not know is an error.
func strictly[T any](t *testing.T, name, doc string) T {
	t.Helper()
	var object T
	if err := yaml.UnmarshalStrict([]byte(doc), &object); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, doc)
	}
	return object
}

// pods returns the one pod template there is, and what it is scaled by.
func (c *cluster) pods(t *testing.T) (corev1.PodTemplateSpec, *int32) {
	t.Helper()
	if len(c.statefulSets)+len(c.deployments) != 1 {
		t.Fatalf("%d StatefulSets and %d Deployments, expected one of either", len(c.statefulSets), len(c.deployments))
	}
	if len(c.statefulSets) == 1 {
		return c.statefulSets[0].Spec.Template, c.statefulSets[0].Spec.Replicas
	}
	return c.deployments[0].Spec.Template, c.deployments[0].Spec.Replicas
}

func (c *cluster) caddyfile(t *testing.T) string {
	t.Helper()
	if len(c.configMaps) != 1 || c.configMaps[0].Data["Caddyfile"] == "" {
		t.Fatal("expected one ConfigMap with a Caddyfile")
	}
	return c.configMaps[0].Data["Caddyfile"]
}

// valueFiles are the installations that every promise of the chart is tried on.
func valueFiles(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no values: %v", err)
	}
	return append(files, "k8s/values.yaml")
}

// What is wrong is said by Helm, before anything is installed.
func TestChartRefusesWhatCannotBeRight(t *testing.T) {
	type values = map[string]any
	sound := func() values {
		return values{
			"secrets": values{"adminKey": "admin-key-of-a-chart-test"},
			"gate": values{
				"keys":     []any{values{"id": "app", "value": "callers-key-of-a-chart-test"}},
				"backends": []any{values{"name": "echo", "config": "api echo"}},
			},
		}
	}
	if _, err := render(t, sound()); err != nil {
		t.Fatalf("what all cases begin with: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(values)
		want   string
	}{
		{"nothing set", func(v values) { clear(v) }, "secrets.existingSecret"},
		{"no admin key", func(v values) { delete(v, "secrets") }, "secrets.existingSecret"},
		{"a short admin key", func(v values) { v["secrets"] = values{"adminKey": "short"} }, "adminKey"},
		{"no caller", func(v values) { delete(v["gate"].(values), "keys") }, "gate.keys is empty"},
		{"a key without a secret", func(v values) { v["gate"].(values)["keys"] = []any{values{"id": "app"}} }, `key "app": set its value`},
		{"no backend", func(v values) { delete(v["gate"].(values), "backends") }, "gate.backends is empty"},
		{"an entry of no Secret", func(v values) {
			v["gate"].(values)["backends"] = []any{values{"name": "openai", "secretKey": "openai"}}
		}, "secrets.existingSecret, which is not set"},
		{"a Redis password of no Secret", func(v values) {
			v["redis"] = values{"urls": []any{"rediss://redis:6379"}, "secretKey": "redis"}
		}, "set redis.value"},
		{"two gates without Redis", func(v values) { v["replicaCount"] = 2 }, "several gates need redis.urls"},
		{"scaling without Redis", func(v values) { v["autoscaling"] = values{"enabled": true} }, "several gates need redis.urls"},
		{"an ingress for every host", func(v values) { v["ingress"] = values{"enabled": true} }, "ingress.hosts is empty"},
		{"a route of no gateway", func(v values) { v["httpRoute"] = values{"enabled": true} }, "httpRoute.parentRefs is empty"},
		{"one port for both", func(v values) { v["ports"] = values{"gate": 9180} }, "metrics would be public"},
		{"a port that takes rights", func(v values) { v["ports"] = values{"gate": 80} }, "/ports/gate"},
		{"a word that is none", func(v values) { v["replicas"] = 1 }, "replicas"},
		{"an unknown outage", func(v values) { v["redis"] = values{"outage": "maybe"} }, "outage"},
		{"a digest that is none", func(v values) { v["image"] = values{"digest": "latest"} }, "digest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := sound()
			c.change(v)
			_, err := render(t, v)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, expected an error that holds %q", err, c.want)
			}
		})
	}
}
