package deployments

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// installations are what the chart makes of each file of values, and the plain
// manifests.
func installations(t *testing.T) map[string]*cluster {
	t.Helper()
	all := map[string]*cluster{"plain manifests": plainManifests(t)}
	for _, file := range valueFiles(t) {
		all[filepath.Base(file)] = install(t, file)
	}
	return all
}

func plainManifests(t *testing.T) *cluster {
	t.Helper()
	files, err := filepath.Glob("k8s/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no manifests: %v", err)
	}
	texts := make(map[string]string)
	for _, file := range files {
		if base := filepath.Base(file); base == "values.yaml" || base == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = string(text)
	}
	return decode(t, texts)
}

// The pod runs as nobody, with no rights, on a file system that it can't change.
func TestPodsAreLockedDown(t *testing.T) {
	for name, c := range installations(t) {
		t.Run(name, func(t *testing.T) {
			pod, _ := c.pods(t)
			spec := pod.Spec
			of := spec.SecurityContext
			if of == nil {
				t.Fatal("the pod has no security context")
			}
			for what, ok := range map[string]bool{
				"runAsNonRoot":                     isTrue(of.RunAsNonRoot),
				"runAsUser is not root":            of.RunAsUser != nil && *of.RunAsUser > 0,
				"runAsGroup is not root":           of.RunAsGroup != nil && *of.RunAsGroup > 0,
				"fsGroup owns the volumes":         of.FSGroup != nil && *of.FSGroup == *of.RunAsGroup,
				"seccomp is RuntimeDefault":        of.SeccompProfile != nil && of.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault,
				"no service account token":         isFalse(spec.AutomountServiceAccountToken),
				"no network of the host":           !spec.HostNetwork && !spec.HostPID && !spec.HostIPC,
				"one container, none to set it up": len(spec.Containers) == 1 && len(spec.InitContainers) == 0,
			} {
				if !ok {
					t.Errorf("not so: %s", what)
				}
			}
			for _, container := range spec.Containers {
				checkContainer(t, container)
			}
			for _, account := range c.accounts {
				if !isFalse(account.AutomountServiceAccountToken) {
					t.Errorf("service account %s hands out its token", account.Name)
				}
			}
		})
	}
}

func checkContainer(t *testing.T, container corev1.Container) {
	t.Helper()
	of := container.SecurityContext
	if of == nil {
		t.Fatalf("container %s has no security context", container.Name)
	}
	for what, ok := range map[string]bool{
		"allowPrivilegeEscalation is false": isFalse(of.AllowPrivilegeEscalation),
		"readOnlyRootFilesystem":            isTrue(of.ReadOnlyRootFilesystem),
		"all capabilities are dropped":      of.Capabilities != nil && slices.Equal(of.Capabilities.Drop, []corev1.Capability{"ALL"}),
		"none are added":                    of.Capabilities != nil && len(of.Capabilities.Add) == 0,
		"it is not privileged":              !isTrue(of.Privileged),
		"memory is bounded":                 !container.Resources.Limits.Memory().IsZero(),
		"it asks for CPU":                   !container.Resources.Requests.Cpu().IsZero(),
		"the image is not latest":           !strings.HasSuffix(container.Image, ":latest") && strings.Contains(container.Image, ":"),
	} {
		if !ok {
			t.Errorf("container %s: not so: %s", container.Name, what)
		}
	}
	for _, port := range container.Ports {
		if port.ContainerPort < 1024 || port.HostPort != 0 {
			t.Errorf("port %s is %d (host: %d), which takes rights", port.Name, port.ContainerPort, port.HostPort)
		}
	}
}

// The gate must write its journal, and the root file system is read only.
func TestOnlyDataAndTemporaryFilesAreWritable(t *testing.T) {
	for name, c := range installations(t) {
		t.Run(name, func(t *testing.T) {
			pod, _ := c.pods(t)
			volumes := make(map[string]corev1.Volume)
			for _, v := range pod.Spec.Volumes {
				volumes[v.Name] = v
			}
			writable := map[string]bool{}
			for _, mount := range pod.Spec.Containers[0].VolumeMounts {
				if !mount.ReadOnly {
					writable[mount.MountPath] = true
				}
				if volumes[mount.Name].Secret != nil && (mount.SubPath != "" || !mount.ReadOnly) {
					t.Error("a Secret is mounted by a path within it, or for writing: it would not follow its rotation")
				}
			}
			if len(writable) != 2 || !writable["/data"] || !writable["/tmp"] {
				t.Errorf("writable are %v, expected /data and /tmp", writable)
			}
			if len(c.statefulSets) == 1 {
				if claims := c.statefulSets[0].Spec.VolumeClaimTemplates; len(claims) != 1 || claims[0].Name != "data" {
					t.Error("a StatefulSet without a claim for /data")
				}
			} else if volumes["data"].EmptyDir == nil {
				t.Error("nothing backs /data")
			}
			if mode := volumes["secrets"].Secret.DefaultMode; mode == nil || *mode != 0o440 {
				t.Error("others than the gate may read the secrets, or the gate may not: expected mode 0440")
			}
		})
	}
}

