package health

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestHealthOfKindsOfOperators(t *testing.T) {
	going := func(message string) Status { return Status{Phase: InProgress, Message: message} }
	failed := func(message string) Status { return Status{Phase: Failed, Message: message} }
	current := Status{Phase: Current}
	const (
		unseen      = "its controller has not looked at it yet"
		certificate = "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {generation: 2}\n"
		request     = "apiVersion: cert-manager.io/v1\nkind: CertificateRequest\n"
		machine     = "apiVersion: cluster.x-k8s.io/v1beta1\nkind: Machine\n"
		chart       = "apiVersion: helm.cattle.io/v1\nkind: HelmChart\n"
		upgrade     = "apiVersion: upgrade.cattle.io/v1\nkind: Plan\n"
		vm          = "apiVersion: kubevirt.io/v1\nkind: VirtualMachine\nmetadata: {generation: 1}\n"
		volume      = "apiVersion: cdi.kubevirt.io/v1beta1\nkind: DataVolume\n"
		rollout     = "apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {generation: 3}\n"
		application = "apiVersion: argoproj.io/v1alpha1\nkind: Application\n"
		release     = "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {generation: 2}\n"
		helmRepo    = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\n"
		bucket      = "apiVersion: s3.aws.upbound.io/v1beta2\nkind: Bucket\nspec: {forProvider: {region: eu-central-1}}\n"
		claim       = "apiVersion: db.example.org/v1\nkind: Postgres\nspec: {size: small, compositionRef: {name: postgres}}\n"
		provider    = "apiVersion: pkg.crossplane.io/v1\nkind: Provider\n"
		gateway     = "apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n"
		http        = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nspec: {parentRefs: [{name: a}, {name: b}]}\n"
		task        = "apiVersion: tekton.dev/v1\nkind: PipelineRun\n"
		sealed      = "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\n"
		snapshot    = "apiVersion: snapshot.storage.k8s.io/v1\nkind: VolumeSnapshot\n"
		ceph        = "apiVersion: ceph.rook.io/v1\nkind: CephCluster\n"
		catalog     = "apiVersion: operators.coreos.com/v1alpha1\nkind: CatalogSource\n"
	)
	for _, tc := range []struct {
		name, object string
		want         Status
	}{
		{"a Certificate that nothing has looked at", certificate, going("has no condition Ready yet")},
		{"a Certificate of the generation before", certificate + "status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True'}]}", going("its controller has not looked at this generation yet")},
		{"a Certificate that is being issued", certificate + "status: {conditions: [{type: Ready, status: 'False', reason: DoesNotExist}, {type: Issuing, status: 'True'}]}", going("Ready is False (DoesNotExist)")},
		{"a Certificate that is issued", certificate + "status: {conditions: [{type: Ready, status: 'True', observedGeneration: 2}]}", current},
		{"a request that was denied", request + "status: {conditions: [{type: Approved, status: 'False'}, {type: Denied, status: 'True', reason: policy}]}", failed("Denied (policy)")},

		{"a Machine that is provisioned", machine + "status: {phase: Running, conditions: [{type: Ready, status: 'True'}]}", current},
		{"a Machine whose newer condition counts", machine + "status: {conditions: [{type: Available, status: 'False', reason: WaitingForMinReadySeconds}, {type: Ready, status: 'True'}]}", going("Available is False (WaitingForMinReadySeconds)")},
		{"a Machine without conditions", machine, going("has no condition Available or Ready yet")},
		{"a Machine that failed for good", machine + "status: {failureReason: CreateError, failureMessage: quota of account 4711, conditions: [{type: Ready, status: 'False'}]}", failed("failed (CreateError)")},

		{"a HelmChart of k3s that nothing has looked at", chart, going("the Job that installs the chart is not made yet")},
		{"a HelmChart whose Job was made", chart + "status: {jobName: helm-install-traefik}", current},
		{"a HelmChart that failed", chart + "status: {jobName: helm-install-traefik, conditions: [{type: JobCreated, status: 'True'}, {type: Failed, status: 'True', reason: JobFailed}]}", failed("the chart could not be installed (JobFailed)")},

		{"an upgrade whose version is not known", upgrade, going("the version is not resolved yet")},
		{"an upgrade of two nodes", upgrade + "status: {latestVersion: v1.36.1-k3s1, conditions: [{type: LatestResolved, status: 'True'}], applying: [node-1, node-2]}", going("upgrades 2 nodes")},
		{"an upgrade that is not complete", upgrade + "status: {conditions: [{type: LatestResolved, status: 'True'}, {type: Complete, status: 'False', reason: Waiting}]}", going("not every node is upgraded (Waiting)")},
		{"an upgrade whose Job failed", upgrade + "status: {conditions: [{type: LatestResolved, status: 'True'}, {type: Complete, status: 'False', reason: JobFailed}]}", failed("the upgrade of a node failed (JobFailed)")},
		{"an upgrade that is not valid", upgrade + "status: {conditions: [{type: Validated, status: 'False', reason: PlanIsInvalid}]}", failed("the plan is not valid (PlanIsInvalid)")},
		{"an upgrade that is done", upgrade + "status: {conditions: [{type: LatestResolved, status: 'True'}, {type: Complete, status: 'True'}]}", current},

		{"a machine that starts", vm + "spec: {runStrategy: Always}\nstatus: {printableStatus: Starting}", going("is Starting")},
		{"a machine that runs", vm + "spec: {running: true}\nstatus: {printableStatus: Running, conditions: [{type: Ready, status: 'True'}]}", current},
		{"a machine whose guest does not answer", vm + "spec: {running: true}\nstatus: {printableStatus: Running, conditions: [{type: Ready, status: 'False', reason: GuestNotRunning}]}", going("is Running")},
		{"a machine that is to be stopped and is", vm + "spec: {runStrategy: Halted}\nstatus: {printableStatus: Stopped}", current},
		{"a machine that is to be stopped and runs", vm + "spec: {running: false}\nstatus: {printableStatus: Stopping}", going("is Stopping, and is to be stopped")},
		{"a machine that nothing has looked at", vm + "spec: {running: false}", going(unseen)},
		{"a disk image that is imported", volume + "status: {phase: ImportInProgress}", going("its phase is ImportInProgress")},
		{"a disk image that waits for its machine", volume + "status: {phase: WaitForFirstConsumer}", current},

		{"a canary that waits for a person", rollout + "status: {observedGeneration: '3', phase: Paused}", going("the rollout is paused")},
		{"a canary of the generation before", rollout + "status: {observedGeneration: '2', phase: Healthy}", going("its controller has not looked at this generation yet")},
		{"a canary that is done", rollout + "status: {observedGeneration: '3', phase: Healthy}", current},
		{"a canary that is degraded", rollout + "status: {observedGeneration: '3', phase: Degraded}", failed("the rollout is degraded")},
		{"an Application that nothing has looked at", application, going(unseen)},
		{"an Application that is not in sync", application + "status: {health: {status: Healthy}, sync: {status: OutOfSync}}", going("what it deploys is Healthy and OutOfSync")},
		{"an Application that is in sync", application + "status: {health: {status: Healthy}, sync: {status: Synced}}", current},

		{"a HelmRelease that nothing has looked at", release, going("has no condition Ready yet")},
		{"a HelmRelease that is on its way", release + "status: {observedGeneration: 2, conditions: [{type: Reconciling, status: 'True', message: running install}, {type: Ready, status: 'Unknown'}]}", going("running install")},
		{"a HelmRelease that is stuck", release + "status: {observedGeneration: 2, conditions: [{type: Stalled, status: 'True', message: retries exhausted}, {type: Ready, status: 'False'}]}", failed("retries exhausted")},
		{"a HelmRelease that is suspended before it began", release + "spec: {suspend: true}", Status{Phase: Current, Message: "is suspended (spec.suspend)"}},
		{"a HelmRepository that is an address only", helmRepo + "spec: {type: oci}", current},
		{"a HelmRepository that nothing has looked at", helmRepo, going("has no condition Ready yet")},

		{"a managed resource of Crossplane that nothing has looked at", bucket, going("has no condition Synced yet")},
		{"a managed resource that is not synced", bucket + "status: {conditions: [{type: Ready, status: 'True'}, {type: Synced, status: 'False', reason: ReconcileError}]}", going("Synced is False (ReconcileError)")},
		{"a managed resource that is there", bucket + "status: {conditions: [{type: Ready, status: 'True'}, {type: Synced, status: 'True'}]}", current},
		{"a claim of Crossplane that waits", claim + "status: {conditions: [{type: Synced, status: 'True'}, {type: Ready, status: 'False', reason: Waiting}]}", going("Ready is False (Waiting)")},
		{"a provider of Crossplane without its Pod", provider + "status: {conditions: [{type: Installed, status: 'True'}, {type: Healthy, status: 'False', reason: UnhealthyPackageRevision}]}", going("Healthy is False (UnhealthyPackageRevision)")},

		{"a Gateway that is accepted only", gateway + "status: {conditions: [{type: Accepted, status: 'True'}, {type: Programmed, status: 'Unknown', reason: Pending}]}", going("Programmed is Unknown (Pending)")},
		{"a route that one of two Gateways answered", http + "status: {parents: [{conditions: [{type: Accepted, status: 'True'}, {type: ResolvedRefs, status: 'True'}]}]}", going("1 of 2 parents have answered")},
		{"a route whose Service is not there", http + "spec: {parentRefs: [{name: a}]}\nstatus: {parents: [{conditions: [{type: Accepted, status: 'True'}, {type: ResolvedRefs, status: 'False', reason: BackendNotFound}]}]}", going("ResolvedRefs is not True at one of its parents (BackendNotFound)")},

		{"a pipeline that runs", task + "status: {conditions: [{type: Succeeded, status: 'Unknown', reason: Running}]}", going("Succeeded is Unknown (Running)")},
		{"a pipeline that failed", task + "status: {conditions: [{type: Succeeded, status: 'False', reason: Failed}]}", failed("Succeeded is False (Failed)")},
		{"a SealedSecret that cannot be opened", sealed + "status: {conditions: [{type: Synced, status: 'False'}]}", going("Synced is False")},
		{"a snapshot that is being taken", snapshot + "status: {readyToUse: false}", going("the snapshot is not ready to use")},
		{"a Ceph cluster that is being built", ceph + "status: {phase: Progressing}", going("its phase is Progressing")},
		{"a catalog that connects", catalog + "status: {connectionState: {lastObservedState: CONNECTING}}", going("its connectionState.lastObservedState is CONNECTING")},

		{"a custom resource of a kind that no rule is for", "apiVersion: example.com/v1\nkind: Widget\nspec: {}", current},
		{"a custom resource whose status is nonsense", certificate + "status: {conditions: {Ready: 'True'}, observedGeneration: [1]}", going("has no condition Ready yet")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Of(parse(t, tc.object))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRulesAreForOneKindOnce holds that no kind has two rules, of which only one would count.
func TestRulesAreForOneKindOnce(t *testing.T) {
	for group, kinds := range byConditions {
		for kind := range kinds {
			gk := schema.GroupKind{Group: group, Kind: kind}
			_, phase := byPhase[group][kind]
			if phase || ofOperators[gk] != nil || rules[gk] != nil || statusless[gk] {
				t.Errorf("%s has two rules", gk)
			}
		}
	}
}
