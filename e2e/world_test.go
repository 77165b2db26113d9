package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-dev/skerry/internal/testkit/controlplane"
	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// newWorld gives the case a hub and edges of its own, the hub not running yet, nothing installed:
//
//	world EDGE...
//
// Its hub's cluster is a whole one, in which a Deployment's Pods become ready. What runs in those is
// nothing: the hub is the process that the script starts.
func newWorld(ctx context.Context, c call) error {
	options := rig.Options{Dir: workDir(c.t), HubWhole: true}
	pods := c.flag("pods")
	for _, name := range c.args {
		options.Edges = append(options.Edges, rig.EdgeOptions{Name: name, Controllers: true, Pods: pods})
	}
	r, err := rig.New(ctx, options)
	if err != nil {
		return err
	}
	c.t.Cleanup(func() {
		if err := r.Close(); err != nil {
			c.t.Error(err)
		}
	})
	c.rig, c.shared = r, false
	c.ts.Setenv("KUBECONFIG", r.HubKubeconfig)
	for _, e := range r.Edges {
		c.ts.Setenv("KUBECONFIG_"+strings.ReplaceAll(e.Name, "-", "_"), e.Kubeconfig)
	}
	return c.openLink()
}

// writeKubeconfig writes a kubeconfig of an administrator, or one with another token, maybe that of a ServiceAccount:
//
//	kubeconfig [-token TOKEN | -account NAMESPACE/NAME] CLUSTER FILE
func writeKubeconfig(ctx context.Context, c call) error {
	token, other := c.option("token")
	account, ofAccount := c.option("account")
	if len(c.args) != 2 {
		return errors.New("wants CLUSTER FILE")
	}
	kube, err := c.kube(c.args[0])
	if err != nil {
		return err
	}
	config := rest.CopyConfig(kube.Config)
	if ofAccount {
		namespace, name, _ := strings.Cut(account, "/")
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		request, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			return err
		}
		token, other = request.Status.Token, true
	}
	if other {
		config.BearerToken, config.CertData, config.KeyData = token, nil, nil
	}
	raw, err := controlplane.EncodeKubeconfig(config)
	if err != nil {
		return err
	}
	return os.WriteFile(c.ts.MkAbs(c.args[1]), raw, 0o600)
}

func edgePower(ctx context.Context, c call) error {
	if len(c.args) != 2 {
		return errors.New("wants start|stop|pause|resume NAME")
	}
	e, err := c.edge(c.args[1])
	if err != nil {
		return err
	}
	switch c.args[0] {
	case "start":
		return e.Start(ctx)
	case "stop":
		return e.Stop()
	case "pause":
		c.t.Cleanup(func() { _ = e.Cluster.Resume() }) // one that goes on already does not mind
		return e.Cluster.Pause()
	case "resume":
		return e.Cluster.Resume()
	}
	return fmt.Errorf("cannot %s an edge", c.args[0])
}

func hubPower(ctx context.Context, c call) error {
	if len(c.args) < 1 {
		return errors.New("wants start|stop|kill|wipe")
	}
	switch c.args[0] {
	case "start":
		return c.rig.Hub.Start(ctx, c.args[1:]...)
	case "stop":
		return c.rig.Hub.Stop()
	case "kill":
		c.rig.Hub.Kill()
		return nil
	case "wipe":
		return c.rig.Hub.Wipe()
	}
	return fmt.Errorf("cannot %s the hub", c.args[0])
}

// deletePods deletes the Pods of a namespace that a selector picks:
//
//	deletepods CLUSTER NAMESPACE SELECTOR
func deletePods(ctx context.Context, c call) error {
	if len(c.args) != 3 {
		return errors.New("wants CLUSTER NAMESPACE SELECTOR")
	}
	kube, err := c.kube(c.args[0])
	if err != nil {
		return err
	}
	pods, err := kube.Resource("pods", c.args[1])
	if err != nil {
		return err
	}
	return pods.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: c.args[2]})
}
