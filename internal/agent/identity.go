package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-dev/skerry/internal/agent/disk"
	"github.com/skerry-dev/skerry/internal/link"
)

// agentName is what the agent calls itself on the edge: ServiceAccount, Deployment, Secret and Lease.
const agentName = "skerry-agent"

// Fields of the Secret that holds the identity.
const (
	keyField          = "key"          // seed of the ed25519 key that the hub knows; absent before it joined
	nextKeyField      = "next-key"     // seed of the one that is to join
	nextTokenField    = "next-token"   // hash of the token with which it is to join
	joinedTokenField  = "joined-token" // hash of the token with which key joined
	storageField      = "storage-key"  // secret of the key that records on the disk are sealed with
	uidField          = "cluster-uid"  // uid of kube-system on the cluster for which the key was made
	enrollmentField   = "enrollment"   // link.Enrollment as JSON with which key joined, without the token
	hubField          = "hub"          // link.HubIdentity as JSON, whose key is pinned
	signsField        = "hub-signs"    // "true" when the hub has signed frames of the stream
	finalizedField    = "finalized"    // the hub's request for finalization that was carried out for key
	acknowledgedField = "answered"     // when the hub has acknowledged that, by the edge's clock
)

// identity is what the agent is known by. It is kept in a Secret on the edge, and its keys never leave that
// cluster.
type identity struct {
	secret *corev1.Secret
}

func (i identity) field(name string) string { return string(i.secret.Data[name]) }

// key returns the private key that the hub knows; nil when the agent has not joined.
func (i identity) key() ed25519.PrivateKey { return privateKey(i.secret.Data[keyField]) }

// nextKey returns the private key that is to join; nil when there is none.
func (i identity) nextKey() ed25519.PrivateKey { return privateKey(i.secret.Data[nextKeyField]) }

func privateKey(seed []byte) ed25519.PrivateKey {
	if len(seed) != ed25519.SeedSize {
		return nil
	}
	return ed25519.NewKeyFromSeed(seed)
}

// hub returns the identity of the hub, whose key is pinned; zero before the agent has joined.
func (i identity) hub() link.HubIdentity {
	var h link.HubIdentity
	_ = json.Unmarshal(i.secret.Data[hubField], &h) // the zero value is that of an agent that has not joined
	return h
}

// acknowledgedAt is when the hub has acknowledged a finalization, and no later than now; zero for not.
func (i identity) acknowledgedAt(now time.Time) time.Time {
	at, err := time.Parse(time.RFC3339, i.field(acknowledgedField))
	switch {
	case err != nil:
		return time.Time{}
	case at.After(now): // the clock of the edge was set back
		return now
	}
	return at
}

func (i identity) storageKey() (*disk.Key, error) { return disk.NewKey(i.secret.Data[storageField]) }

func hashOf(token string) []byte {
	sum := link.HashToken(token)
	return []byte(hex.EncodeToString(sum[:]))
}

// enrolled returns the enrollment with which the key joined; false before that.
func (i identity) enrolled() (link.Enrollment, bool) {
	var e link.Enrollment
	err := json.Unmarshal(i.secret.Data[enrollmentField], &e)
	return e, err == nil && i.key() != nil && checkEnrollment(e) == nil
}

// mustJoinWith reports whether the agent is to join with an enrollment, and has not yet.
func (i identity) mustJoinWith(inv link.Enrollment) bool {
	return inv.Token != "" && !bytes.Equal(hashOf(inv.Token), i.secret.Data[joinedTokenField])
}

// identities keeps the identity in its Secret.
type identities struct {
	kube      kube
	namespace string
}

func (s identities) secrets() string { return "/api/v1/namespaces/" + s.namespace + "/secrets" }

// load reads the identity, and makes it at the first start.
func (s identities) load(ctx context.Context, clusterUID string) (identity, error) {
	for range 2 { // another process may make it in between
		secret := &corev1.Secret{}
		err := s.kube.get(ctx, s.secrets()+"/"+agentName, secret)
		if err == nil {
			return identity{secret}, nil
		}
		if !apierrors.IsNotFound(err) {
			return identity{}, fmt.Errorf("cannot read the Secret %s/%s: %w", s.namespace, agentName, err)
		}
		storage := make([]byte, disk.KeySize)
		if _, err := rand.Read(storage); err != nil {
			return identity{}, fmt.Errorf("cannot make a key: %w", err)
		}
		secret = &corev1.Secret{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"},
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: agentName, Labels: map[string]string{"app.kubernetes.io/name": agentName}},
			Type:       corev1.SecretTypeOpaque,
			Data:       map[string][]byte{storageField: storage, uidField: []byte(clusterUID)},
		}
		err = s.kube.create(ctx, s.secrets(), secret)
		if err == nil {
			return identity{secret}, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return identity{}, fmt.Errorf("cannot make the Secret %s/%s: %w", s.namespace, agentName, err)
		}
	}
	return identity{}, fmt.Errorf("the Secret %s/%s is made and deleted at the same time", s.namespace, agentName)
}

// change writes fields of the identity; an empty one is removed. A client that has changed the Secret since it was read, but
// not its data (a label for instance), does not keep the agent from it, and no more does a write of its own
// whose answer was lost. Where the Secret holds something else, the identity that is returned beside the error is what
// it holds now: the next try goes on from there.
func (s identities) change(ctx context.Context, i identity, fields map[string][]byte) (identity, error) {
	changed, err := s.write(ctx, i, fields)
	if !apierrors.IsConflict(err) {
		return changed, err
	}
	live := &corev1.Secret{}
	if failed := s.kube.get(ctx, s.secrets()+"/"+agentName, live); failed != nil {
		return i, errors.Join(err, failed)
	}
	switch {
	case maps.EqualFunc(live.Data, i.with(fields).Data, bytes.Equal):
		return identity{live}, nil
	case maps.EqualFunc(live.Data, i.secret.Data, bytes.Equal):
		return s.write(ctx, identity{live}, fields)
	}
	return identity{live}, err
}

