package link

// ShardRequest asks another shard of a divided hub for a bundle. All shards have the hub's key.
type ShardRequest struct {
	// Digest of the bundle, as Assignments name it.
	Digest string `json:"digest"`
	// Nonce is of a ChallengeResponse, ShardNonce 32 random bytes of the requesting shard.
	Nonce      []byte `json:"nonce"`
	ShardNonce []byte `json:"partNonce"`
	// Signature is over ShardTranscript, by the hub's key.
	Signature []byte `json:"signature"`
}

// ShardResponse is the first frame of the answer. The bundle follows, as object.Bundle.Encode returns it, in frames of at
// most MaxChunk bytes; an empty frame ends it.
type ShardResponse struct {
	// Confidential is true for a bundle that is to be sealed on disk.
	Confidential bool `json:"confidential,omitempty"`
	// Size of the bundle in bytes.
	Size int64 `json:"size"`
	// Signature is over ShardResponseTranscript, by the hub's key.
	Signature []byte `json:"signature"`
}
