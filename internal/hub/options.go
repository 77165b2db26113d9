// Package hub puts the hub together: the manager of its own API server, the stores on its disk, the
// engines of its clusters, and the controllers between them.
package hub

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/fence"
	"github.com/skerry-dev/skerry/internal/git"
	"github.com/skerry-dev/skerry/internal/sharding"
)

// Options say how a hub runs.
type Options struct {
	// Kubeconfig is the file by which the hub reaches its own API server; empty in a Pod.
	Kubeconfig string
	// Config is used in place of Kubeconfig when it is set.
	Config *rest.Config
	// StoragePath is the folder for repositories and bundles. It is a cache: it may be lost.
	StoragePath string
	// RenderCommand starts this program as a process that renders (isolate.Main); when empty, everything is
	// rendered in the hub's own process.
	RenderCommand []string
	// MetricsAddress and HealthAddress are "host:port", or "0" for none.
	MetricsAddress, HealthAddress string
	// Registry takes the hub's own metrics; nil for none. What MetricsAddress serves is controller-runtime's
	// Registry, which is one for the process, so that only one hub of a process can have its metrics there.
	Registry prometheus.Registerer
	// PprofAddress is "host:port" for the profiles of the hub, a hidden flag; "" for none.
	PprofAddress string
	// GatewayAddress is "host:port" of the gateway that agents dial; "" for none. GatewayURL is how they reach it, as it
	// is written into what they are installed with.
	GatewayAddress, GatewayURL string
	// GatewayCertFile and GatewayKeyFile are what the gateway shows, beside a certificate of its own authority to agents
	// that have pinned that;
	// GatewayPlainHTTP serves without TLS, to an ingress that terminates it.
	GatewayCertFile, GatewayKeyFile string
	GatewayPlainHTTP                bool
	// AgentImage is the whole name of the image at which the hub keeps agents; "" for the released one of its version.
	AgentImage string
	// GatewayListening is called with the gateway's address; nil for no call.
	GatewayListening func(net.Addr)
	// ReceiverAddress is "host:port" at which webhooks are answered; "" for none. ReceiverListening is told the
	// address; nil for no one.
	ReceiverAddress   string
	ReceiverListening func(net.Addr)
	// ReceiverOIDCIssuers are those whose tokens Receivers may accept, beside the public ones. The hub asks them
	// for their keys, wherever they are.
	ReceiverOIDCIssuers []string
	// LeaderElect lets one hub work at a time, by a Lease in LeaderNamespace.
	LeaderElect     bool
	LeaderNamespace string
	// LeaseDuration is how long a lease keeps other hubs away. A leader goes on for that long, less
	// fence.Margin, without its API server; when it is killed, another one waits as long.
	LeaseDuration time.Duration
	// Shard is the one that this hub works on, "k/n".
	Shard string
	// BundlesFrom is the URL of the gateway of shard 1, from which another shard gets bundles; empty where all shards have
	// one StoragePath.
	BundlesFrom string
	// Concurrency bounds the reconciles of one kind at a time.
	Concurrency int
	// NoCrossNamespaceRefs refuses references between namespaces, but for those to a GitRepository or Cluster
	// whose accessFrom admits them.
	NoCrossNamespaceRefs bool
	// DefaultServiceAccount is the ServiceAccount in whose name a Kustomization outside the hub's namespace is applied
	// that names none; empty for none. RequireServiceAccount refuses such a Kustomization where there is none, on the
	// hub's own cluster and on Clusters of other namespaces.
	DefaultServiceAccount string
	RequireServiceAccount bool
	// GitMaxFetchSize and GitMaxFileSize bound one fetch on the wire, and one file in it, in bytes. What a
	// repository has beyond what is rendered counts for neither memory nor time, but it has to be fetched.
	GitMaxFetchSize, GitMaxFileSize resource.Quantity
	// GitMaxFiles bounds the files and folders that a commit may have, and the objects of one fetch.
	GitMaxFiles int
	// DecryptionSecret names a Secret in LeaderNamespace whose age and PGP keys serve every Kustomization that
	// asks for decryption and names no Secret; empty for none.
	DecryptionSecret string
	// SOPSCommand opens files that SOPS encrypted; skerry-sops beside the hub's own program when nil.
	SOPSCommand []string
	// Version is that of the program, as the hub calls itself.
	Version string
	// HubID is the identity of the hub in owner labels; the uid of kube-system when empty.
	HubID string
	// StartTimeout is how long a hub that starts waits for its API server, and for the kinds of skerry.dev
	// to be installed there.
	StartTimeout time.Duration
	// LogLevel is debug, info, warn or error; it counts where Log is not set.
	LogLevel string
	// Log is where the hub logs to.
	Log logr.Logger
}

