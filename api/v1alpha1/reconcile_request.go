package v1alpha1

import (
	"cmp"
	"encoding/json"
)

// ReconcileRequest returns what asks an object for a reconciliation now: the value of ReconcileRequestAnnotation, or of
// FluxReconcileRequestAnnotation, or both with a comma between them where the object has both, so that a new value
// of either is a new request; "" when nothing was asked for.
func ReconcileRequest(annotations map[string]string) string {
	ours, flux := annotations[ReconcileRequestAnnotation], annotations[FluxReconcileRequestAnnotation]
	if ours != "" && flux != "" {
		return ours + "," + flux
	}
	return cmp.Or(ours, flux)
}

// ReconcileRequestPatch returns the JSON merge patch that asks for a reconciliation by a value that was not there
// before. It takes Flux's annotation off, so that the value that was handled is this one alone.
func ReconcileRequestPatch(value string) []byte {
	return requestPatch(map[string]any{ReconcileRequestAnnotation: value})
}

// ReconcileOncePatch is ReconcileRequestPatch for a request that holds while a Kustomization is suspended.
func ReconcileOncePatch(value string) []byte {
	return requestPatch(map[string]any{ReconcileRequestAnnotation: value, ReconcileOnceAnnotation: value})
}

func requestPatch(annotations map[string]any) []byte {
	annotations[FluxReconcileRequestAnnotation] = nil
	body, _ := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}}) // strings always encode
	return body
}
