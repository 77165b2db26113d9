package v1alpha1

import "testing"

func TestReconcileRequestIsNewWithEitherAnnotation(t *testing.T) {
	for _, tt := range []struct{ ours, flux, want string }{
		{"", "", ""},
		{"1", "", "1"},
		{"", "2", "2"},
		{"1", "2", "1,2"},
		{"1", "3", "1,3"},
		{"4", "3", "4,3"},
	} {
		annotations := map[string]string{"other": "x"}
		if tt.ours != "" {
			annotations[ReconcileRequestAnnotation] = tt.ours
		}
		if tt.flux != "" {
			annotations[FluxReconcileRequestAnnotation] = tt.flux
		}
		if got := ReconcileRequest(annotations); got != tt.want {
			t.Errorf("%q and %q: %q, want %q", tt.ours, tt.flux, got, tt.want)
		}
	}
	if got := ReconcileRequest(nil); got != "" {
		t.Errorf("without annotations: %q", got)
	}
}

func TestReconcileRequestPatchTakesFluxAnnotationOff(t *testing.T) {
	want := `{"metadata":{"annotations":{"reconcile.fluxcd.io/requestedAt":null,"skerry.dev/reconcile-requested-at":"now"}}}`
	if got := string(ReconcileRequestPatch("now")); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