// with returns the Secret with fields changed; an empty one is removed.
func (i identity) with(fields map[string][]byte) *corev1.Secret {
	secret := i.secret.DeepCopy()
	secret.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}
	for k, v := range fields {
		if len(v) == 0 {
			delete(secret.Data, k)
			continue
		}
		secret.Data[k] = v
	}
	return secret
}

func (s identities) write(ctx context.Context, i identity, fields map[string][]byte) (identity, error) {
	secret := i.with(fields)
	if err := s.kube.update(ctx, s.secrets()+"/"+agentName, secret); err != nil {
		return i, fmt.Errorf("cannot write the Secret %s/%s: %w", s.namespace, agentName, err)
	}
	return identity{secret}, nil
}

// prepareKey makes a key for an enrollment, and writes it down before the hub learns of it: an agent that dies after
// the hub has bound the key still has it. A key that was made for an earlier enrollment, and has not joined as far as
// the agent knows, is used again: the hub may have bound it, and the token of the new enrollment need not serve then. One that came with a
// copy of another cluster is not.
func (s identities) prepareKey(ctx context.Context, i identity, inv link.Enrollment, copied bool) (identity, error) {
	switch {
	case i.nextKey() == nil:
	case bytes.Equal(i.secret.Data[nextTokenField], hashOf(inv.Token)):
		return i, nil
	case !copied:
		return s.change(ctx, i, map[string][]byte{nextTokenField: hashOf(inv.Token)})
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return i, fmt.Errorf("cannot make a key: %w", err)
	}
	return s.change(ctx, i, map[string][]byte{nextKeyField: key.Seed(), nextTokenField: hashOf(inv.Token)})
}

// recordJoin makes the key that has joined the current one, and pins the hub. From then on the identity is one of the
// cluster with the uid, which may be a copy of that for which an earlier key was made.
func (s identities) recordJoin(ctx context.Context, i identity, inv link.Enrollment, hub link.HubIdentity, clusterUID string) (identity, error) {
	raw, err := json.Marshal(hub)
	if err != nil {
		return i, fmt.Errorf("cannot encode: %w", err)
	}
	token := inv.Token
	inv.Token = ""
	enrolled, err := json.Marshal(inv)
	if err != nil {
		return i, fmt.Errorf("cannot encode: %w", err)
	}
	return s.change(ctx, i, map[string][]byte{
		keyField: i.secret.Data[nextKeyField], nextKeyField: nil, nextTokenField: nil, joinedTokenField: hashOf(token),
		enrollmentField: enrolled, hubField: raw, uidField: []byte(clusterUID), signsField: nil, finalizedField: nil, acknowledgedField: nil,
	})
}

// recordHub records what has changed of the hub, whose key is the pinned one. signs is set when it signs frames: a hub that has
// done so once is believed less without.
func (s identities) recordHub(ctx context.Context, i identity, hub link.HubIdentity, signs bool) (identity, error) {
	raw, err := json.Marshal(hub)
	if err != nil {
		return i, fmt.Errorf("cannot encode: %w", err)
	}
	fields := map[string][]byte{}
	if !bytes.Equal(raw, i.secret.Data[hubField]) {
		fields[hubField] = raw
	}
	if signs && !i.hubSigns() {
		fields[signsField] = []byte("true")
	}
	if len(fields) == 0 {
		return i, nil
	}
	return s.change(ctx, i, fields)
}

// hubSigns reports whether the hub has signed frames.
func (i identity) hubSigns() bool { return i.field(signsField) == "true" }

// enrollment returns what the agent was installed with; false for none.
func (s identities) enrollment(ctx context.Context) (link.Enrollment, bool, error) {
	secret, e := &corev1.Secret{}, link.Enrollment{}
	err := s.kube.get(ctx, s.secrets()+"/"+link.EnrollmentSecret, secret)
	if apierrors.IsNotFound(err) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("cannot read the Secret %s/%s: %w", s.namespace, link.EnrollmentSecret, err)
	}
	err = json.Unmarshal(secret.Data[link.EnrollmentKey], &e)
	if err == nil {
		err = checkEnrollment(e)
	}
	if err != nil {
		return e, false, fmt.Errorf("the Secret %s/%s is damaged: %w; run \"skerry cluster join\" again", s.namespace, link.EnrollmentSecret, err)
	}
	return e, true, nil
}

// checkEnrollment returns what is wrong with an enrollment.
func checkEnrollment(e link.Enrollment) error {
	u, err := url.Parse(e.Gateway)
	namespace, cluster, found := strings.Cut(e.Cluster, "/")
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("the gateway %q is no URL that begins with https://", e.Gateway)
	case !found || namespace == "" || cluster == "":
		return fmt.Errorf("the cluster %q is not of the form namespace/name", e.Cluster)
	case e.HubID == "" || len(e.HubKey) != ed25519.PublicKeySize:
		return errors.New("the identity or the public key of the hub is missing")
	case e.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(e.CA)):
		return errors.New("the certificate authority is not in PEM format")
	}
	return nil
}
