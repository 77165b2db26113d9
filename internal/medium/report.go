package medium

import (
	"bufio"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/link"
)

// Report is what an agent tells its hub.
type Report struct {
	// Number rises with each report of an agent: an older one is refused after a newer one.
	Number uint64 `json:"number"`
	// Version is that of the agent, ClusterUID the uid of kube-system on its cluster.
	Version    string `json:"version,omitempty"`
	ClusterUID string `json:"clusterUID"`
	// Up holds everything that the agent would report over a link.
	Up link.Up `json:"up"`
}

// WriteReport writes a report of an agent for its hub.
func WriteReport(to io.Writer, l Label, r Report, agentKey ed25519.PrivateKey, hubKey []byte) error {
	message, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("cannot encode the report: %w", err)
	}
	l.Kind = KindReport
	s, err := seal(to, l, hubKey, message, agentKey)
	if err != nil {
		return err
	}
	return s.write(nil, true)
}

// ReadReport reads a report of an agent, whose public key is that of the Cluster.
func ReadReport(from io.Reader, hub string, hubKey ed25519.PrivateKey, cluster string, agentKey []byte) (Label, Report, error) {
	var r Report
	in := bufio.NewReader(from)
	l, line, err := ReadLabel(in)
	if err != nil {
		return l, r, err
	}
	public, ok := hubKey.Public().(ed25519.PublicKey)
	if !ok {
		return l, r, errors.New("the hub has no key")
	}
	if err := l.check(KindReport, hub, cluster, public); err != nil {
		return l, r, err
	}
	o, message, err := open(in, line, hubKey, agentKey)
	if err != nil {
		return l, r, err
	}
	if _, err := o.read(); err != nil || !o.ended {
		return l, r, damaged()
	}
	switch err := link.Decode(message, &r); {
	case errors.Is(err, link.ErrTooManyValues): // the agent may have been taken over
		return l, r, refused(v1alpha1.MediumUnsupportedReason, "the report has more values than the hub takes, %d", link.MaxValues)
	case err != nil:
		return l, r, refused(v1alpha1.MediumUnsupportedReason, "the report cannot be read, though it is whole: upgrade the hub, or the agent")
	}
	return l, r, nil
}
