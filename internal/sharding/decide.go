package sharding

// Step is what the process of a shard does about a Cluster.
type Step int

const (
	// Leave means that the Cluster is another shard's, and recorded as that, or is not placed.
	Leave Step = iota
	// Hold means that this shard works on the Cluster.
	Hold
	// AwaitCache means that the record names this shard, and that the API server does not confirm it: the cache is behind.
	AwaitCache
	// Take means that the Cluster is this shard's and recorded as another's, which may still work on it: the record may be
	// changed once that one's lease is free.
	Take
	// HandOver means that the record names this shard, and that the Cluster is another's now: the record is changed when
	// this shard has ended its work on it.
	HandOver
)

// Decide returns what own does about a Cluster that Place assigns to a shard, 0 for none. Record is what the status of
// the Cluster holds. Confirmed means that the API server holds the same, where this shard might have lost the Cluster
// while it had no lease.
//
//	of shard 1 of 2:
//	placed in 1, recorded 1/2, confirmed       held
//	placed in 1, recorded 1/2, not confirmed   another process may have taken it: looked at again
//	placed in 1, recorded 2/2 or 1/3           taken when the lease of that shard is free
//	placed in 2, recorded 1/2                  handed over
//	placed in 2, recorded 2/2                  left
func Decide(own Shard, owner int, record string, confirmed bool) Step {
	ours, recorded := owner == own.Index, record == own.Record()
	switch {
	case ours && recorded && confirmed:
		return Hold
	case ours && recorded:
		return AwaitCache
	case ours:
		return Take
	case recorded && owner != 0:
		return HandOver
	}
	return Leave
}
