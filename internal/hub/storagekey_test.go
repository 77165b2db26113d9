package hub

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// TestStorageKeyIsMadeOnce, also by two shards of a hub that start at the same time.
func TestStorageKeyIsMadeOnce(t *testing.T) {
	api := fake.NewClientBuilder().Build()
	var raced []byte
	racing := interceptor.NewClient(api, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
		if raced == nil { // the other shard is first
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

// A hub that starts before its namespace is there, or while that goes, waits for it; what only a person helps
// against ends it.
func TestTheStorageKeyWaitsForTheNamespace(t *testing.T) {
	secrets := schema.GroupResource{Resource: "secrets"}
	terminating := apierrors.NewForbidden(secrets, storageKeySecret, errors.New("it is being terminated"))
	terminating.ErrStatus.Details.Causes = append(terminating.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
	for name, tt := range map[string]struct {
		err   error
		waits bool
	}{
		"no namespace":          {apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "hub"), true},
		"a namespace that goes": {terminating, true},
		"an overloaded server":  {apierrors.NewTooManyRequests("later", 1), true},
		"no right":              {apierrors.NewForbidden(secrets, storageKeySecret, errors.New("no right")), false},
	} {
		t.Run(name, func(t *testing.T) {
			tries := 0
			api := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				if tries++; tries <= 3 {
					return tt.err
				}
				return c.Create(ctx, o, opts...)
			}})
			key, err := awaitStorageKey(t.Context(), api, "hub", time.Nanosecond, logr.Discard())
			if tt.waits != (err == nil && key != nil && tries == 4) || !tt.waits && tries != 1 {
				t.Errorf("after %d tries: %v", tries, err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			tries = -1000
			if _, err := awaitStorageKey(ctx, api, "another", time.Hour, logr.Discard()); err == nil {
				t.Error("a hub that stops got a key")
			}
		})
	}
}
