package engine

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine/machine"
	"github.com/skerry-dev/skerry/internal/health"
)

// bundleTimeout bounds the reading of one bundle. After it the store counts as one that does not have it.
const bundleTimeout = 30 * time.Second

// preparation is the reading of all bundles that the next pass of an entry needs, one after the other.
type preparation struct {
	attempt uint64
	digest  string           // that is being read
	tried   map[string]error // how each attempt ended, by digest
}

// loaded is a bundle that was read.
type loaded struct {
	digest string
	bundle bundle
	err    error
}

// prepare reads the bundles that the pass of an entry needs: its own, the last good one and, where the
// pass drops an object, those of all Kustomizations that may desire it. The loop does not wait for the
// store: bundles come back through the inbox, and other entries go on meanwhile.
func (e *Engine) prepare(ctx context.Context, a machine.Prepare, now time.Time) {
	en := e.entries[a.Name]
	if en.Spec.Remove {
		en.desired = bundle{}
	}
	en.loading = &preparation{attempt: a.Attempt, tried: map[string]error{}}
	e.prepareNext(ctx, en, now)
}

// prepareNext reads the next bundle that is missing, or ends the preparation.
func (e *Engine) prepareNext(ctx context.Context, en *entry, now time.Time) {
	p := en.loading
	if p.digest = e.missing(en); p.digest != "" {
		e.load(ctx, p.digest)
		return
	}
	en.loading = nil
	done := machine.Prepared{Name: en.Spec.Name, Attempt: p.attempt, LastGood: en.hasLastGood()}
	switch err := p.tried[en.Spec.Digest]; {
	case en.Spec.Remove, en.desired.digest != "" && en.desired.digest == en.Spec.Digest:
	case err == nil: // no digest is assigned
		done.Reason, en.message = bundleFailed(fs.ErrNotExist)
	default:
		done.Reason, en.message = bundleFailed(err)
	}
	e.stepAgain = true
	e.step(ctx, done, now)
}

func bundleFailed(err error) (reason, message string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return v1alpha1.BundleNotFoundReason, "the rendered bundle is not in the store yet"
	case isPanic(err):
		return v1alpha1.InternalErrorReason, "the rendered bundle cannot be read: " + health.Clean(err.Error())
	}
	return v1alpha1.BundleNotFoundReason, "the rendered bundle cannot be read: " + health.Clean(err.Error())
}

// missing returns the digest of a bundle that the next pass of an entry needs, and that was neither read
// nor tried yet; "" when there is none.
func (e *Engine) missing(en *entry) string {
	wanted := func(digest string) bool {
		_, tried := en.loading.tried[digest]
		return digest != "" && !tried
	}
	if d := en.unloaded(); wanted(d) {
		return d
	}
	if d := en.unloadedLastGood(); wanted(d) {
		return d
	}
	if !en.drops() {
		return ""
	}
	for _, name := range e.m.Names() {
		other := e.entries[name]
		if other == en || other.Spec.Remove {
			continue
		}
		if d := other.unloaded(); wanted(d) {
			return d
		}
		if d := other.unloadedLastGood(); wanted(d) {
			return d
		}
	}
	for _, digest := range en.keeps() {
		if _, ok := en.expected[digest]; !ok && wanted(digest) {
			return digest
		}
	}
	return ""
}

// unloaded returns the digest of the assigned bundle while it is not loaded.
func (en *entry) unloaded() string {
	if en.Spec.Remove || en.desired.digest == en.Spec.Digest {
		return ""
	}
	return en.Spec.Digest
}

// unloadedLastGood returns the digest of the last good bundle while it is not loaded. That it is gone
// from the store is no error: it only stands in.
func (en *entry) unloadedLastGood() string {
	if en.Spec.Remove || en.lastGood.ByID != nil || en.lastGood.digest == en.Spec.Digest {
		return ""
	}
	return en.lastGood.digest
}

// load begins to read a bundle, unless that is under way.
func (e *Engine) load(ctx context.Context, digest string) {
	if e.loads[digest] {
		return
	}
	e.loads[digest] = true
	e.workers.Go(func() { // ends with the answer of the store
		ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
		defer cancel()
		l := loaded{digest: digest}
		l.err = e.guard("bundle", func() error {
			b, err := e.o.Bundles.Get(ctx, digest)
			if err == nil {
				l.bundle = e.limits.bundles.load(digest, b)
			}
			return err
		})
		e.send(func(in *inbox) { in.loaded = append(in.loaded, l) })
	})
}

// onLoaded takes a bundle that was read. What entries desire from then on may be what others retain.
func (e *Engine) onLoaded(ctx context.Context, l loaded, now time.Time) {
	delete(e.loads, l.digest)
	if l.err == nil {
		e.takeBundle(ctx, l.bundle, now)
	}
	for _, name := range e.m.Names() {
		en := e.entries[name]
		if en.loading == nil || en.loading.digest != l.digest {
			continue
		}
		if l.err == nil && slices.Contains(en.keeps(), l.digest) {
			if en.expected == nil {
				en.expected = map[string]bundle{}
			}
			en.expected[l.digest] = l.bundle
		}
		en.loading.tried[l.digest] = l.err
		e.prepareNext(ctx, en, now)
	}
}

func (e *Engine) takeBundle(ctx context.Context, b bundle, now time.Time) {
	maskBundle(&e.mask, b)
	for _, en := range e.entries {
		if en.unloaded() == b.digest {
			en.desired, en.Changed = b.under(en.rules), true
			e.step(ctx, machine.DesiresChanged{}, now)
		}
		if en.unloadedLastGood() == b.digest {
			en.lastGood = b.under(en.rules)
		}
	}
}