// What is asked of health, and how long a stop may take, fit the Caddyfile.
func TestProbesAndStopsFitTheGate(t *testing.T) {
	for name, c := range installations(t) {
		t.Run(name, func(t *testing.T) {
			pod, replicas := c.pods(t)
			container := pod.Spec.Containers[0]
			for what, probe := range map[string]*corev1.Probe{
				"/healthz": container.LivenessProbe, "/readyz": container.ReadinessProbe,
			} {
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != what || probe.HTTPGet.Port != intstr.FromString("gate") {
					t.Errorf("%s is not probed on the gate's own port", what)
				}
			}
			config := adaptCaddyfile(t, c)
			if config.ShutdownDelay <= 0 || config.GracePeriod <= 0 {
				t.Error("a stop takes for ever, or cuts off whoever comes meanwhile")
			}
			stop := config.ShutdownDelay + config.GracePeriod
			if wait := pod.Spec.TerminationGracePeriodSeconds; wait == nil || *wait < int64(stop.Seconds())+5 {
				t.Errorf("the pod is killed after %d s, but its gate takes %s to stop", *wait, stop)
			}
			if out := int64(config.ShutdownDelay.Seconds()); out < int64(container.ReadinessProbe.PeriodSeconds)*int64(container.ReadinessProbe.FailureThreshold) {
				t.Errorf("a gate that stops is sent requests still: after %d s it takes none, and unready it is later", out)
			}
			if len(c.budgets) != 1 {
				t.Error("no PodDisruptionBudget")
			}
			if len(pod.Spec.TopologySpreadConstraints) == 0 {
				t.Error("gates are not spread over nodes")
			}
			if scaled := len(c.scalers) == 1; scaled && (replicas != nil || c.scalers[0].Spec.ScaleTargetRef.Name != "gate-pine-gate") {
				t.Error("the scaler and the number of replicas fight, or it scales something else")
			}
		})
	}
}

// Metrics and usage are for Prometheus and administrators: neither a Service nor
// an ingress nor the network lets anybody else there.
func TestControlPlaneIsForPrometheusAlone(t *testing.T) {
	for name, c := range installations(t) {
		t.Run(name, func(t *testing.T) {
			admin := 0
			for _, service := range c.services {
				for _, port := range service.Spec.Ports {
					if port.TargetPort == intstr.FromString("gate") {
						continue
					}
					admin++
					if service.Spec.Type != corev1.ServiceTypeClusterIP || len(service.Spec.Ports) != 1 {
						t.Errorf("service %s opens port %s by %s", service.Name, port.TargetPort.String(), service.Spec.Type)
					}
				}
			}
			if admin != 1 {
				t.Errorf("%d services lead to the control plane, expected one", admin)
			}
			for _, ingress := range c.ingresses {
				for _, rule := range ingress.Spec.Rules {
					for _, path := range rule.HTTP.Paths {
						if path.Backend.Service.Port.Name != "http" || strings.HasSuffix(path.Backend.Service.Name, "-admin") {
							t.Errorf("the ingress leads to %v", path.Backend.Service)
						}
					}
				}
			}
			if len(c.policies) != 1 {
				t.Fatal("no NetworkPolicy")
			}
			checkPolicy(t, c.policies[0])
		})
	}
}

func checkPolicy(t *testing.T, policy networkingv1.NetworkPolicy) {
	t.Helper()
	if len(policy.Spec.PolicyTypes) != 2 {
		t.Errorf("the policy is about %v, expected both ways", policy.Spec.PolicyTypes)
	}
	for _, rule := range policy.Spec.Ingress {
		if len(rule.Ports) != 1 {
			t.Fatalf("a rule opens %d ports, expected one each", len(rule.Ports))
		}
		switch port := rule.Ports[0].Port.String(); port {
		case "gate":
		case "admin":
			if len(rule.From) != 1 || rule.From[0].PodSelector == nil || rule.From[0].NamespaceSelector == nil {
				t.Errorf("the control plane is open to %v, expected Prometheus' pods in its namespace", rule.From)
			}
		default:
			t.Errorf("port %s is open", port)
		}
	}
	for _, rule := range policy.Spec.Egress {
		if len(rule.To) == 0 && !isDNS(rule) {
			t.Errorf("every address may be reached at %v", rule.Ports)
		}
		for _, to := range rule.To {
			if to.IPBlock != nil && to.IPBlock.CIDR == "0.0.0.0/0" && !slices.Contains(to.IPBlock.Except, "169.254.0.0/16") {
				t.Error("the cloud's metadata can be reached")
			}
		}
	}
}

func isDNS(rule networkingv1.NetworkPolicyEgressRule) bool {
	return len(rule.Ports) > 0 && !slices.ContainsFunc(rule.Ports, func(p networkingv1.NetworkPolicyPort) bool {
		return p.Port == nil || p.Port.IntValue() != 53 || p.EndPort != nil
	})
}

// Secrets stand in Secrets, and nowhere else.
func TestSecretsStandInSecretsAlone(t *testing.T) {
	values := valuesOf(t, "testdata/values/trial.yaml")
	files, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"admin-key-of-a-chart-test", "callers-key-of-a-chart-test"} {
		if !strings.Contains(files["secret.yaml"], secret) {
			t.Errorf("the Secret lacks %s", secret)
		}
		for name, text := range files {
			if name != "secret.yaml" && strings.Contains(text, secret) {
				t.Errorf("%s holds %s", name, secret)
			}
		}
	}
	if c := install(t, "testdata/values/single.yaml"); len(c.secrets) != 0 {
		t.Error("a Secret is made where there is one already")
	}
}

// Prometheus gets in by the admin key, as everybody does.
func TestServiceMonitorHoldsTheAdminKey(t *testing.T) {
	monitor := install(t, "testdata/values/single.yaml").others["ServiceMonitor"]
	endpoint := monitor["spec"].(map[string]any)["endpoints"].([]any)[0].(map[string]any)
	credentials := endpoint["authorization"].(map[string]any)["credentials"].(map[string]any)
	if endpoint["port"] != "admin" || credentials["name"] != "gate-secrets" || credentials["key"] != "admin-key" {
		t.Errorf("it scrapes %v", endpoint)
	}
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }
