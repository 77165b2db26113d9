package engine

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// tenant makes a namespace with a ServiceAccount that may do in it what an administrator of it may.
func tenant(t *testing.T, kube kubernetes.Interface, namespace string) {
	t.Helper()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	meta := metav1.ObjectMeta{Name: "tenant", Namespace: namespace}
	must(kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}))
	must(kube.CoreV1().ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{}))
	must(kube.RbacV1().Roles(namespace).Create(t.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{{
		APIGroups: []string{"", "apps"}, Resources: []string{"configmaps", "deployments"}, Verbs: []string{"*"},
	}}}, metav1.CreateOptions{}))
	must(kube.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "tenant", Namespace: namespace}},
	}, metav1.CreateOptions{}))
}

func byAccount(account string) func(*v1alpha1.AssignmentEntry) {
	return func(e *v1alpha1.AssignmentEntry) { e.ServiceAccountName = account }
}

// TestEverythingIsAskedInTheNameOfTheAccount takes a Kustomization with a ServiceAccount through its whole life and
// reads from the API server's audit log who asked for what.
func TestEverythingIsAskedInTheNameOfTheAccount(t *testing.T) {
	c := controlplane.New(t, "audited", controlplane.Options{AuditLog: true})
	began := time.Now()
	r := newRig(t, testHub, c.RESTConfig(), func(r *rig) { r.options = func(o *PoolOptions) { o.UserAgent = "engine-under-test" } })
	tenant(t, r.kube, r.key.Namespace)

	r.want("apps", r.configMap("a", "1")+r.configMap("b", "1"), byAccount("tenant"))
	r.ready("apps")
	_, err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Update(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: r.key.Namespace, Labels: map[string]string{"drifted": "yes"}}, Data: map[string]string{"key": "other"}}, metav1.UpdateOptions{})
	if err == nil {
		r.eventually("drift is put back", func() bool { return r.value("a") == "1" })
	}
	if err := r.kube.CoreV1().ConfigMaps(r.key.Namespace).Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("what was deleted is back", func() bool { return r.value("a") == "1" })
	r.want("apps", r.configMap("a", "2"), byAccount("tenant"))
	r.ready("apps")
	r.eventually("what left Git is deleted", func() bool { return r.value("b") == "error: NotFound" })
	r.pool.Verify(r.key)
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.RequestedAt = "now" })
	r.until("apps", "verified", func(s v1alpha1.AssignmentEntryStatus) bool { return s.HandledAt == "now" })
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete })
	r.until("apps", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })

	requests, err := c.Requests(began)
	if err != nil {
		t.Fatal(err)
	}
	account, seen := "system:serviceaccount:"+r.key.Namespace+":tenant", map[string]int{}
	for _, q := range requests {
		if q.UserAgent != "engine-under-test" || ofTheHub(q) {
			continue
		}
		if q.As != account {
			t.Errorf("as %q: %s %s", q.As, q.Verb, q.URI)
		}
		if q.Namespace != r.key.Namespace && q.Resource != "selfsubjectreviews" {
			t.Errorf("outside of its namespace: %s %s", q.Verb, q.URI)
		}
		seen[q.Verb]++
	}
	for _, verb := range []string{"patch", "watch", "delete"} {
		if seen[verb] == 0 {
			t.Errorf("no %s among %v", verb, seen)
		}
	}
}

// ofTheHub reports whether a request is the hub's own, whichever account the Kustomization is applied for: which cluster it is,
// which kinds it has, whether an account is there, and what the hub records.
func ofTheHub(q controlplane.Request) bool {
	switch {
	case q.Resource == "": // discovery, version
		return true
	case q.Resource == "serviceaccounts" && q.Verb == "get", q.Resource == "namespaces" && q.Name == "kube-system":
		return true
	case q.Namespace == v1alpha1.SystemNamespace && q.Resource == "configmaps", q.Resource == "namespaces" && q.Verb == "create":
		return true
	}
	return false
}

