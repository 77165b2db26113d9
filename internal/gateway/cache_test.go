package gateway

import (
	"bytes"
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/object"
)

// countedBundles counts how often a bundle is read.
type countedBundles struct {
	engine.Bundles
	reads atomic.Int32
}

func (b *countedBundles) Get(ctx context.Context, digest string) (*object.Bundle, error) {
	b.reads.Add(1)
	return b.Bundles.Get(ctx, digest)
}

// TestDownloadIsCachedForAllAgents: the manifest is signed for each of them, and the objects are the same, as those of a
// part of the bundle are. A minute after the last request, nothing is cached.
func TestDownloadIsCachedForAllAgents(t *testing.T) {
	var counted *countedBundles
	r := newRigWith(t, func(g *Gateway) { counted = &countedBundles{Bundles: g.o.Bundles}; g.o.Bundles = counted })
	b := configMaps(t, 40, 30_000) // several windows
	r.bundles[b.Digest()] = b
	part := link.Wanted{Bundle: b.Digest(), Objects: link.ObjectIDs{link.IDOf(b.Objects[7].Body), link.IDOf(b.Objects[3].Body)}, From: 5}
	var first []byte
	var reads int32
	for i := range 3 {
		p := r.slowPeer(i, b.Digest())
		status, raw := p.raw(http.MethodGet, link.BundlesPath+b.Digest(), nil)
		var m link.Manifest
		if err := link.ReadMessage(bytes.NewReader(raw), link.MaxMessage, &m); err != nil || status != http.StatusOK {
			t.Fatalf("the manifest: %d, %v", status, err)
		}
		if !link.Verify(r.hub.Key, link.BundleTranscript(r.hub.ID, p.cluster, m), m.Signature) {
			t.Errorf("the manifest of agent %d is not signed for it", i)
		}
		got, status := p.download(t, link.Wanted{Bundle: b.Digest()})
		if status != http.StatusOK || len(got) != len(b.Objects) {
			t.Fatalf("all objects: %d, %d came", status, len(got))
		}
		for _, o := range b.Objects {
			if !bytes.Equal(got[link.IDOf(o.Body)], o.Body) {
				t.Errorf("agent %d got another %s", i, o.ID)
			}
		}
		status, answer := p.raw(http.MethodPost, link.ObjectsPath, encode(t, part))
		if i == 0 {
			first, reads = answer, counted.reads.Load()
		}
		if status != http.StatusOK || !bytes.Equal(first, answer) {
			t.Errorf("a part for agent %d: %d, %d bytes, and %d for the first", i, status, len(answer), len(first))
		}
	}
	if more := counted.reads.Load() - reads; more != 0 || reads == 0 {
		t.Errorf("%d reads for the first, %d more for the others", reads, more)
	}
	r.gateway.cache.forget(r.now())
	if r.gateway.cache.windows.Len() == 0 {
		t.Error("what was just used is forgotten")
	}
	r.gateway.cache.forget(r.now().Add(cacheTTL))
	if m := r.gateway.cache; m.windows.Len()+m.manifests.Len() > 0 {
		t.Error("what nobody asks for is kept")
	}
}
