package link

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"maps"
	"slices"
)

// NonceSize is the length of every nonce, in bytes.
const NonceSize = 32

// What is signed begins with its purpose, so that a signature for one is none for another.
const (
	joinPurpose          = "skerry.dev/link/v1 join"
	sessionPurpose       = "skerry.dev/link/v1 session"
	hubPurpose           = "skerry.dev/link/v1 hub"
	assignmentPurpose    = "skerry.dev/link/v1 assignment"
	bundlePurpose        = "skerry.dev/link/v1 bundle"
	finalizePurpose      = "skerry.dev/link/v1 finalize"
	shardPurpose         = "skerry.dev/link/v1 part"
	shardResponsePurpose = "skerry.dev/link/v1 part answer"
	downPurpose          = "skerry.dev/link/v1 down"
	upPurpose            = "skerry.dev/link/v1 up"
	reportedPurpose      = "skerry.dev/link/v1 reported"
)

// transcript joins a purpose and fields without ambiguity: each after its length.
func transcript(purpose string, fields ...[]byte) []byte {
	out := append(binary.AppendUvarint(nil, uint64(len(purpose))), purpose...)
	for _, f := range fields {
		out = append(binary.AppendUvarint(out, uint64(len(f))), f...)
	}
	return out
}

// JoinTranscript is what an agent signs to join the hub with the identity, which it knows from what it was installed
// with. The token is part of it by its hash.
func JoinTranscript(hub string, j JoinRequest) []byte {
	token := HashToken(j.Token)
	return transcript(joinPurpose, []byte(hub), []byte(j.Cluster), token[:], j.Key, []byte(j.ClusterUID), j.Nonce, j.AgentNonce)
}

// SessionTranscript is what an agent signs to open a session at the hub with the identity.
func SessionTranscript(hub string, s SessionRequest) []byte {
	return transcript(sessionPurpose, []byte(hub), []byte(s.Cluster), s.Key, s.Nonce, s.AgentNonce,
		[]byte(s.Agent.Instance), []byte(s.Agent.ClusterUID), []byte(s.Agent.Version))
}

// HubTranscript is what the hub signs in a JoinResponse and a SessionResponse: token is that of the session, empty for a join.
func HubTranscript(hub HubIdentity, cluster, token string, nonce, agentNonce []byte) []byte {
	hashed := HashToken(token)
	return transcript(hubPurpose, []byte(hub.ID), []byte(hub.UID), []byte(hub.Namespace), hub.Key, []byte(cluster), hashed[:], nonce, agentNonce)
}

// AssignmentTranscript is what the hub signs of an Assignment as it is after a change.
func AssignmentTranscript(hub, cluster string, a Assignment) []byte {
	return transcript(assignmentPurpose, []byte(hub), []byte(cluster), []byte(a.UID), binary.BigEndian.AppendUint64(nil, uint64(a.Generation)), []byte(a.Digest))
}

// BundleTranscript is what the hub signs of a bundle: which content a digest stands for. A digest of a bundle with
// Secrets is made with a key that the agent does not have.
func BundleTranscript(hub, cluster string, m Manifest) []byte {
	confidential := []byte{0}
	if m.Confidential {
		confidential[0] = 1
	}
	return transcript(bundlePurpose, []byte(hub), []byte(cluster), []byte(m.Digest), []byte(m.Content), confidential)
}

// FinalizeTranscript is what the hub signs of Down.Finalize. key is the agent's public key: another enrollment makes
// another key, so that a request for an earlier removal of a Cluster of the same name does not serve again.
func FinalizeTranscript(hub, cluster string, key []byte, request string) []byte {
	return transcript(finalizePurpose, []byte(hub), []byte(cluster), key, []byte(request))
}

// DownTranscript is what the hub signs of a frame of the stream. key is the agent's public key, and agentNonce that of
// its SessionRequest, so that a frame serves in no other session; Seq orders those of one. What a later version adds to a frame
// needs a signature of its own, since agents of this one do not know it.
func DownTranscript(hub, cluster string, key, agentNonce []byte, d Down) []byte {
	number := func(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }
	flag := func(b bool) []byte {
		if b {
			return []byte{1}
		}
		return []byte{0}
	}
	var assignment, settings, goAway []byte // nil for what is absent: a transcript is never empty
	if a := d.Assignment; a != nil {
		assignment = transcript("", []byte(a.UID), number(a.Generation), []byte(a.Digest))
	}
	if s := d.Settings; s != nil {
		settings = transcript("", number(s.KeepAlive), number(s.Heartbeat), flag(s.Suspend), []byte(s.TakeOver))
	}
	if d.GoAway != nil {
		goAway = transcript("", []byte(d.GoAway.Reason), number(d.GoAway.RetryAfter))
	}
	return transcript(downPurpose, []byte(hub), []byte(cluster), key, agentNonce, number(int64(d.Seq)), number(d.At),
		assignment, settings, flag(d.Verify), []byte(d.Finalize), goAway)
}

// UpTranscript is what an agent signs of a report: message is its JSON. key is the agent's public key, and agentNonce that
// of its SessionRequest, so that a report serves in no other session; Up.Seq orders those of one.
func UpTranscript(hub, cluster string, key, agentNonce, message []byte) []byte {
	return transcript(upPurpose, []byte(hub), []byte(cluster), key, agentNonce, message)
}

// ReportedTranscript is what the hub signs of SessionResponse.Reported: an agent that were made to believe that the hub
// knows something would not report it.
func ReportedTranscript(hub, cluster string, key, agentNonce []byte, reported Have) []byte {
	fields := [][]byte{[]byte(hub), []byte(cluster), key, agentNonce}
	for _, name := range slices.Sorted(maps.Keys(reported.Entries)) {
		fields = append(fields, []byte(name), []byte(reported.Entries[name]))
	}
	return transcript(reportedPurpose, fields...)
}

// ShardTranscript is what a shard of a divided hub signs, with the key of the hub, to get a bundle from another shard.
func ShardTranscript(hub string, p ShardRequest) []byte {
	return transcript(shardPurpose, []byte(hub), []byte(p.Digest), p.Nonce, p.ShardNonce)
}

// ShardResponseTranscript is what the other shard signs in its answer, with the same key.
func ShardResponseTranscript(hub string, p ShardRequest, a ShardResponse) []byte {
	confidential := []byte{0}
	if a.Confidential {
		confidential[0] = 1
	}
	return transcript(shardResponsePurpose, []byte(hub), []byte(p.Digest), p.Nonce, p.ShardNonce, binary.BigEndian.AppendUint64(nil, uint64(a.Size)), confidential)
}

// Verify reports whether the signature over what a Transcript function returned is by the public key.
func Verify(key, transcript, signature []byte) bool {
	return len(key) == ed25519.PublicKeySize && len(signature) == ed25519.SignatureSize && ed25519.Verify(key, transcript, signature)
}

// HashToken is what the hub keeps of a token.
func HashToken(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// Fingerprint names a public key to people: "SHA256:" and base64, as ssh does.
func Fingerprint(key []byte) string {
	sum := sha256.Sum256(key)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}
