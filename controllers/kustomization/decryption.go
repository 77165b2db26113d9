package kustomization

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
)

// Decryption is how encrypted files are opened.
type Decryption struct {
	// Keys reads the data of a Secret of that name. id names it and its version. shared means that it is the
	// hub's own, which every namespace may use.
	Keys func(secret string, data map[string]string, id string, shared bool) (*render.Decryption, error)
	// Secret is used where a Kustomization asks for decryption and names none; empty where there is none.
	Secret types.NamespacedName
}

// observeDecryption reads the keys that the Kustomization decrypts with. What is wrong with them is o.missing:
// nothing is rendered until it is right.
func (r *Reconciler) observeDecryption(ctx context.Context, o *observed) error {
	spec := o.ks.Spec.Decryption
	if spec == nil || o.missing != nil {
		return nil //nolint:nilerr // o carries it: it is one to be reported
	}
	ref, shared := r.keySecret(o.ks)
	switch {
	case spec.ServiceAccountName != "":
		o.missing = decryptionFailed(errors.New("spec.decryption.serviceAccountName is not supported: put credentials of the key service into the Secret that secretRef names"))
		return nil
	case ref.name.Name == "":
		o.missing = decryptionFailed(errors.New("spec.decryption names no Secret with keys, and the hub has none of its own (--decryption-secret): set secretRef"))
		return nil
	}
	found, err := r.content(ctx, o, ref)
	switch {
	case err != nil:
		return err
	case found == nil:
		o.missing = &report.Waiting{Reason: v1alpha1.DecryptionFailedReason, Err: fmt.Errorf("there is no Secret %s, which spec.decryption.secretRef names", ref.name.Name)}
		if shared {
			o.missing = &report.Waiting{Reason: v1alpha1.DecryptionFailedReason, Err: fmt.Errorf("there is no Secret %s in the hub's namespace, which --decryption-secret names", ref.name.Name)}
		}
		return nil
	}
	o.decryption, err = r.Decryption.Keys(ref.name.Name, found.Data, ref.name.String()+"@"+found.version, shared)
	if err != nil {
		o.missing = decryptionFailed(err)
	}
	return nil
}

func decryptionFailed(err error) error {
	if _, transient := errors.AsType[*report.Transient](err); transient {
		return err
	}
	return &report.Stalled{Reason: v1alpha1.DecryptionFailedReason, Err: err}
}

// keySecret names the Secret whose keys a Kustomization decrypts with, and reports whether it is the hub's. The
// name is empty where there is none.
func (r *Reconciler) keySecret(ks *v1alpha1.Kustomization) (ref reference, shared bool) {
	switch spec := ks.Spec.Decryption; {
	case spec == nil:
		return reference{}, false
	case spec.SecretRef != nil && spec.SecretRef.Name != "":
		return reference{"Secret", types.NamespacedName{Namespace: ks.Namespace, Name: spec.SecretRef.Name}}, false
	}
	return reference{"Secret", r.Decryption.Secret}, true
}

// keyNames indexes a Kustomization by the Secret of its own namespace that it decrypts with.
func keyNames(ks *v1alpha1.Kustomization) []string {
	if d := ks.Spec.Decryption; d != nil && d.SecretRef != nil {
		return []string{"Secret/" + d.SecretRef.Name}
	}
	return nil
}

// withSharedKeys returns the Kustomizations, of any namespace, that decrypt with the hub's own keys when an
// object is the Secret that holds them.
func (r *Reconciler) withSharedKeys(ctx context.Context, kind string, object types.NamespacedName) []v1alpha1.Kustomization {
	if kind != "Secret" || object != r.Decryption.Secret {
		return nil
	}
	var found []v1alpha1.Kustomization
	for _, ks := range r.kustomizations(ctx) {
		if _, shared := r.keySecret(&ks); shared {
			found = append(found, ks)
		}
	}
	return found
}