// TestAnAccountReachesWhatItsRightsReach assigns what the account may not have. Nothing of it is written, its own
// objects are, and what was refused leaves nothing behind.
func TestAnAccountReachesWhatItsRightsReach(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	tenant(t, r.kube, r.key.Namespace)
	other := r.key.Namespace + "-other"
	tenant(t, r.kube, other)
	r.want("apps", r.configMap("fine", "1"), byAccount("tenant"))
	r.ready("apps")
	for what, manifest := range map[string]string{
		"another namespace":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: " + other + "}\n",
		"a kind without a right": "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: " + r.key.Namespace + "}\n",
		"a ClusterRoleBinding":   "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: " + other + "}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: ServiceAccount, name: tenant, namespace: " + other + "}]\n",
		"a Namespace":            "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + other + "-2}\n",
	} {
		r.writes()
		r.want("apps", r.configMap("fine", what)+"\n---\n"+manifest, byAccount("tenant"))
		if got := r.failed("apps", v1alpha1.ForbiddenReason); !strings.Contains(got.Message, "ServiceAccount "+r.key.Namespace+"/tenant may not") {
			t.Errorf("%s: %+v", what, got)
		}
		if got := r.value("fine"); got != what {
			t.Errorf("%s: its own object has %s", what, got)
		}
		for _, w := range r.writes() {
			if !strings.HasSuffix(w, "/configmaps/fine") && !strings.Contains(w, "/"+v1alpha1.SystemNamespace+"/") {
				t.Errorf("%s: %s", what, w)
			}
		}
		r.want("apps", r.configMap("fine", "after "+what), byAccount("tenant"))
		r.ready("apps")
	}
}

// TestWhatAnAccountMayNotHaveIsNotKeptForIt names another's objects in the bundles of tenants: that one's prune deletes
// them all the same.
func TestWhatAnAccountMayNotHaveIsNotKeptForIt(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	evil := r.key.Namespace + "-evil"
	tenant(t, r.kube, r.key.Namespace)
	tenant(t, r.kube, evil)
	r.want("apps", r.configMap("a", "1")+r.configMap("b", "1")+r.configMap("stays", "1"))
	r.ready("apps")
	r.want(evil+"/refused", r.configMap("a", "2"), byAccount("tenant"))
	r.failed(evil+"/refused", v1alpha1.ForbiddenReason)
	r.want(evil+"/nobody", r.configMap("b", "2"), byAccount("nobody"))
	r.failed(evil+"/nobody", v1alpha1.ServiceAccountNotFoundReason)
	r.want("apps", r.configMap("a", "1")+r.configMap("stays", "2"))
	r.ready("apps")
	r.eventually("b is deleted", func() bool { return r.value("b") == "error: NotFound" })
	r.want("apps", r.configMap("stays", "3"))
	r.ready("apps")
	r.eventually("a is deleted", func() bool { return r.value("a") == "error: NotFound" })
}

// TestWhatAnAccountMayNotSeeIsNotShown has two Kustomizations of one namespace, one of which may see nothing.
func TestWhatAnAccountMayNotSeeIsNotShown(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	tenant(t, r.kube, r.key.Namespace)
	other := r.key.Namespace + "-other"
	tenant(t, r.kube, other)
	if _, err := r.kube.CoreV1().ConfigMaps(other).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "secretive"}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	check := func(e *v1alpha1.AssignmentEntry) {
		e.HealthChecks = []v1alpha1.HealthCheckReference{{APIVersion: "v1", Kind: "ConfigMap", Namespace: other, Name: "secretive"}}
		e.Timeout = metav1.Duration{Duration: time.Second}
	}
	r.want("hubs", r.configMap("hubs", "1"), check)
	r.ready("hubs")
	r.want("apps", r.configMap("fine", "1"), byAccount("tenant"), check)
	if got := r.failed("apps", v1alpha1.HealthCheckFailedReason); !strings.Contains(got.Message, "does not let it be read") {
		t.Errorf("%+v", got)
	}
}

