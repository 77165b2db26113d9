package link

import "time"

// mediumPurpose begins what is signed of a file that is carried by medium.
const mediumPurpose = "skerry.dev/link/v1 medium"

// MediumTranscript is what the sender of a file signs of it: the label, which is not encrypted, and the message with
// the content of the file.
func MediumTranscript(label, message []byte) []byte {
	return transcript(mediumPurpose, label, message)
}

// Paths of the gateway for users who carry files between the hub and an edge without a link. A request has a bearer token
// whose hash a user wrote to the Cluster (v1alpha1.MediumTicketAnnotation), and the Cluster in ClusterHeader. The gateway
// reads nothing of its body before it has checked both. Every answer that is not a file is one frame.
//
//	GET  /v1/medium/update  –     → a file, or MediumResponse with status 409
//	POST /v1/medium/report  file  → MediumResponse, with status 409 when the file is refused
const (
	MediumUpdatePath = "/v1/medium/update"
	MediumReportPath = "/v1/medium/report"
	// ClusterHeader holds "namespace/name".
	ClusterHeader = "Skerry-Cluster"
)

// MediumResponse is the result of a file that was imported, or why one is refused or cannot be exported.
type MediumResponse struct {
	// Reason is one of the reasons of api/v1alpha1 when the file is refused.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Made is when a report that was taken was made, by the edge's clock.
	Made time.Time `json:"made,omitzero"`
	// Entries and Events are how many a report held.
	Entries int `json:"entries,omitempty"`
	Events  int `json:"events,omitempty"`
}

// Carried is the last report of an agent that came by medium. It is a value that can be compared.
type Carried struct {
	// Number is 0 where there was none.
	Number uint64
	// Made is by the edge's clock, Imported by the hub's; zero where the agent reported it over a link.
	Made, Imported time.Time
}
