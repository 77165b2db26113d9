// Package link is the protocol between the hub's gateway and the agents of edge clusters. It is pure: messages,
// their framing, what is signed, and what differs between two states. The gateway and the agent put HTTP around it.
//
// An agent dials out, over HTTPS, to these paths:
//
//	POST /v1/challenge  ChallengeRequest  → ChallengeResponse  a nonce, for one proof
//	POST /v1/join       JoinRequest       → JoinResponse       binds the agent's public key, once, with a token
//	POST /v1/session    SessionRequest    → SessionResponse    proves the key; a bearer token for the rest
//	POST /v1/stream     Hello             → frames of Down     lives as long as the connection does
//	POST /v1/report     Up, signature     → UpResponse         what changed since the last answer; empty: alive
//	GET  /v1/bundles/D  –                 → Manifest           of a bundle that the Assignment names
//	POST /v1/objects    Wanted            → frames of chunks   objects of that bundle
//	POST /v1/part       ShardRequest      → ShardResponse, frames of the bundle, to another shard of the same hub
//
// Every request body, and every answer but those of stream and objects, is one frame (EncodeFrame); the report of an
// agent that signs is two (EncodeUp). The status of an answer is 200, or 401 to every request that is not authenticated, or
// 429 or 503 with Retry-After, or 404 for a digest that the Assignment does not name. The bodies of the latter are empty.
//
// It promises: what an agent takes for its Assignment or for the content of a bundle was signed by its hub for its
// Cluster; a proof serves one request of one purpose at one hub; after a reconnect only what differs travels, in
// both directions; a receiver ignores fields it does not know, so that versions may differ.
package link

import "time"

// Version of the protocol. The answer to a peer that knows only another one holds the versions of this side.
const Version = 1

// Paths of the gateway.
const (
	ChallengePath = "/v1/challenge"
	JoinPath      = "/v1/join"
	SessionPath   = "/v1/session"
	StreamPath    = "/v1/stream"
	ReportPath    = "/v1/report"
	BundlesPath   = "/v1/bundles/" // and the digest
	ObjectsPath   = "/v1/objects"
	ShardPath     = "/v1/part"
)

// ContentType of every body.
const ContentType = "application/vnd.skerry.link"

// Limits of one message, in bytes after decompression. A peer that sends more is disconnected.
const (
	// MaxProof bounds the requests for a challenge, a join and a session, which are read before the sender has proven anything.
	MaxProof = 64 << 10
	// MaxMessage bounds everything else.
	MaxMessage = 8 << 20
	// MaxValues bounds the objects, lists and elements of a message, before it is decoded. The largest Assignment that
	// fits an API server has half as many.
	MaxValues = 100_000
	// MaxChunk bounds the part of an object in one frame.
	MaxChunk = 64 << 10
)

// Times that hold where SessionResponse.Settings give no others.
const (
	// DefaultKeepAlive is how often the gateway sends a frame on a stream that is idle. Together with
	// DefaultHeartbeat an idle edge costs about 9.9 MB a month: 140 bytes a ping with TCP, its acknowledgement and TLS,
	// 450 bytes a heartbeat. TCP's own keepalive, every 15 s by Go's default, would cost 18 MB, so both ends turn it
	// off, and so do they with HTTP/2's pings.
	DefaultKeepAlive = time.Minute
	// DefaultHeartbeat is how often an agent that has nothing to report sends an empty Up.
	DefaultHeartbeat = 5 * time.Minute
	// SilentAfter is how many intervals a peer may be silent before it counts as gone; for the agent those of
	// KeepAlive, for the gateway those of Heartbeat.
	SilentAfter = 2.5
)
