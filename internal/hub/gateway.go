package hub

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
	"github.com/skerry-dev/skerry/internal/gateway"
	"github.com/skerry-dev/skerry/internal/hubapi"
	"github.com/skerry-dev/skerry/internal/link"
	"github.com/skerry-dev/skerry/internal/sharding"
	"github.com/skerry-dev/skerry/internal/sharding/holder"
)

const (
	// gatewaySecret holds, in the hub's namespace, the key that the hub signs with and the gateway's authority. Agents
	// pin both, so it belongs into a backup of the hub.
	gatewaySecret  = "skerry-gateway"
	signingKeyItem = "signing-key"
	caItem         = "ca.crt"
	caKeyItem      = "ca.key"
)

// gatewayIdentity is what agents identify a hub by: its signing key, and the CA of its gateway.
type gatewayIdentity struct {
	key       ed25519.PrivateKey
	ca, caKey []byte
}

// loadGatewayIdentity returns the identity of the gateway. The first hub, or shard of one, that starts makes it.
func loadGatewayIdentity(ctx context.Context, api client.Client, namespace string) (*gatewayIdentity, error) {
	secret := &corev1.Secret{}
	name := client.ObjectKey{Namespace: namespace, Name: gatewaySecret}
	err := api.Get(ctx, name, secret)
	if apierrors.IsNotFound(err) {
		if err = createGatewayIdentity(ctx, api, namespace); err == nil || apierrors.IsAlreadyExists(err) {
			err = api.Get(ctx, name, secret)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot get the Secret %s, by which agents know the hub; \"skerry install\" brings the right to make it: %w", name, err)
	}
	seed := secret.Data[signingKeyItem]
	if len(seed) != ed25519.SeedSize || len(secret.Data[caItem]) == 0 || len(secret.Data[caKeyItem]) == 0 {
		return nil, fmt.Errorf("the Secret %s is damaged: restore it, or delete it and let all agents join again", name)
	}
	return &gatewayIdentity{key: ed25519.NewKeyFromSeed(seed), ca: secret.Data[caItem], caKey: secret.Data[caKeyItem]}, nil
}

func createGatewayIdentity(ctx context.Context, api client.Client, namespace string) error {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	ca, caKey, err := gateway.NewCA()
	if err != nil {
		return err
	}
	immutable := true
	return api.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: gatewaySecret},
		Immutable:  &immutable,
		Data:       map[string][]byte{signingKeyItem: seed, caItem: ca, caKeyItem: caKey},
	})
}

// writeGatewayConfigMap writes how agents reach the hub and what they pin, for "skerry cluster join".
func writeGatewayConfigMap(ctx context.Context, api client.Client, namespace string, data map[string]string) error {
	name := client.ObjectKey{Namespace: namespace, Name: v1alpha1.GatewayConfigMap}
	live := &corev1.ConfigMap{}
	err := api.Get(ctx, name, live)
	switch {
	case apierrors.IsNotFound(err):
		err = api.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name.Namespace, Name: name.Name}, Data: data})
	case err == nil && !maps.Equal(live.Data, data):
		live.Data = data
		err = api.Update(ctx, live)
	}
	if err != nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) { // another replica writes the same
		return fmt.Errorf("cannot write the ConfigMap %s; \"skerry install\" brings the right to: %w", name, err)
	}
	return nil
}

// makeGateway makes the gateway, which begins to listen with the controllers.
func (p *parts) makeGateway(ctx context.Context, o Options, api client.Client, hubUID string) error {
	identity, off := &gatewayIdentity{}, gatewayDisabledReason(p.shard)
	if o.GatewayAddress != "" {
		var err error
		if identity, err = loadGatewayIdentity(ctx, api, o.LeaderNamespace); err != nil {
			return err
		}
		off = ""
	} else { // no agent verifies what it signs
		_, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return fmt.Errorf("cannot make a key: %w", err)
		}
		identity.key = key
	}
	known, err := p.hubIdentity(o, identity, hubUID)
	if err != nil {
		return err
	}
	hub := hubapi.Hub{Client: p.mgr.GetClient(), Await: p.outage.await}
	var stored engine.Bundles
	if p.shard.Index == 1 {
		stored = p.bundles
	}
	p.gateway, err = gateway.New(gateway.Options{
		Hub: known, Key: identity.key, Bundles: p.content, Stored: stored,
		Cluster: func(ctx context.Context, key engine.Key) (*v1alpha1.Cluster, error) {
			c := &v1alpha1.Cluster{}
			err := hub.Get(ctx, key, c)
			if apierrors.IsNotFound(err) {
				err = fs.ErrNotExist
			}
			return c, err
		},
		Assignment:  assignmentReader(p.reader),
		Bind:        bindAgent(hub),
		Exported:    recordExport(hub),
		BetterClaim: holder.BetterClaim(ctx, p.reader, time.Now), DisabledReason: off, Now: time.Now, Log: o.Log.WithName("gateway"),
		OnChange: p.changed, OnEvent: p.recordEvents(ctx),
	})
	if err != nil || o.GatewayAddress == "" {
		return err
	}
	return p.listen(ctx, o, api, identity, known.Key)
}

