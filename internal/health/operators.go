package health

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kstatus takes an object of a kind that it does not know as current while it has no status, and as soon
// as no condition named Ready is false. Until its controller has looked at it, an object of the kinds
// below is not what its spec asks for, whatever its status lacks.

// byConditions names the conditions that must be true, by group and kind, each from the documentation
// of the project.
var byConditions = map[string]map[string]required{
	// https://cert-manager.io/docs/reference/api-docs
	"cert-manager.io": {"Certificate": ready, "Issuer": ready, "ClusterIssuer": ready, "CertificateRequest": {all: ready.all, failed: []string{"Denied", "InvalidRequest"}}},
	// https://cluster-api.sigs.k8s.io/reference/api/condition: Available since v1beta2, Ready before.
	"cluster.x-k8s.io":              {"Cluster": availableOrReady, "Machine": availableOrReady, "MachineDeployment": availableOrReady},
	"controlplane.cluster.x-k8s.io": {"KubeadmControlPlane": availableOrReady},
	// https://external-secrets.io/latest/api/externalsecret
	"external-secrets.io": {"ExternalSecret": ready, "ClusterExternalSecret": ready, "SecretStore": ready, "ClusterSecretStore": ready, "PushSecret": ready},
	// https://gateway-api.sigs.k8s.io/guides/implementers: a Gateway serves once it is programmed.
	"gateway.networking.k8s.io": {"GatewayClass": {all: []string{"Accepted"}}, "Gateway": {all: []string{"Accepted", "Programmed"}}},
	// https://fluxcd.io/flux/components: conditions of Flux follow kstatus once there are any.
	"source.toolkit.fluxcd.io":       {"GitRepository": ready, "OCIRepository": ready, "Bucket": ready, "HelmChart": ready, "ExternalArtifact": ready},
	"kustomize.toolkit.fluxcd.io":    {"Kustomization": ready},
	"helm.toolkit.fluxcd.io":         {"HelmRelease": ready},
	"notification.toolkit.fluxcd.io": {"Receiver": ready},
	"image.toolkit.fluxcd.io":        {"ImageRepository": ready, "ImagePolicy": ready, "ImageUpdateAutomation": ready},
	"fluxcd.controlplane.io":         {"FluxInstance": ready, "ResourceSet": ready, "ResourceSetInputProvider": ready},
	// https://keda.sh/docs/latest/reference/scaledobject-spec
	"keda.sh": {"ScaledObject": ready, "ScaledJob": ready},
	// https://prometheus-operator.dev/docs/api-reference/api: Available and Reconciled.
	"monitoring.coreos.com": {"Prometheus": operated, "PrometheusAgent": operated, "Alertmanager": operated, "ThanosRuler": operated},
	// https://github.com/bitnami-labs/sealed-secrets
	"bitnami.com": {"SealedSecret": {all: []string{"Synced"}}},
	// https://cloudnative-pg.io/documentation/current/wait_for_it
	"postgresql.cnpg.io": {"Cluster": ready},
	// https://docs.crossplane.io/latest/packages
	"pkg.crossplane.io":           {"Provider": packaged, "Configuration": packaged, "Function": packaged},
	"apiextensions.crossplane.io": {"CompositeResourceDefinition": {all: []string{"Established"}}},
	// https://knative.dev/docs/serving/revisions
	"serving.knative.dev": {"Service": ready, "Configuration": ready, "Route": ready, "Revision": ready, "DomainMapping": ready},
	// https://tekton.dev/docs/pipelines/pipelineruns/#monitoring-execution-status
	"tekton.dev": {"PipelineRun": {all: []string{"Succeeded"}, fails: true}, "TaskRun": {all: []string{"Succeeded"}, fails: true}},
}