// TestNothingStandsInForAnAccount holds that an account which is not there, may not be impersonated, or whose name gets
// lost on the way, ends the pass: nothing is written with the rights of the credentials in its place.
func TestNothingStandsInForAnAccount(t *testing.T) {
	c := controlplane.Shared(t)
	r := newRig(t, testHub, c.RESTConfig())
	tenant(t, r.kube, r.key.Namespace)
	r.options = func(o *PoolOptions) { o.HubNamespace, o.RequireServiceAccount = "the-hubs", true }
	check := func(e *v1alpha1.AssignmentEntry) {
		e.HealthChecks = []v1alpha1.HealthCheckReference{{APIVersion: "v1", Kind: "ConfigMap", Namespace: "kube-system", Name: "kube-root-ca.crt"}}
	}
	asked := 0
	r.hidden = func(req *http.Request) bool {
		if strings.Contains(req.URL.RawQuery, "kube-root-ca.crt") {
			r.mu.Lock()
			defer r.mu.Unlock()
			asked++
		}
		return false
	}
	for reason, entry := range map[string]struct {
		account, namespace string
		config             func(*rest.Config)
	}{
		v1alpha1.ServiceAccountRequiredReason: {namespace: r.key.Namespace + "-other/"},
		v1alpha1.ServiceAccountNotFoundReason: {account: "nobody"},
		v1alpha1.ImpersonationFailedReason: {account: "tenant", config: func(cfg *rest.Config) {
			cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return headerless{next} })
		}},
	} {
		r.pool.Disconnect(r.key)
		cfg := c.RESTConfig()
		if entry.config != nil {
			entry.config(cfg)
		}
		r.connect(cfg)
		r.writes()
		clear(r.ks)
		r.want(entry.namespace+"apps", r.configMap("fine", "1"), byAccount(entry.account), check)
		if got := r.failed(entry.namespace+"apps", reason); !strings.Contains(got.Message, entry.account) {
			t.Errorf("%s: %+v", reason, got)
		}
		r.mu.Lock()
		if asked > 0 {
			t.Errorf("%s: what its health checks name is asked for", reason)
		}
		asked = 0
		r.mu.Unlock()
		for _, w := range r.writes() {
			if w != "POST /api/v1/namespaces" && !strings.Contains(w, "/"+v1alpha1.SystemNamespace) && !strings.HasSuffix(w, "/selfsubjectreviews") {
				t.Errorf("%s: %s", reason, w)
			}
		}
	}
	if got := r.value("fine"); got != "error: NotFound" {
		t.Errorf("the object has %s", got)
	}
}

func TestNothingIsAskedForAnEntryThatNeedsAnAccount(t *testing.T) {
	for name, may := range map[string]bool{"apps": true, "the-hubs/apps": true, "other/apps": false} {
		e := &Engine{key: Key{Namespace: "fleet", Name: "edge"}, o: PoolOptions{HubNamespace: "the-hubs", RequireServiceAccount: true}}
		e.conn.target = &Connection{}
		en := &entry{Entry: &machine.Entry{Spec: v1alpha1.AssignmentEntry{Name: name}}, view: &view{}}
		if got := e.mayRequest(en); got != may {
			t.Errorf("%s: %v", name, got)
		}
		// An agent takes the lock-down from the entry.
		e.o.RequireServiceAccount, en.Spec.RequireServiceAccount = false, !may
		if got := e.mayRequest(en); got != may {
			t.Errorf("%s, by the entry: %v", name, got)
		}
	}
}

// headerless is a proxy that drops the header by which a client names whom it asks for.
type headerless struct{ next http.RoundTripper }

func (h headerless) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("Impersonate-User")
	return h.next.RoundTrip(req)
}

