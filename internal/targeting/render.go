// Package targeting decides which clusters a Kustomization is for, what is rendered of it for each of them, and
// how a render that failed is reported. The hub and `skerry build` both use it, so that what a user is shown is
// what a cluster gets.
//
// It promises that the same input gives the same answer in the same order, that an absent selector is never
// read as "every cluster", and that a selector that cannot be read is an error and never an empty selection.
// Which of the selected clusters may move now is the rollout planner's decision.
package targeting

import (
	"errors"
	"maps"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/report"
)

// Shared returns the options of a render, but for what differs between clusters; from is the data of
// substituteFrom, in order. The owner label is part of what is rendered, so that a bundle is encoded
// once and applied as it is.
func Shared(ks *v1alpha1.Kustomization, hubID string, from []render.Source) render.Options {
	spec := &ks.Spec
	options := render.Options{
		Path:            spec.Path,
		TargetNamespace: spec.TargetNamespace,
		NamePrefix:      spec.NamePrefix,
		NameSuffix:      spec.NameSuffix,
		Components:      spec.Components,

		IgnoreMissingComponents: spec.IgnoreMissingComponents,
	}
	for _, m := range spec.BuildMetadata {
		options.BuildMetadata = append(options.BuildMetadata, string(m))
	}
	labels := map[string]string{}
	if spec.CommonMetadata != nil {
		maps.Copy(labels, spec.CommonMetadata.Labels)
		options.CommonMetadata.Annotations = spec.CommonMetadata.Annotations
	}
	labels[v1alpha1.OwnerLabel] = object.Owner{Hub: hubID, Namespace: ks.Namespace, Name: ks.Name}.Label()
	options.CommonMetadata.Labels = labels
	if isSubstituted(ks) {
		options.PostBuild = &render.PostBuild{Substitute: spec.PostBuild.Substitute, SubstituteFrom: from}
	}
	return options
}

// isSubstituted reports whether a Kustomization asks for variables to be substituted. An empty postBuild
// does not, as in Flux, and neither do the variables of a Cluster by themselves. A substituteFrom does,
// even while all that it names is optional and absent: otherwise an object that comes or goes would
// decide whether ${cluster_name} is text. With substituteStrategy Always, every postBuild does.
func isSubstituted(ks *v1alpha1.Kustomization) bool {
	p := ks.Spec.PostBuild
	return p != nil && (p.SubstituteStrategy == v1alpha1.SubstituteAlways || len(p.Substitute)+len(p.SubstituteFrom) > 0)
}

// For returns the options for one cluster. The error is a *report.Stalled: a selector of a patch or of
// an image cannot be read, which concerns every cluster alike.
func For(shared render.Options, ks *v1alpha1.Kustomization, t Target) (render.Options, error) {
	patches, err := Patches(ks, t.Labels)
	if err != nil {
		return render.Options{}, &report.Stalled{Reason: v1alpha1.InvalidSelectorReason, Err: err}
	}
	images, err := Images(ks, t.Labels)
	if err != nil {
		return render.Options{}, &report.Stalled{Reason: v1alpha1.InvalidSelectorReason, Err: err}
	}
	shared.Vars, shared.Secret, shared.Patches, shared.Images = t.Vars, t.Secret, patches, images
	return shared, nil
}

// Explain makes the message of a condition of an error of build. The same input fails the same way, so that
// only a commit or an edit helps; unless it was not done in time.
func Explain(err error) error {
	failed := new(render.Error)
	switch {
	case !errors.As(err, &failed):
		return err
	case failed.Reason == render.Timeout || failed.Reason == render.Failed || failed.Reason == render.InternalError || failed.Reason == render.DecryptionFailed && failed.IsTransient():
		return &report.Transient{Reason: string(failed.Reason), Err: err}
	}
	return &report.Stalled{Reason: string(failed.Reason), Err: err}
}