// byPhase names the phases of the kinds that tell by one string where they are.
var byPhase = map[string]map[string]phases{
	// https://kubevirt.io/user-guide/storage/containerized_data_importer: a DataVolume whose class waits
	// for a consumer is as right as a claim that does.
	"cdi.kubevirt.io": {"DataVolume": {path: "phase", current: []string{"Succeeded", "WaitForFirstConsumer", "PendingPopulation"}, failed: []string{"Failed"}}},
	"kubevirt.io":     {"VirtualMachineInstance": {path: "phase", current: []string{"Running", "Succeeded"}, failed: []string{"Failed"}}},
	// https://argo-workflows.readthedocs.io/en/latest/fields
	"argoproj.io": {
		"Workflow":    {path: "phase", current: []string{"Succeeded"}, failed: []string{"Failed", "Error"}},
		"AnalysisRun": {path: "phase", current: []string{"Successful"}, failed: []string{"Failed", "Error"}},
	},
	// https://rook.io/docs/rook/latest/CRDs/specification
	"ceph.rook.io": {
		"CephCluster":     {path: "phase", current: []string{"Ready", "Connected"}, failed: []string{"Failure"}},
		"CephBlockPool":   {path: "phase", current: []string{"Ready"}, failed: []string{"Failure"}},
		"CephFilesystem":  {path: "phase", current: []string{"Ready"}, failed: []string{"Failure"}},
		"CephObjectStore": {path: "phase", current: []string{"Ready", "Connected"}, failed: []string{"Failure"}},
	},
	// https://olm.operatorframework.io/docs/concepts/crds
	"operators.coreos.com": {
		"Subscription":  {path: "state", current: []string{"AtLatestKnown"}},
		"CatalogSource": {path: "connectionState.lastObservedState", current: []string{"READY"}},
		"InstallPlan":   {path: "phase", current: []string{"Complete"}, failed: []string{"Failed"}},
	},
	// https://velero.io/docs/main/api-types
	"velero.io": {
		"Schedule":              {path: "phase", current: []string{"Enabled"}, failed: []string{"FailedValidation"}},
		"BackupStorageLocation": {path: "phase", current: []string{"Available"}},
	},
	// https://postgres-operator.readthedocs.io/en/latest/reference/cluster_manifest
	"acid.zalan.do": {"postgresql": {path: "PostgresClusterStatus", current: []string{"Running"}, failed: []string{"CreateFailed", "UpdateFailed", "SyncFailed", "Invalid"}}},
}

// ofOperators are the kinds for which neither a set of conditions nor a phase suffices.
var ofOperators = map[schema.GroupKind]func(*unstructured.Unstructured) (Status, bool){
	{Group: "helm.cattle.io", Kind: "HelmChart"}:                helmChart,
	{Group: "upgrade.cattle.io", Kind: "Plan"}:                  upgradePlan,
	{Group: "kubevirt.io", Kind: "VirtualMachine"}:              virtualMachine,
	{Group: "argoproj.io", Kind: "Rollout"}:                     argoRollout,
	{Group: "argoproj.io", Kind: "Application"}:                 argoApplication,
	{Group: "source.toolkit.fluxcd.io", Kind: "HelmRepository"}: helmRepository,
	{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}:     route,
	{Group: "gateway.networking.k8s.io", Kind: "GRPCRoute"}:     route,
	{Group: "gateway.networking.k8s.io", Kind: "TLSRoute"}:      route,
	{Group: "gateway.networking.k8s.io", Kind: "TCPRoute"}:      route,
	{Group: "snapshot.storage.k8s.io", Kind: "VolumeSnapshot"}:  volumeSnapshot,
}

// required describes which conditions make an object current.
type required struct {
	// all must be true. Where any is given, the first of them that the object has counts instead.
	all, any []string
	// failed conditions are true when the object will not get there; with fails, one of all that is false
	// says so as well.
	failed []string
	fails  bool
}

var (
	ready            = required{all: []string{"Ready"}}
	availableOrReady = required{any: []string{"Available", "Ready"}}
	operated         = required{all: []string{"Available", "Reconciled"}}
	packaged         = required{all: []string{"Installed", "Healthy"}}
)

// phases are the values of a field of status.
type phases struct {
	path            string
	current, failed []string
}

// operator judges objects of kinds that come with operators; false where none of the rules is for it.
func operator(u *unstructured.Unstructured, gk schema.GroupKind) (Status, bool) {
	if rule := ofOperators[gk]; rule != nil {
		return rule(u)
	}
	if r, ok := byConditions[gk.Group][gk.Kind]; ok {
		return r.of(u)
	}
	if p, ok := byPhase[gk.Group][gk.Kind]; ok {
		return p.of(u)
	}
	if crossplane(u) {
		return required{all: []string{"Synced", "Ready"}}.of(u)
	}
	return Status{}, false
}

