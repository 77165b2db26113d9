package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/engine"
)

// Options are how an agent runs.
type Options struct {
	// Kubeconfig is the file by which the agent reaches its own API server; empty in a Pod.
	Kubeconfig string
	// Config is used in place of Kubeconfig when it is set.
	Config *rest.Config
	// Dial opens the connections to the gateway, in place of the network and of the proxy that the environment names,
	// when it is set.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Namespace is where the agent has its Secrets and its Lease.
	Namespace string
	// Namespaces are those that the agent's account reaches; all when empty.
	Namespaces []string
	// StoragePath is the folder of the agent's disk. It may be lost.
	StoragePath string
	// ImportPath is a folder in which updates are looked for that were carried there; empty for none.
	ImportPath string
	// HealthAddress is "host:port" of /healthz and /readyz, or "0" for none.
	HealthAddress string
	// Holder names this agent in the lease; its Pod, or its machine and folder, when empty. A container that is
	// started again in its Pod has the lease at once.
	Holder string
	// KeepInstallation leaves Deployment, account and Secrets of the agent, when the hub has removed the Cluster.
	KeepInstallation bool
	// NewPool makes what works on the cluster; the engine's pool when nil.
	NewPool func(engine.PoolOptions) engine.Pooled
	// Version is that of the program.
	Version string
	// LogLevel is debug, info, warn or error; it counts where Log is not set.
	LogLevel string
	Log      logr.Logger
}

// Defaults returns the options that hold where nothing is set.
func Defaults() Options {
	return Options{Namespace: v1alpha1.SystemNamespace, StoragePath: "/data", HealthAddress: ":8081", LogLevel: "info"}
}

func (o *Options) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "file that names the agent's own cluster (default: that of the Pod)")
	f.StringVar(&o.StoragePath, "storage-path", o.StoragePath, "folder for what the agent needs while it is cut off; it may be lost")
	f.StringVar(&o.ImportPath, "import-path", o.ImportPath, "folder, of a medium say, in which files of \"skerry bundle export\" are looked for")
	f.StringVar(&o.Namespace, "namespace", o.Namespace, "namespace of the agent's Secrets and Lease")
	f.StringSliceVar(&o.Namespaces, "namespaces", o.Namespaces, "namespaces that the agent's account reaches, where it reaches no others: objects outside are refused (default: all of the cluster)")
	f.StringVar(&o.HealthAddress, "health-probe-bind-address", o.HealthAddress, "address of /healthz and /readyz; 0 for none")
	f.StringVar(&o.LogLevel, "log-level", o.LogLevel, "debug, info, warn or error")
}

func (o *Options) check() error {
	switch {
	case o.StoragePath == "":
		return errors.New("--storage-path must not be empty")
	case o.Namespace == "":
		return errors.New("--namespace must not be empty")
	}
	return nil
}

// config returns the connection to the agent's own API server.
func (o *Options) config() (*rest.Config, error) {
	cfg, err := o.Config, error(nil)
	switch {
	case cfg != nil:
		cfg = rest.CopyConfig(cfg)
	case o.Kubeconfig != "":
		cfg, err = clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	default:
		cfg, err = rest.InClusterConfig()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach the agent's own cluster: %w", err)
	}
	cfg.QPS, cfg.UserAgent = -1, "skerry-agent/"+o.Version
	return cfg, nil
}

// newPool returns what makes the pool of the engine.
func (o *Options) newPool() func(engine.PoolOptions) engine.Pooled {
	if o.NewPool != nil {
		return o.NewPool
	}
	return func(po engine.PoolOptions) engine.Pooled { return engine.NewPool(po) }
}

// holder is the name under which the agent holds its lease.
func (o *Options) holder() string {
	if o.Holder != "" {
		return o.Holder
	}
	if uid := os.Getenv("POD_UID"); uid != "" {
		return uid
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + ":" + o.StoragePath
}