// gatewayDisabledReason is the message on Clusters with an agent when the hub has no gateway.
func gatewayDisabledReason(shard sharding.Shard) string {
	if shard.Count > 1 {
		return fmt.Sprintf("Shard %s of the hub has this Cluster and no gateway: it runs without --gateway-bind-address, which each shard needs", shard)
	}
	return "The hub has no gateway: it runs without --gateway-bind-address"
}

// assignmentReader returns a function that reads an Assignment, which must not be changed; nil when there is none.
func assignmentReader(reader client.Reader) func(context.Context, engine.Key) (*v1alpha1.Assignment, error) {
	return func(ctx context.Context, key engine.Key) (*v1alpha1.Assignment, error) {
		a := &v1alpha1.Assignment{}
		err := reader.Get(ctx, key, a, client.UnsafeDisableDeepCopy)
		switch {
		case apierrors.IsNotFound(err):
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("cannot read the Assignment of Cluster %s: %w", key, err)
		}
		return a, nil
	}
}

// listen adds the gateway's listener to the manager: only the hub that leads answers agents.
func (p *parts) listen(ctx context.Context, o Options, api client.Client, identity *gatewayIdentity, public []byte) error {
	serve := gateway.ServeOptions{Address: o.GatewayAddress, Listening: o.GatewayListening}
	published := map[string]string{"hubID": p.hubID, "hubKey": link.EncodeKey(public), "url": o.GatewayURL, "version": o.Version}
	if image := agentImage(o.Version, o.AgentImage); image != "" {
		published["agentImage"] = image
	}
	given, err := o.gatewayCertificates(&serve, identity)
	if err != nil {
		return err
	}
	switch {
	case given != nil:
		if err := p.mgr.Add(given); err != nil {
			return err
		}
	case serve.OwnCertificate != nil:
		published["ca.crt"] = string(identity.ca)
	}
	if p.shard.Index == 1 { // the address is that of all shards
		if err := writeGatewayConfigMap(ctx, api, o.LeaderNamespace, published); err != nil {
			return err
		}
	}
	log := o.Log.WithName("gateway")
	serve.Ready = func(ctx context.Context) { p.awaitHandover(ctx, log) }
	return p.mgr.Add(manager.RunnableFunc(func(ctx context.Context) error { return p.gateway.Serve(ctx, serve) }))
}

// gatewayCertificates sets the certificates that the gateway serves. Beside one of --gateway-cert-file, which the watcher
// reads again when it changes, it goes on serving its own to the agents that have pinned the hub's CA.
func (o *Options) gatewayCertificates(serve *gateway.ServeOptions, identity *gatewayIdentity) (given *certwatcher.CertWatcher, err error) {
	if o.GatewayPlainHTTP {
		return nil, nil
	}
	if serve.OwnCertificate, err = gateway.ServerCertificate(identity.ca, identity.caKey); err != nil {
		return nil, err
	}
	if o.GatewayCertFile == "" {
		return nil, nil
	}
	if given, err = certwatcher.New(o.GatewayCertFile, o.GatewayKeyFile); err != nil {
		return nil, fmt.Errorf("cannot read --gateway-cert-file: %w", err)
	}
	serve.Certificate = func() (*tls.Certificate, error) { return given.GetCertificate(nil) }
	return given, nil
}

