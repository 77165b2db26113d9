package link

// PartRequest asks another part of a divided hub for a bundle. All parts have the hub's key.
type PartRequest struct {
	// Digest of the bundle, as Assignments name it.
	Digest string `json:"digest"`
	// Nonce is of a ChallengeResponse, PartNonce 32 random bytes of the requesting part.
	Nonce     []byte `json:"nonce"`
	PartNonce []byte `json:"partNonce"`
	// Signature is over PartTranscript, by the hub's key.
	Signature []byte `json:"signature"`
}

// PartResponse is the first frame of the answer. The bundle follows, as object.Bundle.Encode returns it, in frames of at
// most MaxChunk bytes; an empty frame ends it.
type PartResponse struct {
	// Confidential is true for a bundle that is to be sealed on disk.
	Confidential bool `json:"confidential,omitempty"`
	// Size of the bundle in bytes.
	Size int64 `json:"size"`
	// Signature is over PartResponseTranscript, by the hub's key.
	Signature []byte `json:"signature"`
}