// Defaults returns the default options.
func Defaults() Options {
	return Options{
		StoragePath:     "/data",
		MetricsAddress:  ":8080",
		HealthAddress:   ":8081",
		LeaderNamespace: v1alpha1.SystemNamespace,
		LeaseDuration:   45 * time.Second,
		Shard:           sharding.Whole.String(),
		Concurrency:     8,
		GitMaxFetchSize: resource.MustParse("2Gi"),
		GitMaxFileSize:  resource.MustParse("128Mi"),
		GitMaxFiles:     500_000,
		StartTimeout:    time.Minute,
		LogLevel:        "info",
	}
}

// addFlags lets the command line set the options; what they are now is the default.
func (o *Options) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "file that says how to reach the hub's own cluster (default: that of the Pod)")
	f.StringVar(&o.StoragePath, "storage-path", o.StoragePath, "folder for repositories and rendered bundles; a cache that may be lost; one for all shards, but for those with --bundles-from")
	f.StringVar(&o.MetricsAddress, "metrics-bind-address", o.MetricsAddress, "address of /metrics; 0 for none")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", o.HealthAddress, "address of /healthz and /readyz; 0 for none")
	f.StringVar(&o.GatewayAddress, "gateway-bind-address", o.GatewayAddress, "address of the gateway that agents of edge clusters dial (default: none)")
	f.StringVar(&o.GatewayURL, "gateway-url", o.GatewayURL, "https URL at which agents reach the gateway; \"skerry cluster join --agent\" uses it")
	f.StringVar(&o.GatewayCertFile, "gateway-cert-file", o.GatewayCertFile, "certificate of the gateway, read again when it changes; agents that have pinned the hub's own authority go on being shown one of that (default: that alone)")
	f.StringVar(&o.GatewayKeyFile, "gateway-key-file", o.GatewayKeyFile, "key of --gateway-cert-file")
	f.BoolVar(&o.GatewayPlainHTTP, "gateway-plain-http", o.GatewayPlainHTTP, "serve the gateway without TLS, to an ingress in front of it that terminates TLS")
	f.StringVar(&o.AgentImage, "agent-image", o.AgentImage, "whole name of the image at which the hub keeps agents (default: the released one of the hub's version; of a hub that is no release, agents stay as they are)")
	f.StringVar(&o.ReceiverAddress, "receiver-bind-address", o.ReceiverAddress, "address at which webhooks for Receivers are answered, by HTTP (default: none)")
	f.StringSliceVar(&o.ReceiverOIDCIssuers, "receiver-oidc-issuers", o.ReceiverOIDCIssuers, "URLs of OIDC issuers whose tokens Receivers may accept, beside those of GitHub Actions, GitLab.com and Google; the hub fetches their keys, from a private network too")
	f.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect, "work only while holding the lease, so that several hubs may run")
	f.StringVar(&o.LeaderNamespace, "leader-election-namespace", o.LeaderNamespace, "namespace of the lease")
	f.DurationVar(&o.LeaseDuration, "leader-election-lease-duration", o.LeaseDuration, "how long the lease lasts: for 5s less, drift is corrected while the hub's API server is away; for so long, another hub waits when this one is killed; the same for all shards")
	f.StringVar(&o.Shard, "shard", o.Shard, "k/n: work on the clusters of shard k of n; needs --leader-elect, and one --storage-path for all shards or --bundles-from")
	f.StringVar(&o.BundlesFrom, "bundles-from", o.BundlesFrom, "https URL of the gateway of shard 1, from which this shard gets rendered bundles; its --storage-path is its own then")
	f.IntVar(&o.Concurrency, "concurrency", o.Concurrency, "reconciles of one kind at a time")
	f.BoolVar(&o.NoCrossNamespaceRefs, "no-cross-namespace-refs", o.NoCrossNamespaceRefs, "refuse references to objects of other namespaces, but for a GitRepository or Cluster whose spec.accessFrom admits the namespace")
	f.StringVar(&o.DefaultServiceAccount, "default-service-account", o.DefaultServiceAccount, "ServiceAccount, of a Kustomization's namespace, in whose name it is applied where spec.serviceAccountName is not set; not for the hub's namespace (default: none)")
	f.BoolVar(&o.RequireServiceAccount, "require-service-account", o.RequireServiceAccount, "refuse Kustomizations without a ServiceAccount on the hub's own cluster and on Clusters of other namespaces, but for those of the hub's namespace")
	f.Var((*quantity)(&o.GitMaxFetchSize), "git-max-fetch-size", "bytes that one fetch of a repository may take on the wire")
	f.Var((*quantity)(&o.GitMaxFileSize), "git-max-file-size", "bytes that one file of a repository may have, rendered or not; the hub needs memory for four times that")
	f.IntVar(&o.GitMaxFiles, "git-max-files", o.GitMaxFiles, "files and folders that a commit of a repository may have, rendered or not")
	f.StringVar(&o.DecryptionSecret, "decryption-secret", o.DecryptionSecret, "Secret in the hub's namespace whose age and PGP keys decrypt for every Kustomization that has spec.decryption without a secretRef (default: none)")
	f.StringVar(&o.HubID, "hub-id", o.HubID, "identity of the hub on its clusters (default: uid of the namespace kube-system)")
	f.StringVar(&o.LogLevel, "log-level", o.LogLevel, "debug, info, warn or error")
	f.StringVar(&o.PprofAddress, "pprof-bind-address", o.PprofAddress, "address of /debug/pprof")
	_ = f.MarkHidden("pprof-bind-address") // for those who work on the hub; it fails for an unknown flag only
}