// of leaves to kstatus what says by its standard conditions that it is on the way or stuck.
func (r required) of(u *unstructured.Unstructured) (Status, bool) {
	if stale(u) {
		return progress("its controller has not looked at this generation yet"), true
	}
	if suspended, _ := value(u, "spec", "suspend").(bool); suspended {
		return Status{Phase: Current, Message: "is suspended (spec.suspend)"}, true
	}
	c := conditions(u)
	if c["Stalled"].Status == metav1.ConditionTrue || c["Reconciling"].Status == metav1.ConditionTrue {
		return Status{}, false
	}
	for _, name := range r.failed {
		if c[name].Status == metav1.ConditionTrue {
			return failure("%s%s", name, because(c[name])), true
		}
	}
	if reason := stringAt(u, "status", "failureReason"); reason != "" { // of Cluster API
		return failure("failed%s", because(condition{Reason: reason})), true
	}
	all := r.all
	for _, name := range r.any {
		if _, there := c[name]; there {
			all = []string{name}
			break
		}
	}
	if len(all) == 0 {
		return progress("has no condition %s yet", strings.Join(r.any, " or ")), true
	}
	for _, name := range all {
		switch at, there := c[name]; {
		case !there:
			return progress("has no condition %s yet", name), true
		case r.fails && at.Status == metav1.ConditionFalse:
			return failure("%s is False%s", name, because(at)), true
		case at.Status != metav1.ConditionTrue:
			return progress("%s is %s%s", name, at.Status, because(at)), true
		}
	}
	return Status{Phase: Current}, true
}

func (p phases) of(u *unstructured.Unstructured) (Status, bool) {
	phase := stringAt(u, append([]string{"status"}, strings.Split(p.path, ".")...)...)
	switch {
	case stale(u):
		return progress("its controller has not looked at this generation yet"), true
	case phase == "":
		return progress("its controller has not looked at it yet"), true
	case slices.Contains(p.current, phase):
		return Status{Phase: Current}, true
	case slices.Contains(p.failed, phase):
		return failure("its %s is %s", p.path, phase), true
	}
	return progress("its %s is %s", p.path, phase), true
}

// stale reports whether the controller of an object tells which generation it has looked at, and has not
// looked at this one. Argo Rollouts tells it as a string.
func stale(u *unstructured.Unstructured) bool {
	switch seen := value(u, "status", "observedGeneration").(type) {
	case int64:
		return seen < u.GetGeneration()
	case string:
		n, err := strconv.ParseInt(seen, 10, 64)
		return err == nil && n < u.GetGeneration()
	}
	return false
}

// crossplane reports whether an object is a managed resource, a composite or a claim of Crossplane, whose
// groups and kinds are those of any provider: by the fields that each of them has, or by the condition Synced.
// https://docs.crossplane.io/latest/managed-resources/managed-resources
func crossplane(u *unstructured.Unstructured) bool {
	group := u.GroupVersionKind().Group
	if !strings.Contains(group, ".") || strings.HasSuffix(group, ".k8s.io") {
		return false
	}
	for _, field := range []string{"forProvider", "compositionRef", "compositionSelector", "compositionRevisionRef", "crossplane"} {
		if m, _ := value(u, "spec", field).(map[string]any); m != nil {
			return true
		}
	}
	c := conditions(u)
	_, synced := c["Synced"]
	_, hasReady := c["Ready"]
	return synced && hasReady
}

// helmChart of k3s: its controller makes a Job that installs the chart, and tells of no more than that it
// was made or has failed. https://docs.k3s.io/helm
func helmChart(u *unstructured.Unstructured) (Status, bool) {
	c := conditions(u)
	switch {
	case c["Failed"].Status == metav1.ConditionTrue:
		return failure("the chart could not be installed%s", because(c["Failed"])), true
	case stringAt(u, "status", "jobName") == "" && c["JobCreated"].Status != metav1.ConditionTrue:
		return progress("the Job that installs the chart is not made yet"), true
	}
	return Status{Phase: Current}, true
}

