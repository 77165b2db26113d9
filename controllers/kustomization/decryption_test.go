package kustomization

import (
	"errors"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/render"
)

// encrypted is a manifest of the form that SOPS writes; keysOf opens it for those who have the key "right".
const encrypted = `apiVersion: v1
kind: Secret
metadata: {name: db, namespace: shop}
stringData: {password: "ENC[AES256_GCM,data:xxx,iv:x,tag:x,type:str]"}
sops: {mac: "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]", lastmodified: "2026-01-01T00:00:00Z"}
`

const decrypted = "apiVersion: v1\nkind: Secret\nmetadata: {name: db, namespace: shop}\nstringData: {password: hunter2}\n"

var errDamaged = errors.New("key a.agekey of the Secret keys is damaged")

// keysOf stands for internal/decrypt. The key "down" is one of a service that does not answer.
func keysOf(_ string, data map[string]string, id string, shared bool) (*render.Decryption, error) {
	if data["key"] == "damaged" {
		return nil, errDamaged
	}
	return &render.Decryption{Keys: id, Open: func([]byte, render.Format, render.Format) ([]byte, *render.Error) {
		if data["key"] == "right" || shared && data["key"] == "shared" {
			return []byte(decrypted), nil
		}
		return nil, render.Decrypting("is encrypted for age1x, of which the Secret has no key", data["key"] == "down")
	}}, nil
}

func decrypting(secret string) func(*v1alpha1.Kustomization) {
	return func(ks *v1alpha1.Kustomization) {
		ks.Spec.Decryption = &v1alpha1.Decryption{Provider: "sops"}
		if secret != "" {
			ks.Spec.Decryption.SecretRef = &meta.LocalObjectReference{Name: secret}
		}
	}
}

func keySecret(namespace, name, value string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{"key": []byte(value)}}
}

var hubKeys = types.NamespacedName{Namespace: "hub-system", Name: "hub-keys"}

func TestDecryptionIsAsTheKustomizationSays(t *testing.T) {
	for name, c := range map[string]struct {
		ks      func(*v1alpha1.Kustomization)
		secrets []client.Object
		hub     types.NamespacedName
		want    string // of Ready; "" when it is rendered
	}{
		"with the key":            {ks: decrypting("keys"), secrets: []client.Object{keySecret(key.Namespace, "keys", "right")}},
		"with another key":        {ks: decrypting("keys"), secrets: []client.Object{keySecret(key.Namespace, "keys", "wrong")}, want: "apps/secret.yaml: is encrypted for age1x"},
		"without a Secret":        {ks: decrypting("keys"), want: "there is no Secret keys, which spec.decryption.secretRef names"},
		"with a damaged Secret":   {ks: decrypting("keys"), secrets: []client.Object{keySecret(key.Namespace, "keys", "damaged")}, want: errDamaged.Error()},
		"not asked for":           {ks: func(*v1alpha1.Kustomization) {}, want: "apps/secret.yaml: is encrypted with SOPS, and spec.decryption is not set"},
		"the hub's":               {ks: decrypting(""), secrets: []client.Object{keySecret(hubKeys.Namespace, hubKeys.Name, "shared")}, hub: hubKeys},
		"the hub has none":        {ks: decrypting(""), want: "the hub has none of its own (--decryption-secret)"},
		"the hub's is not there":  {ks: decrypting(""), hub: hubKeys, want: "there is no Secret hub-keys in the hub's namespace"},
		"one of its own is taken": {ks: decrypting("keys"), secrets: []client.Object{keySecret(key.Namespace, "keys", "right"), keySecret(hubKeys.Namespace, hubKeys.Name, "wrong")}, hub: hubKeys},
		"of another namespace":    {ks: decrypting("keys"), secrets: []client.Object{keySecret("other", "keys", "right")}, want: "there is no Secret keys"},
		"with a ServiceAccount": {ks: func(ks *v1alpha1.Kustomization) {
			decrypting("keys")(ks)
			ks.Spec.Decryption.ServiceAccountName = "kms"
		}, secrets: []client.Object{keySecret(key.Namespace, "keys", "right")}, want: "serviceAccountName is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, append(c.secrets, kustomization(allAtOnce, c.ks), cluster("edge-1"))...)
			w.r.Decryption = Decryption{Keys: keysOf, Secret: c.hub}
			w.push("1", "apps/secret.yaml", encrypted)
			w.reconcile()
			switch got := w.ready(); {
			case c.want == "" && w.revisions() != "edge-1=1":
				t.Errorf("not rendered: %s", got)
			case c.want == "" && !strings.Contains(w.bundle("edge-1"), "aHVudGVyMg=="):
				t.Errorf("rendered as %s", w.bundle("edge-1"))
			case c.want != "" && (!strings.Contains(got, v1alpha1.DecryptionFailedReason) || !strings.Contains(got, c.want)):
				t.Errorf("Ready is %s; want %s", got, c.want)
			case c.want != "" && w.revisions() != "":
				t.Errorf("something is assigned: %s", w.revisions())
			}
		})
	}
}

