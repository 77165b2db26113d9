package factory

import (
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// KubeContext is what a context of a kubeconfig leads to, with the files that it names read in.
type KubeContext struct {
	Config  *rest.Config
	Cluster *clientcmdapi.Cluster
	User    *clientcmdapi.AuthInfo
}

// FromKubeconfig reads the file and the context that --from-kubeconfig and --from-context name; "" is the current
// context. It asks nothing of the cluster.
func FromKubeconfig(path, name string) (*KubeContext, error) {
	file, err := clientcmd.LoadFromFile(path)
	if err != nil {
		return nil, &UsageError{Err: fmt.Errorf("cannot read --from-kubeconfig: %w", err)}
	}
	if err := clientcmd.ResolveLocalPaths(file); err != nil {
		return nil, fmt.Errorf("cannot find the files that %s names: %w", path, err)
	}
	if name == "" {
		name = file.CurrentContext
	}
	context, ok := file.Contexts[name]
	if !ok {
		return nil, noContext(path, name, file)
	}
	cfg, err := clientcmd.NewNonInteractiveClientConfig(*file, name, &clientcmd.ConfigOverrides{}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("cannot use context %q of %s: %w", name, path, err)
	}
	if err := rest.LoadTLSFiles(cfg); err != nil {
		return nil, fmt.Errorf("cannot read the files that %s names: %w", path, err)
	}
	out := &KubeContext{Config: cfg, Cluster: file.Clusters[context.Cluster], User: file.AuthInfos[context.AuthInfo]}
	if out.Cluster == nil || out.User == nil {
		return nil, Usagef("context %q of %s names a cluster or user that is not there", name, path)
	}
	return out, nil
}

func noContext(path, name string, file *clientcmdapi.Config) error {
	var known []string
	for n := range file.Contexts {
		known = append(known, n)
	}
	if name == "" {
		return Usagef("%s has no current context: choose one with --from-context", path)
	}
	err := Usagef("%s has no context %q", path, name)
	if near := Nearest(name, known); len(near) > 0 {
		return Next(err, "did you mean --from-context %s?", near[0])
	}
	return err
}

// EdgeError keeps an edge that cannot be reached with a person's kubeconfig from being reported as a hub that cannot.
func EdgeError(err error) error {
	return Next(OtherServer(fmt.Errorf("the edge cluster: %w", err)), "check --from-kubeconfig and --from-context, and that the edge runs and can be reached from here")
}
