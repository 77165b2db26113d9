package v1alpha1

import "testing"

func TestDeletionPolicyMirrorsPruneUnlessItIsSet(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		policy DeletionPolicy
		prune  *bool
		want   DeletionPolicy
	}{
		{"", nil, DeletionDelete}, {"", &yes, DeletionDelete}, {"", &no, DeletionOrphan},
		{DeletionMirrorPrune, nil, DeletionDelete}, {DeletionMirrorPrune, &yes, DeletionDelete}, {DeletionMirrorPrune, &no, DeletionOrphan},
		{DeletionDelete, &no, DeletionDelete}, {DeletionWaitForTermination, &no, DeletionDelete}, {DeletionOrphan, &yes, DeletionOrphan},
	} {
		ks := Kustomization{Spec: KustomizationSpec{DeletionPolicy: tt.policy, Prune: tt.prune}}
		if got := ks.GetDeletionPolicy(); got != tt.want {
			t.Errorf("%q with prune %v: %s, want %s", tt.policy, tt.prune, got, tt.want)
		}
	}
}
