package gateway

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io/fs"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/skerry-dev/skerry/internal/bundlestore"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// shardOf returns another shard of the hub of a rig, with a store of its own.
func shardOf(t *testing.T, r *rig, ca []byte, key *bundlestore.Key) (*RemoteBundles, *bundlestore.Store) {
	t.Helper()
	store, err := bundlestore.Open(t.TempDir(), bundlestore.Options{Key: key, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	p, err := NewRemoteBundles(RemoteBundlesOptions{URL: r.base + "/", CA: ca, Hub: r.hub, Key: r.key, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.client.CloseIdleConnections)
	return p, store
}

func sealKey(t *testing.T) *bundlestore.Key {
	t.Helper()
	key, err := bundlestore.NewKey(bytes.Repeat([]byte{5}, bundlestore.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestRemoteBundleIsFetchedOnceAndStored, bundles with Secrets as well.
func TestRemoteBundleIsFetchedOnceAndStored(t *testing.T) {
	r := newRig(t)
	key := sealKey(t)
	p, store := shardOf(t, r, r.ca, key)
	large := configMaps(t, 5, 100_000)
	secret := &object.Bundle{Objects: configMaps(t, 2, 50).Objects, Confidential: true, Hidden: map[string]string{"word": "***"}}
	for what, b := range map[string]*object.Bundle{"large": large, "with something to hide": secret} {
		digest := b.KeyedDigest(key.Digest())
		if _, err := p.Get(t.Context(), digest); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: one that is not rendered: %v", what, err)
		}
		r.mu.Lock()
		r.bundles[digest] = b
		before := r.reads
		r.mu.Unlock()
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				got, err := p.Get(t.Context(), digest)
				if err != nil {
					t.Errorf("%s: %v", what, err)
				} else if !bytes.Equal(got.Encode(), b.Encode()) || got.Confidential != b.Confidential {
					t.Errorf("%s: another bundle came", what)
				}
			})
		}
		all.Wait()
		r.mu.Lock()
		delete(r.bundles, digest)
		if n := r.reads - before; n != 1 {
			t.Errorf("%s: it was fetched %d times", what, n)
		}
		r.mu.Unlock()
		if _, err := p.Get(t.Context(), digest); err != nil || !store.Has(digest) {
			t.Errorf("%s: it is not kept: %v", what, err)
		}
	}
}

// TestRemoteBundlesRequireTheHubsKey of both shards: the bundles of all clusters are served by it.
func TestRemoteBundlesRequireTheHubsKey(t *testing.T) {
	r := newRig(t)
	b := configMaps(t, 1, 50)
	r.bundles[b.Digest()] = b
	p, _ := shardOf(t, r, r.ca, nil)
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	p.o.Key = other
	if _, err := p.Get(t.Context(), b.Digest()); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("with another key: %v", err)
	}
	agent := r.joined()
	ask := link.ShardRequest{Digest: b.Digest(), Nonce: agent.nonce(), ShardNonce: make([]byte, link.NonceSize)}
	ask.Signature = ed25519.Sign(r.key, link.ShardTranscript(r.hub.ID, ask))
	if status, _ := agent.raw(http.MethodPost, link.ShardPath, encode(t, ask)); status != http.StatusOK {
		t.Fatalf("the proof of a shard: %d", status)
	}
	again, elsewhere, reflected := ask, ask, ask
	elsewhere.Digest, elsewhere.Nonce = "sha256:1", agent.nonce()
	reflected.Nonce = agent.nonce()
	reflected.Signature = ed25519.Sign(r.key, link.ShardResponseTranscript(r.hub.ID, reflected, link.ShardResponse{}))
	for what, ask := range map[string]link.ShardRequest{"again": again, "for another bundle": elsewhere, "as an answer": reflected} {
		status, body := agent.raw(http.MethodPost, link.ShardPath, encode(t, ask))
		uniform(t, "a proof "+what, status, body)
	}

	impostor := newRig(t) // with another key, at an address of its own
	impostor.bundles[b.Digest()] = b
	p, store := shardOf(t, impostor, impostor.ca, nil)
	impostor.gateway.o.Hub.Key = r.hub.Key // takes the proof of a shard, as one that plays the hub does
	p.o.Key, p.o.Hub = r.key, r.hub
	if _, err := p.Get(t.Context(), b.Digest()); err == nil || !strings.Contains(err.Error(), "key of the hub") || store.Has(b.Digest()) {
		t.Errorf("from who does not have the key: %v", err)
	}
}

// TestRemoteBundleWithAnotherDigestIsRefused.
func TestRemoteBundleWithAnotherDigestIsRefused(t *testing.T) {
	r := newRig(t)
	b, other := configMaps(t, 1, 50), configMaps(t, 1, 50)
	r.bundles[b.Digest()] = other
	p, _ := shardOf(t, r, r.ca, nil)
	if _, err := p.Get(t.Context(), b.Digest()); err == nil || !strings.Contains(err.Error(), other.Digest()) {
		t.Errorf("got %v", err)
	}
}
