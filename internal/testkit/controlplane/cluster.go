package controlplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Options says how much of a cluster is wanted. The zero value is an API server
// alone: objects stay as they are written, a deleted Namespace stays
// Terminating, no ServiceAccount appears, and Pods need none.
type Options struct {
	// Dir holds the files of the cluster: logs, keys, kubeconfig. Empty means a
	// folder below that of the Etcd, by the cluster's name.
	Dir string
	// ControllerManager runs all controllers that are on by default.
	ControllerManager bool
	// Scheduler binds Pods to Nodes. It needs the controller manager, which
	// takes the not-ready taint off new Nodes.
	Scheduler bool
	// Kwok adds the Node "node-0" and plays its kubelet: Pods bound to it run
	// and are ready at once, those of Jobs succeed, deleted ones go. A Pod with
	// an image whose tag is "broken" stays in ImagePullBackOff.
	Kwok bool
	// AuditLog records every request, for Requests.
	AuditLog bool
	// Profile lets the API server be profiled, under /debug/pprof/.
	Profile bool
	// Log, if set, gets a line about each program that is up.
	Log io.Writer
}

// Cluster is one running control plane. Its methods are not to be called
// concurrently, except for those that only read.
type Cluster struct {
	name    string
	dir     string
	options Options
	etcd    *Etcd
	ca      *authority
	port    *port
	admin   *rest.Config
	server  *process
	others  []*process // controller manager, scheduler, kwok
}

// Start brings up a cluster on etcd, where it keeps its data under its name,
// which must be unique there. It returns once /readyz is ok and kube-system
// exists. ctx bounds the start; the cluster runs until Stop.
func Start(ctx context.Context, etcd *Etcd, name string, o Options) (*Cluster, error) {
	c, err := prepare(etcd, name, o)
	if err != nil {
		return nil, fmt.Errorf("cannot start cluster %s: %w", name, err)
	}
	if err := c.bringUp(ctx); err != nil {
		c.Stop()
		return nil, fmt.Errorf("cannot start cluster %s: %w", name, err)
	}
	return c, nil
}

// prepare makes all that lives as long as the cluster: folder, authority and
// the files with keys.
func prepare(etcd *Etcd, name string, o Options) (*Cluster, error) {
	c := &Cluster{name: name, dir: o.Dir, options: o, etcd: etcd}
	if c.dir == "" {
		c.dir = filepath.Join(etcd.dir, name)
	}
	var err error
	if c.dir, err = filepath.Abs(c.dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, err
	}
	if c.ca, err = newAuthority("skerry-" + name); err != nil {
		return nil, err
	}
	return c, c.writeKeys()
}

func (c *Cluster) bringUp(ctx context.Context) error {
	err := retryTakenPort(func() (*process, error) {
		if err := c.choosePort(); err != nil {
			return nil, err
		}
		err := c.StartServer(ctx)
		return c.server, err
	})
	if err != nil {
		return err
	}
	return c.startOthers(ctx)
}

// choosePort takes a port and writes the files that name it.
func (c *Cluster) choosePort() (err error) {
	c.port.release()
	if c.port, err = reservePort(); err != nil {
		return err
	}
	if c.admin, err = c.User("admin", "system:masters"); err != nil {
		return err
	}
	kubeconfig, err := EncodeKubeconfig(c.admin)
	if err != nil {
		return err
	}
	return os.WriteFile(c.Kubeconfig(), kubeconfig, 0o600)
}

// Stop ends all processes of the cluster. The files stay, and so does the data
// in etcd.
func (c *Cluster) Stop() {
	for _, p := range slices.Backward(c.others) {
		p.kill()
	}
	c.server.kill()
	c.port.release()
}

// StopServer ends the API server and nothing else: connections to it are
// refused from now on, and its port is kept for StartServer.
func (c *Cluster) StopServer() { c.server.kill() }

// StartServer starts the API server again, at the same address with the same
// data, and returns when it is ready. One that still runs is stopped before.
func (c *Cluster) StartServer(ctx context.Context) error {
	c.StopServer()
	begin := time.Now()
	server, err := c.launchServer()
	if err != nil {
		return err
	}
	c.server = server
	if err := c.serverReady(ctx); err != nil {
		return err
	}
	c.logf("kube-apiserver at %s ready in %s", c.URL(), time.Since(begin).Round(time.Millisecond))
	return nil
}

// Pause freezes the API server: connections open and requests get no answer,
// as with a link that drops everything.
func (c *Cluster) Pause() error { return c.server.pause() }

// Resume undoes Pause. Requests that still wait are answered.
func (c *Cluster) Resume() error { return c.server.signal(syscall.SIGCONT) }

// Name returns the name that the cluster was started with.
func (c *Cluster) Name() string { return c.name }

// URL returns the address of the API server.
func (c *Cluster) URL() string { return "https://" + c.port.address() }

// Kubeconfig returns the path of an administrator's kubeconfig. Its data is
// inline, so the contents can be used anywhere on the machine.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "kubeconfig") }

// RESTConfig returns an administrator's client configuration without a rate
// limit. The caller owns it.
func (c *Cluster) RESTConfig() *rest.Config { return rest.CopyConfig(c.admin) }

// User returns a client configuration, as RESTConfig does, for a user of that
// name in those groups. The user can do what RBAC in the cluster says, which
// at first is next to nothing.
func (c *Cluster) User(name string, groups ...string) (*rest.Config, error) {
	pair, err := c.ca.client(name, groups)
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host: c.URL(),
		QPS:  -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAData: c.ca.pem.cert, CertData: pair.cert, KeyData: pair.key,
		},
	}, nil
}

func (c *Cluster) client() (*kubernetes.Clientset, error) {
	client, err := kubernetes.NewForConfig(c.admin)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client: %w", err)
	}
	return client, nil
}

func (c *Cluster) logf(format string, args ...any) {
	if c.options.Log != nil {
		fmt.Fprintf(c.options.Log, c.name+": "+format+"\n", args...)
	}
}

// writeFiles writes name → contents below the folder of the cluster.
func (c *Cluster) writeFiles(files map[string][]byte) error {
	var errs []error
	for name, contents := range files {
		errs = append(errs, os.WriteFile(filepath.Join(c.dir, name), contents, 0o600))
	}
	return errors.Join(errs...)
}
