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
		// A claim with phase Bound whose volume is not there is lost.
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
			delete(spec, f) // of the manager that holds it
		}
	}
}

// injectors are annotations that ask a controller to put a certificate into caBundle.
var injectors = []string{
	"cert-manager.io/inject-ca-from", "cert-manager.io/inject-ca-from-secret", "cert-manager.io/inject-apiserver-ca",
	"service.beta.openshift.io/inject-cabundle",
}

// InjectedField is the last part of the path of a field that WithoutInjected leaves out.
const InjectedField = ".caBundle"

// WithoutInjected returns an object without the certificates that a controller injects, and whether it
// had any: where an annotation asks for it, or where a placeholder stands that is no certificate. It is
// for an object whose injector has done its work: applying the placeholder would undo it.
func WithoutInjected(o Object) (Object, bool) {
	if !bytes.Contains(o.Body, []byte(`"caBundle":`)) {
		return o, false
	}
	m, ok := decodeBody(o.Body)
	if !ok {
		return o, false
	}
	annotations, spec := field(m, "metadata", "annotations"), field(m, "spec")
	dropped := false
	switch o.Group + "/" + o.Kind {
	case "admissionregistration.k8s.io/ValidatingWebhookConfiguration", "admissionregistration.k8s.io/MutatingWebhookConfiguration":
		webhooks, _ := m["webhooks"].([]any)
		for _, w := range webhooks {
			w, _ := w.(map[string]any)
			dropped = dropCABundle(annotations, field(w, "clientConfig")) || dropped
		}
	case "apiextensions.k8s.io/CustomResourceDefinition":
		dropped = dropCABundle(annotations, field(spec, "conversion", "webhook", "clientConfig"))
	case "apiregistration.k8s.io/APIService":
		dropped = dropCABundle(annotations, spec)
	}
	if !dropped {
		return o, false
	}
	body, err := canonical(m)
	if err != nil {
		return o, false
	}
	o.Body = body
	o.setDigest(digest(body))
	return o, true
}

func dropCABundle(annotations, config map[string]any) bool {
	text, isText := config["caBundle"].(string)
	if !isText {
		return false
	}
	injected := slices.ContainsFunc(injectors, func(key string) bool { return annotations[key] != nil && annotations[key] != "" })
	plain, err := base64.StdEncoding.DecodeString(text)
	if placeholder := err == nil && !bytes.Contains(plain, []byte("-----BEGIN")); !injected && !placeholder {
		return false
	}
	delete(config, "caBundle")
	return true
}

// decodeBody decodes a canonical body so that it can be encoded again.
func decodeBody(body []byte) (map[string]any, bool) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var m map[string]any
	return m, decoder.Decode(&m) == nil
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
		m, ok := decodeBody(o.Body)
		if !ok {
			continue
		}
		spec := field(m, "spec")
		if n, has := spec["replicas"]; !has || n == json.Number("0") {
			continue
		}
		delete(spec, "replicas")
		body, err := canonical(m)
		if err != nil {
			continue
		}
		if out == nil {
			out = slices.Clone(objects)
		}
		out[i].Body = body
		out[i].setDigest(digest(body))
		dropped[o.ID] = by
	}
	if out == nil {
		return objects, nil
	}
	return out, dropped
}
