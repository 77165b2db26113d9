package object

import (
	"fmt"
	"testing"
)

func secretOf(t *testing.T, password string) Object {
	t.Helper()
	o, err := FromMap(map[string]any{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "login"}, "stringData": map[string]any{"password": password}})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Who has the inventory and knows the rest of the body must not find the password by trying.
func TestADigestOfASecretIsNotFoundByGuessing(t *testing.T) {
	seal := NewSeal([]byte("a key of the hub"))
	recorded := secretOf(t, "4711").WithSeal(seal, true).Digest
	for guess := range 10_000 {
		if o := secretOf(t, fmt.Sprintf("%04d", guess)); o.Digest == recorded {
			t.Fatalf("%s is the digest of the password %04d", recorded, guess)
		}
	}
	if len(recorded) != 32 || recorded != secretOf(t, "4711").WithSeal(seal, true).Digest {
		t.Errorf("%s is no digest that is the same again", recorded)
	}
	if recorded == secretOf(t, "4711").WithSeal(NewSeal([]byte("another key")), true).Digest {
		t.Error("another key makes the same digest")
	}
}

func TestADigestIsRecognizedWithTheSealAndWithout(t *testing.T) {
	seal := NewSeal([]byte("a key of the hub"))
	plain := secretOf(t, "4711")
	for _, rules := range []string{"", "rules"} {
		digests := map[string]string{
			"an earlier version": plain.WithKey(rules).Digest,
			"confidential":       plain.WithSeal(seal, true).WithKey(rules).Digest,
			"not confidential":   plain.WithSeal(seal, false).WithKey(rules).Digest,
			"sealed afterwards":  plain.WithKey(rules).WithSeal(seal, true).Digest,
			"sealed twice":       plain.WithSeal(seal, true).WithSeal(seal, true).WithKey(rules).Digest,
		}
		for name, o := range map[string]Object{"confidential": plain.WithSeal(seal, true).WithKey(rules), "not confidential": plain.WithSeal(seal, false).WithKey(rules)} {
			for of, recorded := range digests {
				if !o.HasDigest(recorded) {
					t.Errorf("with %q the object that is %s does not know the digest of %s", rules, name, of)
				}
			}
			for _, other := range []string{"", secretOf(t, "4712").WithSeal(seal, true).WithKey(rules).Digest, secretOf(t, "4712").WithKey(rules).Digest, plain.WithKey("other").Digest} {
				if o.HasDigest(other) {
					t.Errorf("the object that is %s takes another digest for its own", name)
				}
			}
		}
	}
	if NewSeal(nil) != nil || plain.WithSeal(nil, true).Digest != plain.Digest {
		t.Error("without a key there is a seal")
	}
}

// What is left out of a body for an autoscaler keeps the seal.
func TestADigestStaysSealedWithoutReplicas(t *testing.T) {
	seal := NewSeal([]byte("a key of the hub"))
	var objects []Object
	for _, m := range []map[string]any{
		{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "web"}, "spec": map[string]any{"replicas": 3}},
		{"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": map[string]any{"name": "web"},
			"spec": map[string]any{"scaleTargetRef": map[string]any{"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}},
	} {
		o, err := FromMap(m)
		if err != nil {
			t.Fatal(err)
		}
		objects = append(objects, o)
	}
	plain, _ := WithoutReplicas(objects)
	for i := range objects {
		objects[i] = objects[i].WithSeal(seal, true)
	}
	sealed, left := WithoutReplicas(objects)
	if len(left) != 1 || !sealed[0].IsSealed() || sealed[0].Digest == plain[0].Digest || !sealed[0].HasDigest(plain[0].Digest) {
		t.Errorf("sealed %v, plain %v", sealed[0].Digest, plain[0].Digest)
	}
}
