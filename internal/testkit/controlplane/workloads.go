package controlplane

import (
	"context"
	_ "embed"
	"fmt"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// stages tell kwok what the kubelet of its nodes does.
//
//go:embed stages.yaml
var stages []byte

const stagesFile = "stages.yaml"

// startOthers starts what the options ask for besides the API server. These
// programs listen nowhere; they show that they are up by what they do.
func (c *Cluster) startOthers(ctx context.Context) error {
	if c.options.ControllerManager {
		if err := c.launchControllerManager(); err != nil {
			return err
		}
	}
	if c.options.Scheduler {
		if err := c.launchOther("kube-scheduler", c.clientFlags()...); err != nil {
			return err
		}
	}
	if c.options.Kwok {
		if err := c.launchKwok(); err != nil {
			return err
		}
		return c.createNode(ctx)
	}
	return nil
}

func (c *Cluster) launchControllerManager() error {
	args := append(c.clientFlags(),
		"--use-service-account-credentials",
		"--service-account-private-key-file", serviceAccountFile,
		"--root-ca-file", caCertFile,
		"--cluster-signing-cert-file", caCertFile,
		"--cluster-signing-key-file", caKeyFile,
		"--horizontal-pod-autoscaler-sync-period", "1s", // 15 s by default, for which every test would wait
	)
	return c.launchOther("kube-controller-manager", args...)
}

// clientFlags are those that the controller manager and the scheduler share.
func (c *Cluster) clientFlags() []string {
	return []string{
		"--kubeconfig", c.Kubeconfig(),
		"--leader-elect=false",
		"--secure-port", "0",
		"--profiling=false",
		"--kube-api-qps", "1000",
		"--kube-api-burst", "1000",
	}
}

func (c *Cluster) launchOther(name string, args ...string) error {
	binary, err := Binary()
	if err != nil {
		return err
	}
	return c.run(name, binary, append([]string{name}, args...)...)
}

func (c *Cluster) launchKwok() error {
	binary, err := kwokBinary()
	if err != nil {
		return err
	}
	if err := c.writeFiles(map[string][]byte{stagesFile: stages}); err != nil {
		return err
	}
	return c.run("kwok", binary,
		"--kubeconfig", c.Kubeconfig(),
		"--config", filepath.Join(c.dir, stagesFile),
		"--manage-all-nodes",
		"--node-lease-duration-seconds", "40", // as the kubelet does
	)
}

func (c *Cluster) run(name, binary string, args ...string) error {
	p, err := launch(c.dir, name, binary, args...)
	if err != nil {
		return err
	}
	c.others = append(c.others, p)
	c.logf("%s started", name)
	return nil
}

func (c *Cluster) createNode(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	const name = "node-0"
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name,
		Labels: map[string]string{
			corev1.LabelHostname:   name,
			corev1.LabelOSStable:   "linux",
			corev1.LabelArchStable: "amd64",
		},
	}}
	_, err = client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("cannot create node %s: %w", name, err)
	}
	return nil
}