// bindAgent returns a function that binds an agent's key to a Cluster if the Cluster still has the token of the join.
func bindAgent(hub hubapi.Hub) func(context.Context, *v1alpha1.Cluster, string, string) error {
	return func(ctx context.Context, c *v1alpha1.Cluster, publicKey, clusterUID string) error {
		data, err := json.Marshal([]map[string]any{
			{"op": "test", "path": "/metadata/uid", "value": c.UID},
			{"op": "test", "path": "/spec/agent/join/tokenHash", "value": c.Spec.Agent.Join.TokenHash},
			{"op": "add", "path": "/spec/agent/publicKey", "value": publicKey},
			{"op": "add", "path": "/spec/agent/clusterUID", "value": clusterUID},
			{"op": "remove", "path": "/spec/agent/join"},
		})
		if err != nil {
			return fmt.Errorf("cannot encode the key: %w", err)
		}
		if err := hub.Patch(ctx, c, client.RawPatch(types.JSONPatchType, data)); err != nil {
			return fmt.Errorf("cannot write the key of an agent: %w", err)
		}
		return nil
	}
}

// recordExport returns a function that writes the time of an export to a Cluster.
func recordExport(hub hubapi.Hub) func(context.Context, *v1alpha1.Cluster, time.Time) error {
	return func(ctx context.Context, c *v1alpha1.Cluster, at time.Time) error {
		data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": c.UID, "annotations": map[string]string{
			v1alpha1.MediumExportedAnnotation: at.UTC().Format(time.RFC3339Nano),
		}}})
		if err != nil {
			return fmt.Errorf("cannot encode the time of an export: %w", err)
		}
		if err := hub.Patch(ctx, c, client.RawPatch(types.MergePatchType, data)); err != nil {
			return fmt.Errorf("cannot write down the time of an export: %w", err)
		}
		return nil
	}
}

// changed enqueues a Cluster whose state or report has changed in its controllers.
func (p *parts) changed(key engine.Key) {
	p.assignments.Changed(key)
	p.clusters.Changed(key)
}

// engineChanged is changed for a cluster that the hub reaches itself.
func (p *parts) engineChanged(key engine.Key) {
	p.assignments.Reported(key)
	p.clusters.Changed(key)
}

func isGatewayURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// bundlesOf returns the bundles of this shard: those of its own store, and where it does not render, of the shard that does.
func (p *parts) bundlesOf(ctx context.Context, o Options, api client.Client, hubUID string) (engine.Bundles, error) {
	if o.BundlesFrom == "" {
		return p.bundles, nil
	}
	identity, err := loadGatewayIdentity(ctx, api, o.LeaderNamespace)
	if err != nil {
		return nil, err
	}
	hub, err := p.hubIdentity(o, identity, hubUID)
	if err != nil {
		return nil, err
	}
	return gateway.NewRemoteBundles(gateway.RemoteBundlesOptions{URL: o.BundlesFrom, CA: identity.ca, Hub: hub, Key: identity.key, Store: p.bundles, Proxy: http.ProxyFromEnvironment})
}

// hubIdentity returns the identity that agents and other shards verify this hub by.
func (p *parts) hubIdentity(o Options, identity *gatewayIdentity, hubUID string) (link.HubIdentity, error) {
	public, ok := identity.key.Public().(ed25519.PublicKey)
	if !ok {
		return link.HubIdentity{}, errors.New("the gateway's key is not ed25519")
	}
	return link.HubIdentity{ID: p.hubID, UID: hubUID, Namespace: o.LeaderNamespace, Version: o.Version, Key: public}, nil
}

func (o *Options) checkGateway() error {
	if o.GatewayURL != "" && !isGatewayURL(o.GatewayURL) {
		return errors.New("--gateway-url must be https://host[:port][/path], without credentials")
	}
	if p := imageName.FindStringSubmatch(o.AgentImage); o.AgentImage != "" && (p == nil || p[2]+p[3] == "") {
		return errors.New("--agent-image must be the whole name of an image, with a tag or a digest")
	}
	switch {
	case (o.GatewayCertFile == "") != (o.GatewayKeyFile == ""):
		return errors.New("--gateway-cert-file and --gateway-key-file go together")
	case o.GatewayPlainHTTP && o.GatewayCertFile != "":
		return errors.New("--gateway-plain-http serves no certificate: leave out --gateway-cert-file")
	}
	return nil
}
