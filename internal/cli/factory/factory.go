// Package factory holds what the commands share: the streams, the clock, the global flags, the lazy
// way to the hub's API server, and the errors that become exit codes.
//
// Its fields are functions, so that a command that needs no cluster asks for none, and a test puts
// its own in place.
package factory

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// Flags are the global ones.
type Flags struct {
	// Config holds those that lead to the hub's API server, as kubectl has them; nil: its defaults.
	Config    *genericclioptions.ConfigFlags
	Namespace string
	// NamespaceFollows takes the namespace of the context when none is given.
	NamespaceFollows bool
	// Timeout is 0 when the command's own default is to hold.
	Timeout time.Duration
}

// Factory is handed to every command.
type Factory struct {
	IO      *iostreams.IOStreams
	Version string
	// Plugin means that kubectl runs the program: commands are named "kubectl skerry …".
	Plugin bool
	Now    func() time.Time
	Getenv func(string) string
	// ReadFile reads a file named on the command line.
	ReadFile func(string) ([]byte, error)
	Flags    *Flags
	// SOPSCommand opens files that SOPS encrypted; skerry-sops beside this program, or else in PATH, when nil.
	SOPSCommand []string
	// Hub connects to the hub's cluster, the same connection at each call.
	Hub func() (*Hub, error)
	// Edge connects to a cluster of the hub.
	Edge func(context.Context, *Hub, *v1alpha1.Cluster) (*Edge, error)
}

// Hub is the API server that holds the kinds of skerry.dev. Other clusters have other types.
type Hub struct {
	client.WithWatch
	Config *rest.Config
}

// New returns the factory of a process.
func New(version string, getenv func(string) string) *Factory {
	f := &Factory{
		IO: iostreams.System(getenv), Version: version, Now: time.Now, Getenv: getenv,
		ReadFile: os.ReadFile, Flags: &Flags{},
	}
	f.Edge = f.connectEdge
	var hub *Hub
	f.Hub = func() (*Hub, error) {
		if hub != nil {
			return hub, nil
		}
		cfg, err := f.HubConfig()
		if err != nil {
			return nil, err
		}
		c, err := f.Connect(cfg)
		if err != nil {
			return nil, err
		}
		hub = &Hub{WithWatch: c, Config: cfg}
		return hub, nil
	}
	return f
}

// HubConfig returns the connection to the hub's API server, which it does not ask.
func (f *Factory) HubConfig() (*rest.Config, error) {
	cfg, err := f.Connection().ToRESTConfig()
	if err != nil {
		return nil, Next(fmt.Errorf("cannot find the hub's cluster: %w", err),
			"name a kubeconfig with --kubeconfig or KUBECONFIG, and a context of it with --context")
	}
	return cfg, nil
}

// Connection is the way to the hub's API server, for packages of kubectl. What it connects has our name and
// shows the warnings of the API server.
func (f *Factory) Connection() *genericclioptions.ConfigFlags {
	if f.Flags.Config == nil {
		f.Flags.Config = genericclioptions.NewConfigFlags(true)
	}
	f.Flags.Config.Namespace = &f.Flags.Namespace
	f.Flags.Config.WrapConfigFn = f.named
	return f.Flags.Config
}

// named gives a connection our name, no limit on requests but the server's own, and seconds for an
// unreachable server to be known.
func (f *Factory) named(cfg *rest.Config) *rest.Config {
	cfg.UserAgent = "skerry/" + f.Version
	cfg.QPS = -1
	cfg.WarningHandlerWithContext = warnings{f.IO}
	cfg.Dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	return cfg
}

// Defaults decides where no flag does, which given reports: the context of the user's settings, and the namespace.
func (f *Factory) Defaults(given func(flag string) bool) error {
	_, settings, err := f.Settings()
	if err != nil {
		return err
	}
	if settings.Context != "" && !given("context") && !given("kubeconfig") && !given("server") {
		f.Connection().Context = &settings.Context
	}
	if given("namespace") {
		return nil
	}
	return f.DefaultNamespace()
}

// DefaultNamespace decides where no namespace was given: SKERRY_NAMESPACE, else that of the context if it is to be
// followed, else that of the user's settings, else the hub's.
func (f *Factory) DefaultNamespace() error {
	_, settings, err := f.Settings()
	if err != nil {
		return err
	}
	if settings.Namespace != "" {
		f.Flags.Namespace = settings.Namespace
	}
	if name := f.Getenv("SKERRY_NAMESPACE"); name != "" {
		f.Flags.Namespace = name
	}
	if !f.Flags.NamespaceFollows {
		return nil
	}
	config := f.Connection()
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if config.KubeConfig != nil {
		rules.ExplicitPath = *config.KubeConfig
	}
	overrides := &clientcmd.ConfigOverrides{}
	if config.Context != nil {
		overrides.CurrentContext = *config.Context
	}
	name, _, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).Namespace()
	if err != nil {
		return fmt.Errorf("cannot read the namespace of the context: %w", err)
	}
	f.Flags.Namespace = name
	return nil
}

// Connect returns a client for a cluster. It changes cfg: one name for us, no limit on requests but
// the server's own, and an unreachable server known after seconds.
func (f *Factory) Connect(cfg *rest.Config) (client.WithWatch, error) {
	f.named(cfg)
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	via, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", cfg.Host, err)
	}
	c, err := client.NewWithWatch(cfg, client.Options{Scheme: scheme, HTTPClient: via})
	if err != nil {
		return nil, fmt.Errorf("cannot connect to %s: %w", cfg.Host, err)
	}
	return newFleetClient(c, cfg, via)
}

// Scheme knows the kinds of ours and those of Kubernetes that the commands touch.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	builder := runtime.NewSchemeBuilder(
		v1alpha1.AddToScheme, corev1.AddToScheme, appsv1.AddToScheme, rbacv1.AddToScheme,
		coordinationv1.AddToScheme, authorizationv1.AddToScheme, apiextensionsv1.AddToScheme,
	)
	if err := builder.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("cannot build the scheme: %w", err)
	}
	return scheme, nil
}

// WithTimeout bounds ctx by --timeout, or by the command's own default.
func (f *Factory) WithTimeout(ctx context.Context, byDefault time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, f.Timeout(byDefault))
}

// Timeout returns --timeout, or the command's own default.
func (f *Factory) Timeout(byDefault time.Duration) time.Duration {
	if f.Flags.Timeout > 0 {
		return f.Flags.Timeout
	}
	return byDefault
}

// warnings shows the warnings of an API server.
type warnings struct{ io *iostreams.IOStreams }

func (w warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _ string, text string) {
	if code == 299 && text != "" {
		w.io.Progressf("warning: %s", iostreams.Line(text))
	}
}