// TestCredentialsThatReachSomeNamespaces connects with rights in one namespace: what is there is listed, watched, put
// back and pruned; what is elsewhere, or in no namespace, is refused before anything is sent.
func TestCredentialsThatReachSomeNamespaces(t *testing.T) {
	c := controlplane.New(t, "limited", controlplane.Options{})
	admin := kubernetes.NewForConfigOrDie(c.RESTConfig())
	limited, err := c.User("system:serviceaccount:limited:tenant")
	if err != nil {
		t.Fatal(err)
	}
	tenant(t, admin, "limited")
	tenant(t, admin, v1alpha1.SystemNamespace)
	if _, err := admin.RbacV1().RoleBindings(v1alpha1.SystemNamespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "hub"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "tenant", Namespace: "limited"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	who := metav1.ObjectMeta{Name: "who"}
	if _, err := admin.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: who, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"namespaces"}, ResourceNames: []string{"kube-system"}, Verbs: []string{"get"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: who, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "who"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "tenant", Namespace: "limited"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, testHub, limited, func(r *rig) {
		r.key.Namespace, r.kube = "limited", admin
		r.connection = func(c *Connection) { c.Namespaces = []string{"limited"} }
	})
	r.want("apps", r.configMap("a", "1")+r.configMap("b", "1"))
	r.ready("apps")
	r.writes()
	if err := admin.CoreV1().ConfigMaps("limited").Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("what was deleted is back", func() bool { return r.value("a") == "1" })
	r.eventually("the new object is recorded", func() bool {
		return slices.ContainsFunc(r.writes(), func(w string) bool { return strings.Contains(w, "skerry-inventory-apps") })
	})
	for what, manifest := range map[string]string{
		"another namespace": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: default}\n",
		"no namespace":      r.namespace(),
	} {
		r.want("apps", r.configMap("a", what)+"\n---\n"+manifest)
		if got := r.failed("apps", v1alpha1.NotPermittedReason); !strings.Contains(got.Message, "spec.namespaces") {
			t.Errorf("%s: %+v", what, got)
		}
		if w := r.writes(); len(w) > 0 {
			t.Errorf("%s: written: %s", what, strings.Join(w, ", "))
		}
	}
	r.want("apps", r.configMap("a", "2"))
	r.ready("apps")
	r.eventually("what left Git is deleted", func() bool { return r.value("b") == "error: NotFound" })
}

// older is a cluster before Kubernetes 1.28, which does not tell whom it takes a client for.
type older struct{ next http.RoundTripper }

func (o older) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, "/selfsubjectreviews") {
		return &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("404 page not found\n")), Request: req}, nil
	}
	return o.next.RoundTrip(req)
}

// TestAnOlderClusterIsAskedInAnotherWay holds that an account is admitted by a cluster that cannot tell whom it takes a
// client for, and that one whose name gets lost on the way is not: not even one that may impersonate itself, as who may
// edit its namespace does.
func TestAnOlderClusterIsAskedInAnotherWay(t *testing.T) {
	c := controlplane.Shared(t)
	r := newRig(t, testHub, c.RESTConfig())
	tenant(t, r.kube, r.key.Namespace)
	edit := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "edit"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregate-to-edit"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "tenant", Namespace: r.key.Namespace}},
	}
	if _, err := r.kube.RbacV1().RoleBindings(r.key.Namespace).Create(t.Context(), edit, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []bool{false, true} {
		r.pool.Disconnect(r.key)
		cfg := c.RESTConfig()
		if lost {
			cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return headerless{next} })
		}
		cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return older{next} })
		r.connect(cfg)
		clear(r.ks)
		r.want("apps", r.configMap("fine", fmt.Sprint(lost)), byAccount("tenant"))
		if !lost {
			r.ready("apps")
			continue
		}
		if got := r.failed("apps", v1alpha1.ImpersonationFailedReason); !strings.Contains(got.Message, "older than Kubernetes 1.28") {
			t.Errorf("%+v", got)
		}
	}
	if got := r.value("fine"); got != "false" {
		t.Errorf("the object has %s", got)
	}
}

