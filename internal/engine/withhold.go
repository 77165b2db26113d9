package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/edge"
	"github.com/skerry-dev/skerry/internal/object"
)

// A kind that cannot be seen keeps its own objects off the cluster, and no other: what is known of them
// is not enough to judge or to delete any, so that what is recorded of the kind stays recorded.

// unsupportedKind is the failure of every object of a kind that the cluster does not keep.
func unsupportedKind(gk schema.GroupKind) failure {
	return failure{reason: v1alpha1.KindNotKeptReason, final: true, message: fmt.Sprintf(
		"the cluster does not keep objects of kind %s, which can be created, and not listed, watched and deleted: take it out of Git", gk.Kind)}
}

// withhold reports whether an error is about one kind alone, and withholds its objects then: the server
// behind an aggregated API does not answer, or the credentials may not list the kind.
// While the cluster is observed, what is recorded of the kind is in doubt from then on.
func (p *pass) withhold(ctx context.Context, gvk schema.GroupVersionKind, err error, observing bool) bool {
	gk := gvk.GroupKind()
	if f, known := p.withheldKind(object.ID{Group: gk.Group, Kind: gk.Kind}); known && f.reason == v1alpha1.KindUnavailableReason {
		return unavailable(err)
	}
	why := ""
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return false
	case unavailable(err):
		if s := p.aggregated(ctx, gvk.GroupVersion()); s != nil {
			why = fmt.Sprintf("the server behind APIService %s does not answer", s.Name)
			if s.Message != "" {
				why += ": " + s.Message
			}
		}
	case observing && apierror.Refused(err) && apierror.OfCollection(err):
		why = fmt.Sprintf("objects of kind %s cannot be listed and watched: %s", gk.Kind, p.explainForAccount(apierror.Explain(err, noObject)))
	}
	if why == "" {
		return false
	}
	if apierror.Denied(err) {
		p.noteDenied()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.withheld[gk] = failure{reason: p.reasonIfDenied(err, v1alpha1.KindUnavailableReason), message: why}
	if apierror.Refused(err) && observing {
		if p.hidden == nil {
			p.hidden = map[schema.GroupKind]bool{}
		}
		p.hidden[gk] = true
	}
	if observing {
		p.uncertain[gk] = why
	}
	return true
}

// unavailable reports whether an error may be that of a server behind the API server.
func unavailable(err error) bool {
	return apierror.Overloaded(err) || apierror.Unavailable(err) || errors.Is(err, context.DeadlineExceeded)
}

// aggregated returns the APIService of a group and version, if another server serves them.
func (p *pass) aggregated(ctx context.Context, gv schema.GroupVersion) *edge.APIService {
	p.discovering.Lock()
	defer p.discovering.Unlock()
	s, err := p.closer().Aggregated(ctx, gv)
	if err != nil { // then it is the cluster itself
		return nil
	}
	return s
}

// closer returns what looks closer at kinds that are not found or not answered for, one for the pass.
func (p *pass) closer() *edge.Discovery {
	if p.lookedUp == nil {
		p.lookedUp = p.session.client.Discovery() // definitions and APIServices are nothing of the account's
	}
	return p.lookedUp
}

func (p *pass) withheldKind(id object.ID) (failure, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.withheld[kindOf(id)]; ok {
		return f, true
	}
	f, ok := p.forbidden[watchScope{kindOf(id), id.Namespace}]
	return f, ok
}

// failWithheld fails every desired object of a kind that is withheld, be it as desired when it was seen
// last or not.
func (p *pass) failWithheld() {
	for _, o := range p.out.desired {
		if f, ok := p.withheldKind(o.ID); ok {
			p.failOnce(o.ID, f)
		}
	}
}

// failOnce fails an object, unless it has failed already.
func (p *pass) failOnce(id object.ID, f failure) {
	f.id = id
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.out.failures, func(f failure) bool { return f.id == id }) {
		return
	}
	p.out.failures = append(p.out.failures, f)
}
