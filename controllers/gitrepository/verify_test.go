package gitrepository

import (
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/apis/meta"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/git"
)

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHZjsK0A7Uliqpw6G3lrFFmKz/g51QsQUSvQp+sm6auu a@example.com\n"

func verifying(r *v1alpha1.GitRepository) {
	r.Spec.Verification = &v1alpha1.GitRepositoryVerification{Mode: v1alpha1.ModeGitTagAndHEAD, SecretRef: meta.LocalObjectReference{Name: "keys"}}
}

// TestNothingIsFetchedWithoutTheKeys: keys that are missing or unreadable trust no commit.
func TestNothingIsFetchedWithoutTheKeys(t *testing.T) {
	w := &world{t: t, objects: []client.Object{repository(verifying)}}
	w.start()
	w.follow = func(git.Request) (git.Commit, error) { c := commit("1"); c.Verified = "Verified x"; return c, nil }
	w.reconcile()
	if got := w.ready(); got != "False VerificationError: there is no Secret keys with public keys" {
		t.Errorf("ready: %s", got)
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "keys"}, Data: map[string][]byte{"a.asc": []byte("CANARY")}}
	if err := w.client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	if got := w.ready(); got != "False VerificationError: cannot use the Secret keys: key a.asc holds no PGP public key that can be read" {
		t.Errorf("ready: %s", got)
	}
	if !apimeta.IsStatusConditionFalse(w.get().Status.Conditions, v1alpha1.SourceVerifiedCondition) || len(w.asked) > 0 {
		t.Errorf("asked %d times; %v", len(w.asked), w.get().Status.Conditions)
	}
	secret.Data = map[string][]byte{"a.sshpub": []byte(publicKey)}
	if err := w.client.Update(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	w.reconcile()
	status := w.get().Status
	if !apimeta.IsStatusConditionTrue(status.Conditions, v1alpha1.SourceVerifiedCondition) || *status.SourceVerificationMode != v1alpha1.ModeGitTagAndHEAD {
		t.Errorf("got %+v", status)
	}
	if v := w.asked[0].Verify; !v.Head || !v.Tag || v.Keys.Sum == [32]byte{} {
		t.Errorf("asked to verify %+v", v)
	}
}

func TestASignatureThatDoesNotHoldKeepsTheArtifact(t *testing.T) {
	for reason, err := range map[string]error{
		v1alpha1.InvalidCommitSignatureReason:  git.ErrCommitSignature,
		v1alpha1.InvalidTagSignatureReason:     git.ErrTagSignature,
		v1alpha1.InvalidVerificationModeReason: git.ErrNotATag,
	} {
		t.Run(reason, func(t *testing.T) {
			secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: "keys"}, Data: map[string][]byte{"a.sshpub": []byte(publicKey)}}
			w := &world{t: t, objects: []client.Object{repository(verifying), secret}}
			w.start()
			w.follow = func(git.Request) (git.Commit, error) { return commit("1"), nil }
			w.reconcile()
			w.follow = func(git.Request) (git.Commit, error) { return git.Commit{}, err }
			w.reconcile()
			status := w.get().Status
			if status.Artifact == nil || status.Artifact.Revision != "main@sha1:1" || !strings.HasPrefix(w.ready(), "False "+reason) {
				t.Errorf("%s, artifact %+v", w.ready(), status.Artifact)
			}
			if !apimeta.IsStatusConditionFalse(status.Conditions, v1alpha1.SourceVerifiedCondition) {
				t.Errorf("conditions: %+v", status.Conditions)
			}
		})
	}
}

func TestAChangeOfTheKeysBringsACheck(t *testing.T) {
	repo := repository(verifying)
	repo.Spec.SecretRef = &meta.LocalObjectReference{Name: "login"}
	if got := secretNames(repo); !slices.Equal(got, []string{"login", "keys"}) {
		t.Errorf("a change of these Secrets wakes it: %v", got)
	}
}