// TestRotatedKeyDecryptsAnew: another key that does not open the files leaves every cluster as it is; one that
// does is the same bundle.
func TestRotatedKeyDecryptsAnew(t *testing.T) {
	secret := keySecret(key.Namespace, "keys", "right")
	w := newWorld(t, secret, kustomization(allAtOnce, decrypting("keys")), cluster("edge-1"))
	w.r.Decryption = Decryption{Keys: keysOf}
	w.push("1", "apps/secret.yaml", encrypted)
	w.reconcile()
	digest := w.entry("edge-1").Digest
	rotate := func(value string) {
		secret.Data["key"] = []byte(value)
		if err := w.client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
	}
	rotate("wrong")
	w.reconcile()
	if got := w.ready(); !strings.Contains(got, v1alpha1.DecryptionFailedReason) || w.entry("edge-1").Digest != digest {
		t.Errorf("with a wrong key: %s, digest %s", got, w.entry("edge-1").Digest)
	}
	rotate("down")
	if _, err := w.try(); err == nil || !strings.Contains(w.ready(), v1alpha1.DecryptionFailedReason) {
		t.Errorf("a service that does not answer: error %v, Ready %s; want another try", err, w.ready())
	}
	rotate("right")
	w.reconcile()
	if got := w.ready(); strings.Contains(got, v1alpha1.DecryptionFailedReason) || w.entry("edge-1").Digest != digest {
		t.Errorf("with the right key again: %s, digest %s, was %s", got, w.entry("edge-1").Digest, digest)
	}
}

// TestKeySecretWakesThoseThatDecryptWithIt.
func TestKeySecretWakesThoseThatDecryptWithIt(t *testing.T) {
	w := newWorld(t, kustomization(decrypting("keys")),
		kustomization(decrypting(""), func(ks *v1alpha1.Kustomization) { ks.Name = "shared" }),
		kustomization(func(ks *v1alpha1.Kustomization) { ks.Name = "plain" }))
	w.r.Decryption = Decryption{Keys: keysOf, Secret: hubKeys}
	for object, want := range map[types.NamespacedName]string{
		{Namespace: key.Namespace, Name: "keys"}:  key.Name,
		{Namespace: "other", Name: "keys"}:        "",
		hubKeys:                                   "shared",
		{Namespace: key.Namespace, Name: "other"}: "",
	} {
		meta := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: object.Namespace, Name: object.Name}}
		queue := &recordedQueue{}
		w.r.variableHandler("Secret").Create(t.Context(), event.CreateEvent{Object: meta}, queue)
		if got := strings.Join(queue.names, " "); got != want {
			t.Errorf("%s wakes %q, want %q", object, got, want)
		}
	}
}

// recordedQueue keeps the names of what is added.
type recordedQueue struct {
	work
	names []string
}

func (q *recordedQueue) Add(r reconcile.Request) { q.names = append(q.names, r.Name) }
