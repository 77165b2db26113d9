package object

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// yield takes out of a manifest what the control plane, or a controller of the field, owns by
// definition: applying it would fight that owner for ever, or break what it has put there. Manifests
// have such fields because they were exported from a cluster, or as placeholders.
func yield(id ID, m map[string]any) {
	meta := m["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	drop := func(keys ...string) {
		if !slices.ContainsFunc(keys, func(k string) bool { _, has := annotations[k]; return has }) {
			return
		}
		annotations = maps.Clone(annotations)
		for _, k := range keys {
			delete(annotations, k)
		}
		if meta["annotations"] = annotations; len(annotations) == 0 {
			delete(meta, "annotations")
		}
	}
	drop("kubectl.kubernetes.io/last-applied-configuration")
	spec := field(m, "spec")
	switch id.Group + "/" + id.Kind {
	case "rbac.authorization.k8s.io/ClusterRole":
		if m["aggregationRule"] != nil {
			delete(m, "rules") // of the aggregation controller
		}
	case "admissionregistration.k8s.io/ValidatingWebhookConfiguration", "admissionregistration.k8s.io/MutatingWebhookConfiguration":
		webhooks, _ := m["webhooks"].([]any)
		for _, w := range webhooks {
			w, _ := w.(map[string]any)
			yieldCABundle(annotations, field(w, "clientConfig"))
		}
	case "apiextensions.k8s.io/CustomResourceDefinition":
		yieldCABundle(annotations, field(spec, "conversion", "webhook", "clientConfig"))
	case "apiregistration.k8s.io/APIService":
		yieldCABundle(annotations, spec)
	case "apps/Deployment":
		drop("deployment.kubernetes.io/revision")
	case "apps/ReplicaSet":
		drop("deployment.kubernetes.io/revision", "deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas", "deployment.kubernetes.io/revision-history")
	case "apps/DaemonSet":
		drop("deprecated.daemonset.template.generation")
	case "autoscaling/HorizontalPodAutoscaler":
		drop("autoscaling.alpha.kubernetes.io/conditions", "autoscaling.alpha.kubernetes.io/current-metrics")
	case "/Namespace":
		delete(spec, "finalizers")
	case "/PersistentVolumeClaim":
		// A claim that says that it is bound, and whose volume is not there, is lost.
		drop("pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller", "volume.kubernetes.io/selected-node",
			"volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
	case "/PersistentVolume":
		drop("pv.kubernetes.io/bound-by-controller")
		claim := field(spec, "claimRef")
		delete(claim, "uid")
		delete(claim, "resourceVersion")
	case "/Secret":
		if m["type"] == "kubernetes.io/service-account-token" {
			delete(m, "data") // of the token controller, which fills the Secret
			delete(m, "stringData")
		}
	case "/ConfigMap":
		if id.Name == "kube-root-ca.crt" {
			delete(m, "data") // of the publisher of the cluster's certificates
		}
	case "coordination.k8s.io/Lease":
		for _, f := range []string{"holderIdentity", "acquireTime", "renewTime", "leaseTransitions"} {
			delete(spec, f) // of whoever holds it
		}
	}
}

// injectors are annotations that ask a controller to put a certificate into caBundle.
var injectors = []string{
	"cert-manager.io/inject-ca-from", "cert-manager.io/inject-ca-from-secret", "cert-manager.io/inject-apiserver-ca",
	"service.beta.openshift.io/inject-cabundle",
}

// yieldCABundle drops a caBundle that a controller injects: where an annotation says so, or where what
// stands there is a placeholder and no certificate.
func yieldCABundle(annotations, config map[string]any) {
	text, isText := config["caBundle"].(string)
	if config["caBundle"] == nil {
		return
	}
	injected := slices.ContainsFunc(injectors, func(key string) bool { return annotations[key] != nil && annotations[key] != "" })
	plain, err := base64.StdEncoding.DecodeString(text)
	placeholder := isText && err == nil && !bytes.Contains(plain, []byte("-----BEGIN"))
	if injected || placeholder {
		delete(config, "caBundle")
	}
}

// Autoscaled names the workloads whose number of replicas an autoscaler of the same objects sets, with
// that autoscaler.
func Autoscaled(objects []Object) map[ID]ID {
	var out map[ID]ID
	for _, o := range objects {
		hpa := o.Group == "autoscaling" && o.Kind == "HorizontalPodAutoscaler"
		if !hpa && (o.Group != "keda.sh" || o.Kind != "ScaledObject") {
			continue
		}
		var a struct {
			Spec struct {
				ScaleTargetRef struct{ APIVersion, Kind, Name string }
			}
		}
		if json.Unmarshal(o.Body, &a) != nil {
			continue
		}
		ref := a.Spec.ScaleTargetRef
		if !hpa && ref.Kind == "" {
			ref.APIVersion, ref.Kind = "apps/v1", "Deployment" // KEDA's default
		}
		group, _, ok := strings.Cut(ref.APIVersion, "/")
		if !ok {
			group = ""
		}
		if out == nil {
			out = map[ID]ID{}
		}
		out[ID{Group: group, Kind: ref.Kind, Namespace: o.Namespace, Name: ref.Name}] = o.ID
	}
	return out
}

// WithoutReplicas returns the objects without spec.replicas where an autoscaler of the same objects
// sets it, and names these: Git and the autoscaler would scale against each other. A workload that is
// to have none keeps its zero, with which an autoscaler does nothing.
func WithoutReplicas(objects []Object) ([]Object, map[ID]ID) {
	scaled := Autoscaled(objects)
	if len(scaled) == 0 {
		return objects, nil
	}
	var out []Object
	dropped := map[ID]ID{}
	for i, o := range objects {
		by, ok := scaled[o.ID]
		if !ok {
			continue
		}
		decoder := json.NewDecoder(bytes.NewReader(o.Body))
		decoder.UseNumber()
		var m map[string]any
		if decoder.Decode(&m) != nil {
			continue
		}
		spec := field(m, "spec")
		if n, has := spec["replicas"]; !has || n == json.Number("0") {
			continue
		}
		delete(spec, "replicas")
		body, err := appendJSON(nil, m)
		if err != nil {
			continue
		}
		if out == nil {
			out = slices.Clone(objects)
		}
		out[i].Body, out[i].Digest = body, digest(body)
		dropped[o.ID] = by
	}
	if out == nil {
		return objects, nil
	}
	return out, dropped
}
