package hub

import (
	"bytes"
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// TestStorageKeyIsMadeOnce, also by two parts of a hub that start at the same time.
func TestStorageKeyIsMadeOnce(t *testing.T) {
	api := fake.NewClientBuilder().Build()
	var raced []byte
	racing := interceptor.NewClient(api, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if raced == nil { // the other part is first
			key, err := storageKey(ctx, api, "hub")
			if err != nil {
				t.Fatal(err)
			}
			raced = key.Digest()
		}
		return c.Create(ctx, o, opts...)
	}})
	first, err := storageKey(t.Context(), racing, "hub")
	if err != nil {
		t.Fatal(err)
	}
	second, err := storageKey(t.Context(), api, "hub")
	if err != nil || !bytes.Equal(first.Digest(), second.Digest()) || !bytes.Equal(first.Digest(), raced) {
		t.Errorf("three starts have other keys: %v", err)
	}
}

func TestDamagedStorageKeyIsNamed(t *testing.T) {
	api := fake.NewClientBuilder().WithObjects(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "hub", Name: storageKeySecret}, Data: map[string][]byte{storageKeyField: []byte("short")},
	}).Build()
	if _, err := storageKey(t.Context(), api, "hub"); err == nil || !strings.Contains(err.Error(), "hub/"+storageKeySecret+" is damaged: delete it") {
		t.Errorf("%v", err)
	}
}
