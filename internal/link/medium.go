package link

import "time"

// mediumPurpose begins what is signed of a file that is carried by medium.
const mediumPurpose = "skerry.dev/link/v1 medium"

// MediumTranscript is what the sender of a file signs of it: the label that anyone can read, and the message that
// says what the file holds.
func MediumTranscript(label, message []byte) []byte {
	return transcript(mediumPurpose, label, message)
}

// Paths of the gateway for those who carry files between the hub and an edge without a link. They serve who has a
// token that a user wrote down, by its hash, on the Cluster (v1alpha1.MediumTicketAnnotation): as a bearer token, with
// the Cluster in ClusterHeader. Nothing of a request's body is read before that. Answers but a file are one frame.
//
//	GET  /v1/medium/update  –     → a file, or MediumAnswer with status 409
//	POST /v1/medium/report  file  → MediumAnswer, with status 409 when the file is refused
const (
	MediumUpdatePath = "/v1/medium/update"
	MediumReportPath = "/v1/medium/report"
	// ClusterHeader holds "namespace/name".
	ClusterHeader = "Skerry-Cluster"
)

// MediumAnswer says what became of a file, or why there is none.
type MediumAnswer struct {
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
	// Made is by the edge's clock, Imported by the hub's; zero where the agent told of it over a link.
	Made, Imported time.Time
}
