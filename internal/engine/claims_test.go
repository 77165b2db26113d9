package engine

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/health"
	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
)

func (r *rig) claim(name, class string) string {
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: %s, namespace: %s}\n"+
		"spec: {%saccessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n", name, r.key.Namespace, class)
}

func storageClassManifest(name, mode string) string {
	return fmt.Sprintf("\n---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: %s}\nprovisioner: example.com/none\nvolumeBindingMode: %s\n", name, mode)
}

func TestAClaimThatWaitsForItsConsumerHoldsNothingUp(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	r.want("storage", r.namespace()+storageClassManifest("late", "WaitForFirstConsumer")+r.claim("data", "storageClassName: late, "))
	r.want("app", r.configMap("consumer", "one"), func(e *v1alpha1.AssignmentEntry) { e.DependsOn = []string{"storage"} })
	r.ready("storage")
	r.ready("app")
}

func TestAClaimToProvision(t *testing.T) {
	for name, tc := range map[string]struct{ class, manifest, says string }{
		"an immediate class":        {"storageClassName: soon, ", storageClassManifest("soon", "Immediate"), "waits for StorageClass soon to provision its volume"},
		"a class that is not there": {"storageClassName: nowhere, ", "", "waits for StorageClass nowhere, which is not there"},
		"no class":                  {"", "", "waits for a PersistentVolume: it names no StorageClass"},
		"an empty class":            {`storageClassName: "", `, "", "waits for a PersistentVolume: its storageClassName is empty"},
		"a volume by name":          {`storageClassName: soon, volumeName: disk, `, "", "waits for PersistentVolume disk"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
			r.want("storage", r.namespace()+tc.manifest+r.claim("data", tc.class))
			r.until("storage", "waiting", func(s v1alpha1.AssignmentEntryStatus) bool {
				return s.Ready == metav1.ConditionUnknown && s.Reason == v1alpha1.WaitingForHealthReason && strings.Contains(s.Message, tc.says)
			})
		})
	}
}

// A class is asked for when a claim waits for it and the last answer is old, and never else.
func TestAStorageClassIsAskedForOnlyWhenAClaimWaits(t *testing.T) {
	r := newRig(t, testHub, controlplane.Shared(t).RESTConfig())
	asked := make(chan string, 100)
	r.mu.Lock()
	r.hidden = func(req *http.Request) bool {
		if _, name, ok := strings.Cut(req.URL.Path, "/storageclasses/"); ok {
			asked <- name
		}
		return false
	}
	r.mu.Unlock()
	r.want("storage", r.namespace()+storageClassManifest("lazy", "WaitForFirstConsumer")+r.claim("one", "storageClassName: lazy, ")+r.claim("two", "storageClassName: lazy, ")+r.configMap("a", "one"))
	r.ready("storage")
	r.settledAfter("a")
	r.ready("storage")
	if len(asked) != 1 {
		t.Errorf("%d requests for one class", len(asked))
	}
}

func TestTheAnswerAboutAStorageClassGetsOld(t *testing.T) {
	now := time.Unix(1000, 0)
	en := &entry{session: &session{classes: map[string]*storageClass{}}}
	pending := health.Status{Phase: health.InProgress, Message: "waits", Class: "late"}
	if got := en.claimHealth(pending); got != pending {
		t.Errorf("before the first answer: %+v", got)
	}
	c := en.session.classes["late"]
	for _, tc := range []struct {
		class storageClass
		phase health.Phase
		again time.Duration
	}{
		{storageClass{at: now, waits: true}, health.Current, classFresh},
		{storageClass{at: now}, health.InProgress, classFresh},
		{storageClass{at: now, missing: true, failed: true}, health.InProgress, classRetry},
		{storageClass{at: now, failed: true}, health.InProgress, classRetry},
	} {
		*c, en.recheck = tc.class, time.Time{}
		if got := en.claimHealth(pending); got.Phase != tc.phase || !en.recheck.Equal(now.Add(tc.again)) || !c.wanted {
			t.Errorf("%+v: %+v, again at %s", tc.class, got, en.recheck.Sub(now))
		}
	}
	for i := range 2 * maxClasses {
		en.claimHealth(health.Status{Phase: health.InProgress, Class: fmt.Sprint(i)})
	}
	if len(en.session.classes) != maxClasses {
		t.Errorf("%d classes are remembered", len(en.session.classes))
	}
}