// upgradePlan of the system upgrade controller. https://github.com/rancher/system-upgrade-controller
func upgradePlan(u *unstructured.Unstructured) (Status, bool) {
	c := conditions(u)
	applying, _ := value(u, "status", "applying").([]any)
	complete, tells := c["Complete"]
	switch {
	case c["Validated"].Status == metav1.ConditionFalse:
		return failure("the plan is not valid%s", because(c["Validated"])), true
	case c["LatestResolved"].Status != metav1.ConditionTrue:
		return progress("the version is not resolved yet%s", because(c["LatestResolved"])), true
	case tells && complete.Status == metav1.ConditionFalse && complete.Reason == "JobFailed":
		return failure("the upgrade of a node failed (JobFailed)"), true
	case len(applying) > 0:
		return progress("upgrades %d nodes", len(applying)), true
	case tells && complete.Status != metav1.ConditionTrue:
		return progress("not every node is upgraded%s", because(complete)), true
	}
	return Status{Phase: Current}, true
}

// virtualMachine of KubeVirt: one that Git keeps stopped is as wanted.
// https://kubevirt.io/user-guide/compute/run_strategies
func virtualMachine(u *unstructured.Unstructured) (Status, bool) {
	running, set := value(u, "spec", "running").(bool)
	strategy, shown := stringAt(u, "spec", "runStrategy"), stringAt(u, "status", "printableStatus")
	stopped := set && !running || strategy == "Halted"
	switch {
	case stale(u), shown == "":
		return progress("its controller has not looked at it yet"), true
	case stopped && shown == "Stopped", strategy == "Manual":
		return Status{Phase: Current}, true
	case stopped:
		return progress("is %s, and is to be stopped", shown), true
	case shown == "Running" && conditions(u)["Ready"].Status == metav1.ConditionTrue:
		return Status{Phase: Current}, true
	case strategy == "RerunOnFailure" && shown == "Stopped", strategy == "Once" && shown == "Stopped": // it has ended
		return Status{Phase: Current}, true
	}
	return progress("is %s", shown), true
}

// argoRollout: one that is paused waits for a person, or for its next step.
// https://argo-rollouts.readthedocs.io/en/stable/features/specification
func argoRollout(u *unstructured.Unstructured) (Status, bool) {
	phase := stringAt(u, "status", "phase")
	switch {
	case stale(u), phase == "":
		return progress("its controller has not looked at this generation yet"), true
	case phase == "Healthy":
		return Status{Phase: Current}, true
	case phase == "Degraded":
		return failure("the rollout is degraded"), true
	}
	return progress("the rollout is %s", strings.ToLower(phase)), true
}

// argoApplication of Argo CD: what it deploys is in sync and healthy.
func argoApplication(u *unstructured.Unstructured) (Status, bool) {
	state, sync := stringAt(u, "status", "health", "status"), stringAt(u, "status", "sync", "status")
	switch {
	case state == "Healthy" && sync == "Synced":
		return Status{Phase: Current}, true
	case state == "Degraded":
		return failure("what it deploys is degraded"), true
	case state == "" && sync == "":
		return progress("its controller has not looked at it yet"), true
	}
	return progress("what it deploys is %s and %s", cmp.Or(state, "of unknown health"), cmp.Or(sync, "not compared yet")), true
}

// helmRepository of Flux has no status where it is only an address.
func helmRepository(u *unstructured.Unstructured) (Status, bool) {
	if stringAt(u, "spec", "type") == "oci" {
		return Status{Phase: Current}, true
	}
	return ready.of(u)
}

// route of the Gateway API: each Gateway that it names accepts it and finds what it refers to.
func route(u *unstructured.Unstructured) (Status, bool) {
	parents, _ := value(u, "status", "parents").([]any)
	wanted, _ := value(u, "spec", "parentRefs").([]any)
	if len(parents) < len(wanted) {
		return progress("%d of %d parents have answered", len(parents), len(wanted)), true
	}
	for _, parent := range parents {
		m, _ := parent.(map[string]any)
		c := conditions(&unstructured.Unstructured{Object: map[string]any{"status": m}})
		for _, name := range []string{"Accepted", "ResolvedRefs"} {
			if at := c[name]; at.Status != metav1.ConditionTrue {
				return progress("%s is not True at one of its parents%s", name, because(at)), true
			}
		}
	}
	return Status{Phase: Current}, true
}

func volumeSnapshot(u *unstructured.Unstructured) (Status, bool) {
	usable, _ := value(u, "status", "readyToUse").(bool)
	switch failed, _ := value(u, "status", "error").(map[string]any); {
	case usable:
		return Status{Phase: Current}, true
	case failed != nil:
		return progress("the snapshot failed, and is tried again"), true
	}
	return progress("the snapshot is not ready to use"), true
}