// shard returns the shard; an empty one is the whole fleet.
func (o *Options) shard() (sharding.Shard, error) {
	if o.Shard == "" {
		return sharding.Whole, nil
	}
	return sharding.Parse(o.Shard)
}

func (o *Options) check() error {
	s, err := o.shard()
	switch {
	case err != nil:
		return fmt.Errorf("--shard: %w", err)
	case o.BundlesFrom != "" && s.Index == 1:
		return errors.New("--bundles-from is for the other shards of a divided hub (--shard): shard 1 renders")
	case o.BundlesFrom != "" && !isGatewayURL(o.BundlesFrom):
		return errors.New("--bundles-from must be https://host[:port][/path], without credentials")
	case s.Count > 1 && !o.LeaderElect:
		return errors.New("--shard needs --leader-elect: by their leases shards know who works on what")
	case o.LeaderElect && o.LeaseDuration < 2*fence.Margin:
		return fmt.Errorf("--leader-election-lease-duration must be at least %s", 2*fence.Margin)
	case o.StoragePath == "":
		return errors.New("--storage-path must not be empty")
	case o.DefaultServiceAccount != "" && len(validation.NameIsDNSSubdomain(o.DefaultServiceAccount, false)) > 0:
		return fmt.Errorf("--default-service-account: %q is no name of a ServiceAccount; it is looked for in the namespace of each Kustomization", o.DefaultServiceAccount)
	case o.Concurrency < 1:
		return errors.New("--concurrency must be at least 1")
	case o.GitMaxFetchSize.Sign() < 0, o.GitMaxFileSize.Sign() < 0, o.GitMaxFiles < 0:
		return errors.New("--git-max-fetch-size, --git-max-file-size and --git-max-files must not be negative")
	}
	return o.checkGateway()
}

// gitLimits bound what a repository may cost; what is zero has the default of the store.
func (o *Options) gitLimits() git.Limits {
	return git.Limits{
		Cache: gitCache, Pack: o.GitMaxFetchSize.Value(), Object: o.GitMaxFileSize.Value(),
		Files: o.GitMaxFiles, Objects: int64(o.GitMaxFiles),
	}
}

// quantity is a flag in the form of Kubernetes' quantities: 512Mi.
type quantity resource.Quantity

func (q *quantity) String() string { return (*resource.Quantity)(q).String() }
func (q *quantity) Type() string   { return "quantity" }

func (q *quantity) Set(text string) error {
	parsed, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("%q is no quantity like 512Mi", text)
	}
	*q = quantity(parsed)
	return nil
}

// config returns the connection to the hub's own API server. There is no limit on the client's side:
// the server has its own, and knows better.
func (o *Options) config() (*rest.Config, error) {
	cfg := o.Config
	var err error
	switch {
	case cfg != nil:
		cfg = rest.CopyConfig(cfg)
	case o.Kubeconfig != "":
		cfg, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	default:
		cfg, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the hub's own cluster: %w", err)
	}
	cfg.QPS = -1
	return cfg, nil
}