// deprive takes from a tenant its account, or the rights of that.
func (r *rig) deprive(what string) {
	r.t.Helper()
	var err error
	switch what {
	case "the account":
		err = r.kube.CoreV1().ServiceAccounts(r.key.Namespace).Delete(r.t.Context(), "tenant", metav1.DeleteOptions{})
	case "its rights":
		err = r.kube.RbacV1().RoleBindings(r.key.Namespace).Delete(r.t.Context(), "tenant", metav1.DeleteOptions{})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	if what == "its rights" {
		r.eventually("the cluster knows that the rights are gone", func() bool {
			review, err := r.kube.AuthorizationV1().SubjectAccessReviews().Create(r.t.Context(), &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:" + r.key.Namespace + ":tenant",
				ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "delete", Resource: "configmaps", Namespace: r.key.Namespace, Name: "a"},
			}}, metav1.CreateOptions{})
			return err == nil && !review.Status.Allowed
		})
	}
}

// TestATenantThatIsDeprivedHoldsUpNoRemoval takes from tenants what they need to delete their objects. Nothing deletes
// these in their place, and what is to be left is left all the same: without the label, and without an inventory.
func TestATenantThatIsDeprivedHoldsUpNoRemoval(t *testing.T) {
	for what, reason := range map[string]string{"the account": v1alpha1.ServiceAccountNotFoundReason, "its rights": v1alpha1.ForbiddenReason} {
		r := newRig(t, testHub, controlplane.Shared(t).RESTConfig(), func(r *rig) {
			r.key.Namespace += strings.NewReplacer(" ", "-").Replace("-" + what)
		})
		tenant(t, r.kube, r.key.Namespace)
		r.want("apps", r.configMap("a", "1"), byAccount("tenant"))
		r.ready("apps")
		r.deprive(what)
		r.pool.Disconnect(r.key) // another session asks anew
		r.connect(controlplane.Shared(t).RESTConfig())
		r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete })
		r.failed("apps", reason)
		if got := r.value("a"); got != "1" {
			t.Errorf("%s: the object has %s", what, got)
		}
		r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.DeletionPolicy = v1alpha1.DeletionOrphan })
		r.until("apps", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
		if got := r.field("ConfigMap", "a", "metadata.labels"); got != "" || r.value("a") != "1" {
			t.Errorf("%s: the object has %s and the labels %s", what, r.value("a"), got)
		}
		if got := r.ownConfigMaps(); strings.Contains(got, v1alpha1.InventoryPrefix+ownerOf(r.hub, r.key, "apps")) {
			t.Errorf("%s: kept %s", what, got)
		}
	}
}

// TestWhatWasNeverAppliedIsRemovedWithoutAnAccount removes an entry whose account was never there.
func TestWhatWasNeverAppliedIsRemovedWithoutAnAccount(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("apps", r.configMap("a", "1"), byAccount("nobody"))
	r.failed("apps", v1alpha1.ServiceAccountNotFoundReason)
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete })
	r.until("apps", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
}

