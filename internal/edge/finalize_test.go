package edge

import (
	"errors"
	"net/http"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// leftBehind is a stub with what two Clusters of a hub have left on one cluster, and the account of the hub.
func leftBehind(t *testing.T) (*stub, *Client) {
	t.Helper()
	st, c := newStub(t)
	other := testHolder
	other.Cluster = "fleet/other"
	for owner, h := range map[string]Holder{"apps.1": testHolder, "web.1": other} {
		s := storeOf(c, h)
		load(t, s)
		if err := s.Save(t.Context(), inventoryOf(owner, 40)); err != nil {
			t.Fatal(err)
		}
	}
	st.edit("somebody-elses", func(u *unstructured.Unstructured) { u.SetLabels(map[string]string{v1alpha1.PartLabel: "other"}) })
	binding := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"}}
	binding.SetName(AccountBinding)
	binding.SetLabels(map[string]string{PartLabel: PartAccount})
	st.mu.Lock()
	st.store(bindings+"/"+AccountBinding, binding)
	st.mu.Unlock()
	st.takeLog()
	return st, c
}

func ofCluster(names ...string) func(owner, cluster string) bool {
	return func(_, cluster string) bool { return slices.Contains(names, cluster) }
}

// owners returns whose inventories are there, and whether the claim and the account are.
func (s *stub) left() (owners []string, claim, account bool) {
	for _, name := range s.names() {
		if owner, ok := inventoryOwner(name); ok && !slices.Contains(owners, owner) {
			owners = append(owners, owner)
		}
		claim = claim || name == v1alpha1.ClaimName
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return owners, claim, s.objects[bindings+"/"+AccountBinding] != nil
}

// Two Clusters of one hub that share a cluster may have one account: it stays as long as something of the other does.
func TestASharedClusterKeepsTheAccountOfTheOtherCluster(t *testing.T) {
	st, c := leftBehind(t)
	shared := testHolder
	shared.Shared = true
	s := storeOf(c, shared)
	if err := s.Finalize(t.Context(), FinalizeOptions{Own: ofCluster("fleet/shop"), Revoke: true}); err != nil {
		t.Fatal(err)
	}
	if owners, _, account := st.left(); !slices.Equal(owners, []string{"web.1"}) || !account {
		t.Errorf("left: %v, the account: %v", owners, account)
	}
}

func TestFinalizeTakesAwayWhatIsTheClusters(t *testing.T) {
	for name, tt := range map[string]struct {
		what           FinalizeOptions
		prepare        func(*stub)
		owners         []string
		claim, account bool
		err            string
	}{
		"of two Clusters one":          {what: FinalizeOptions{Own: ofCluster("fleet/shop"), Revoke: true}, owners: []string{"web.1"}, claim: true},
		"of both":                      {what: FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other"), Revoke: true}},
		"the claim is to stay":         {what: FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other"), KeepClaim: true, Revoke: true}, claim: true},
		"the account is not the hub's": {what: FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other")}, account: true},
		"there is no account":          {what: FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other"), Revoke: true}, prepare: func(s *stub) { delete(s.objects, bindings+"/"+AccountBinding) }},
		"an account that people made":  {what: FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other"), Revoke: true}, prepare: func(s *stub) { s.objects[bindings+"/"+AccountBinding].SetLabels(nil) }, account: true},
		"another hub has it by now": {what: FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other"), Revoke: true}, prepare: func(s *stub) {
			s.objects[configMaps+"/"+v1alpha1.ClaimName].SetAnnotations(map[string]string{hubAnnotation: "x"})
		}, err: `managed by hub "x"`, account: true, claim: true},
		"there is nothing of it": {what: FinalizeOptions{Own: ofCluster("fleet/none"), KeepClaim: true}, owners: []string{"apps.1", "web.1"}, claim: true, account: true},
		"inventories of an earlier hub": {what: FinalizeOptions{Own: func(string, string) bool { return true }}, prepare: func(s *stub) {
			for _, u := range s.objects {
				if strings.HasPrefix(u.GetName(), v1alpha1.InventoryPrefix+"web.1") {
					u.SetAnnotations(map[string]string{hubAnnotation: "x"})
				}
			}
		}, owners: []string{"web.1"}, account: true},
	} {
		t.Run(name, func(t *testing.T) {
			st, c := leftBehind(t)
			if tt.prepare != nil {
				st.mu.Lock()
				tt.prepare(st)
				st.mu.Unlock()
			}
			err := NewInventories(c, testHolder).Finalize(t.Context(), tt.what)
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatal(err)
			}
			owners, claim, account := st.left()
			if tt.err == "" {
				if diff := cmp.Diff(tt.owners, owners); diff != "" {
					t.Errorf("inventories:\n%s", diff)
				}
			}
			if claim != tt.claim || account != tt.account {
				t.Errorf("the claim is there: %v, the account: %v", claim, account)
			}
			if !slices.Contains(st.names(), "somebody-elses") {
				t.Error("what is not Skerry's was deleted")
			}
			if log := st.takeLog(); tt.what.Revoke && !tt.account && tt.prepare == nil && path.Base(log[len(log)-1]) != AccountBinding {
				t.Errorf("the account, without which nothing else can be done, is not the last: %v", log)
			}
		})
	}
}

// TestFinalizeGoesOnWhereItWasEnded ends the process at each write.
func TestFinalizeGoesOnWhereItWasEnded(t *testing.T) {
	what := FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other"), Revoke: true}
	for stop := 0; ; stop++ {
		st, c := leftBehind(t)
		n := 0
		st.setBefore(func(method, _ string) *apierrors.StatusError {
			if method != http.MethodGet {
				if n++; n > stop {
					return apierrors.NewInternalError(errors.New("the process has died"))
				}
			}
			return nil
		})
		err := NewInventories(c, testHolder).Finalize(t.Context(), what)
		if owners, claim, account := st.left(); !claim && len(owners) > 0 || !account && claim {
			t.Fatalf("ended after %d writes: the claim or the account went before %v", stop, owners)
		}
		st.setBefore(nil)
		if err := NewInventories(c, testHolder).Finalize(t.Context(), what); err != nil {
			t.Fatalf("ended after %d writes: %v", stop, err)
		}
		if owners, claim, account := st.left(); owners != nil || claim || account {
			t.Errorf("ended after %d writes: %v, %v, %v are left", stop, owners, claim, account)
		}
		if err == nil {
			return
		}
	}
}

// TestFinalizeWithoutTheRightToRevoke leaves an account that the credentials may not see or delete.
func TestFinalizeWithoutTheRightToRevoke(t *testing.T) {
	for _, forbidden := range []string{http.MethodGet, http.MethodDelete} {
		st, c := leftBehind(t)
		st.setBefore(func(method, at string) *apierrors.StatusError {
			if method == forbidden && strings.HasPrefix(at, bindings) {
				return apierrors.NewForbidden(schema.GroupResource{Resource: "clusterrolebindings"}, AccountBinding, errors.New("no"))
			}
			return nil
		})
		if err := NewInventories(c, testHolder).Finalize(t.Context(), FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other"), Revoke: true}); err != nil {
			t.Errorf("%s: %v", forbidden, err)
		}
		if owners, claim, account := st.left(); owners != nil || claim || !account {
			t.Errorf("%s: %v, %v, %v are left", forbidden, owners, claim, account)
		}
	}
}

// TestFinalizeDoesNotDeleteWhatWasMadeAnew has an inventory replaced between the list and its deletion.
func TestFinalizeDoesNotDeleteWhatWasMadeAnew(t *testing.T) {
	st, c := leftBehind(t)
	name := ""
	st.setBefore(func(method, at string) *apierrors.StatusError {
		if method == http.MethodDelete && name == "" {
			name = path.Base(at)
			st.drop(name)
			st.edit(name, func(*unstructured.Unstructured) {})
		}
		return nil
	})
	err := NewInventories(c, testHolder).Finalize(t.Context(), FinalizeOptions{Own: ofCluster("fleet/shop", "fleet/other")})
	if err == nil || !slices.Contains(st.names(), name) {
		t.Errorf("%s: %v", name, err)
	}
}

// Of two Clusters of a hub one shares the cluster and the other does not, as while one of them is about to be refused.
// The removal of either leaves the claim of the other, and the account.
func TestARemovalLeavesTheClaimOfTheOtherForm(t *testing.T) {
	shared := testHolder
	shared.Shared, shared.Cluster = true, "fleet/other"
	for _, removed := range []Holder{testHolder, shared} {
		st, c := newStub(t)
		binding := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"}}
		binding.SetName(AccountBinding)
		binding.SetLabels(map[string]string{PartLabel: PartAccount})
		st.mu.Lock()
		st.store(bindings+"/"+AccountBinding, binding)
		for _, h := range []Holder{testHolder, shared} {
			cm := (&claim{name: h.claimName(), hub: h.Hub, instance: h.Instance, cluster: h.Cluster}).configMap()
			raw, err := runtime.DefaultUnstructuredConverter.ToUnstructured(cm)
			if err != nil {
				t.Fatal(err)
			}
			st.store(configMaps+"/"+cm.Name, &unstructured.Unstructured{Object: raw})
		}
		st.mu.Unlock()
		err := NewInventories(c, removed).Finalize(t.Context(), FinalizeOptions{Own: ofCluster(removed.Cluster), Revoke: true})
		if err != nil {
			t.Fatal(err)
		}
		_, _, account := st.left()
		kept := []string{testHolder.claimName()}
		if removed.Cluster == testHolder.Cluster {
			kept = []string{shared.claimName()}
		}
		if got := st.names(); !slices.Equal(got, kept) || !account {
			t.Errorf("shared %v: claims %v, want %v; the account is there: %v", removed.Shared, got, kept, account)
		}
	}
}
