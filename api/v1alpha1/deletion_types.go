package v1alpha1

// DeletionPolicy decides what happens to the objects of a Kustomization on a cluster when the Kustomization
// is deleted, or no longer selects the cluster.
type DeletionPolicy string

const (
	// DeletionMirrorPrune is Delete when spec.prune is true, and Orphan when it is false.
	DeletionMirrorPrune DeletionPolicy = "MirrorPrune"
	// DeletionDelete deletes the objects. The Kustomization stays until they are gone.
	DeletionDelete DeletionPolicy = "Delete"
	// DeletionWaitForTermination is Delete: that waits as well, where Flux's does not.
	DeletionWaitForTermination DeletionPolicy = "WaitForTermination"
	// DeletionOrphan leaves the objects as they are.
	DeletionOrphan DeletionPolicy = "Orphan"
)

// GetDeletionPolicy returns what becomes of the objects: DeletionDelete or DeletionOrphan.
func (k *Kustomization) GetDeletionPolicy() DeletionPolicy {
	switch k.Spec.DeletionPolicy {
	case DeletionOrphan:
		return DeletionOrphan
	case DeletionDelete, DeletionWaitForTermination:
		return DeletionDelete
	case DeletionMirrorPrune:
	}
	if k.Spec.Prune != nil && !*k.Spec.Prune {
		return DeletionOrphan
	}
	return DeletionDelete
}