// TestAnAccountWithRightsInManyNamespaces has objects in more namespaces than are watched one by one, and no right to
// all namespaces at once: it has each watched by itself, all of its life.
func TestAnAccountWithRightsInManyNamespaces(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	tenant(t, r.kube, r.key.Namespace)
	account := rbacv1.Subject{Kind: "ServiceAccount", Name: "tenant", Namespace: r.key.Namespace}
	var text strings.Builder
	for i := range maxNamespaces + 1 {
		namespace := fmt.Sprintf("%s-%d", r.key.Namespace, i)
		tenant(t, r.kube, namespace)
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "other"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "tenant"}, Subjects: []rbacv1.Subject{account}}
		if _, err := r.kube.RbacV1().RoleBindings(namespace).Create(t.Context(), binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: %s}\n", namespace)
	}
	r.want("apps", text.String(), byAccount("tenant"))
	r.ready("apps")
	last := fmt.Sprintf("%s-%d", r.key.Namespace, maxNamespaces)
	gone := func() bool {
		_, err := r.kube.CoreV1().ConfigMaps(last).Get(t.Context(), "x", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}
	if err := r.kube.CoreV1().ConfigMaps(last).Delete(t.Context(), "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("what was deleted is back", func() bool { return !gone() })
	r.change("apps", func(e *v1alpha1.AssignmentEntry) { e.Remove, e.DeletionPolicy = true, v1alpha1.DeletionDelete })
	r.until("apps", "removed", func(s v1alpha1.AssignmentEntryStatus) bool { return s.Removed })
	if !gone() {
		t.Error("the last object is there")
	}
}

// TestWhereAKindIsWatched lists what is still needed of the watches of a kind, by how the view watches it.
func TestWhereAKindIsWatched(t *testing.T) {
	gk := schema.GroupKind{Kind: "ConfigMap"}
	for name, tt := range map[string]struct {
		v    *view
		want string
	}{
		"the credentials'":                   {&view{}, "all"},
		"an account's":                       {&view{limited: true}, "all web"},
		"many namespaces, and all at once":   {&view{limited: true, scopeModes: map[schema.GroupKind]scopeMode{gk: allNamespaces}}, "all"},
		"many namespaces, each by itself":    {&view{limited: true, scopeModes: map[schema.GroupKind]scopeMode{gk: perNamespace}}, "web"},
		"another kind that is in many, wide": {&view{limited: true, scopeModes: map[schema.GroupKind]scopeMode{{Kind: "Secret"}: allNamespaces}}, "all web"},
	} {
		var got []string
		tt.v.uses(object.ID{Kind: "ConfigMap", Namespace: "web", Name: "x"}, func(at watchScope) { got = append(got, cmp.Or(at.namespace, "all")) })
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestAViewStaysWhileAPassLooksThroughIt changes the account of an entry during a pass in the name of the former one.
func TestAViewStaysWhileAPassLooksThroughIt(t *testing.T) {
	account := edge.Account{Namespace: "team", Name: "deployer"}
	dropped := 0
	v := &view{account: account, passes: 1, drop: func() { dropped++ }}
	s := &session{view: &view{}, views: map[edge.Account]*view{account: v}}
	e := &Engine{entries: map[string]*entry{"apps": {view: s.view}}}
	e.dropViews(s)
	if dropped > 0 || s.views[account] != v {
		t.Fatal("the view of a pass under way has ended")
	}
	v.passes--
	e.dropViews(s)
	if dropped != 1 || s.views[account] != nil {
		t.Errorf("dropped %d times, there: %v", dropped, s.views[account])
	}
}

// TestAnotherTokenOfTheSameAccountIsNoNewSession renews the token under a session, and then changes the account.
func TestAnotherTokenOfTheSameAccountIsNoNewSession(t *testing.T) {
	c := controlplane.Shared(t)
	var sessions atomic.Int32
	r := newRig(t, testHub, c.RESTConfig(), func(r *rig) {
		r.connection = func(c *Connection) { c.Account = "one" }
		r.hidden = func(req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, "/version") {
				sessions.Add(1)
			}
			return false
		}
	})
	r.want("apps", r.namespace()+r.configMap("a", "1"))
	r.ready("apps")
	before := sessions.Load()
	renewed := Connection{Config: r.tapped(c.RESTConfig()), Fingerprint: "2", Account: "one"}
	r.pool.Connect(r.key, renewed)
	r.want("apps", r.namespace()+r.configMap("a", "2"))
	r.ready("apps")
	if got := sessions.Load(); got != before {
		t.Errorf("%d sessions for a token", got-before)
	}
	renewed.Fingerprint, renewed.Account = "3", "another"
	r.pool.Connect(r.key, renewed)
	r.eventually("there is a session for another account", func() bool { return sessions.Load() > before })
}
