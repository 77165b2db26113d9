package engine

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

// seal puts the objects of all bundles under a seal, as a store with a key does.
func (r *rig) seal(key string) {
	r.bundleStore.mu.Lock()
	defer r.bundleStore.mu.Unlock()
	for digest, b := range r.bundleStore.bundles {
		sealed := *b
		sealed.Objects = nil
		for _, o := range b.Objects {
			sealed.Objects = append(sealed.Objects, o.WithSeal(object.NewSeal([]byte(key)), b.HoldsSecret()))
		}
		r.bundleStore.bundles[digest] = &sealed
	}
}

// restart is a hub that was started again.
func (r *rig) restart(names ...string) {
	r.t.Helper()
	r.pool.Disconnect(r.key)
	r.writes()
	r.connect(controlplane.Shared(r.t).RESTConfig())
	r.assign()
	for _, name := range names {
		r.ready(name)
	}
}

func (r *rig) recordOf(name string, id object.ID) string { return r.inventory(name).Objects[id].Digest }

// An inventory that an earlier version wrote has plain digests. They are replaced, in one write, and nothing is
// applied for it; a bundle without Secrets keeps them, and another key costs one apply that changes nothing.
func TestDigestsOnTheEdgeAreSealedWithoutAnApply(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	secret := "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: " + r.key.Namespace + "}\nstringData: {password: \"4711\"}\n"
	r.want("apps", r.namespace()+r.configMap("beside", "1")+secret)
	r.ready("apps")
	r.want("open", r.configMap("open", "1"))
	r.ready("open")
	login, open := object.ID{Kind: "Secret", Namespace: r.key.Namespace, Name: "login"}, object.ID{Kind: "ConfigMap", Namespace: r.key.Namespace, Name: "open"}
	plain, public := r.recordOf("apps", login), r.recordOf("open", open)
	version := func() string {
		s, err := r.kube.CoreV1().Secrets(r.key.Namespace).Get(t.Context(), "login", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return s.ResourceVersion
	}
	before := version()

	r.seal("the key")
	r.restart("apps", "open")
	r.eventually("the digest is sealed", func() bool { return r.recordOf("apps", login) != plain })
	sealed := r.recordOf("apps", login)
	for _, w := range r.writes() {
		if !strings.Contains(w, "/namespaces/skerry-system/configmaps") {
			t.Errorf("to seal the digests it wrote %s", w)
		}
	}
	if got := r.recordOf("open", open); got != public {
		t.Errorf("a digest of what is no secret became %s", got)
	}
	r.restart("apps", "open")
	if got := r.writes(); len(got) != 0 {
		t.Errorf("with the digests sealed it wrote %v", got)
	}

	r.seal("another key")
	r.restart("apps", "open")
	r.eventually("the digest is sealed anew", func() bool { return r.recordOf("apps", login) != sealed })
	for _, w := range r.writes() {
		if strings.HasSuffix(w, "/open") {
			t.Errorf("another key made it write %s", w)
		}
	}
	if got := version(); got != before {
		t.Errorf("the Secret has changed: %s, was %s", got, before)
	}
}

// A bundle that loses its last Secret, or gets its first, changes no other object.
func TestASecretThatGoesLeavesTheOthersAlone(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	secret := "\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: login, namespace: " + r.key.Namespace + "}\nstringData: {password: \"4711\"}\n"
	for i, text := range []string{"", secret, ""} {
		digest := r.bundle("apps", r.namespace()+r.configMap("beside", "1")+text)
		r.seal("the key")
		r.ks["apps"] = r.entry("apps", digest)
		r.assign()
		r.ready("apps")
		for _, w := range r.writes() {
			if i > 0 && strings.HasSuffix(w, "/configmaps/beside") {
				t.Errorf("bundle %d made it write %s", i, w)
			}
		}
	}
}
