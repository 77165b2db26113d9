package controlplane

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const serviceRange = "10.96.0.0/16"

// serviceIP is the address of the Service kubernetes: the first of the range.
var serviceIP = net.IPv4(10, 96, 0, 1)

// Names of files below the folder of a cluster.
const (
	caCertFile         = "ca.crt"
	caKeyFile          = "ca.key"
	serverCertFile     = "server.crt"
	serverKeyFile      = "server.key"
	serviceAccountFile = "service-account.key"
	auditPolicyFile    = "audit-policy.yaml"
)

func (c *Cluster) writeKeys() error {
	server, err := c.ca.server()
	if err != nil {
		return err
	}
	// Any key will do for signing tokens; the certificate is not used.
	tokens, err := c.ca.client("service-accounts", nil)
	if err != nil {
		return err
	}
	return c.writeFiles(map[string][]byte{
		caCertFile:         c.ca.pem.cert,
		caKeyFile:          c.ca.pem.key,
		serverCertFile:     server.cert,
		serverKeyFile:      server.key,
		serviceAccountFile: tokens.key,
		auditPolicyFile:    []byte(auditPolicy),
	})
}

func (c *Cluster) launchServer() (*process, error) {
	binary, err := Binary()
	if err != nil {
		return nil, err
	}
	args := []string{
		"kube-apiserver",
		"--etcd-servers", c.etcd.url,
		"--etcd-prefix", "/" + c.name,
		"--bind-address", "127.0.0.1",
		"--secure-port", strconv.Itoa(c.port.number),
		"--tls-cert-file", serverCertFile,
		"--tls-private-key-file", serverKeyFile,
		"--client-ca-file", caCertFile,
		"--authorization-mode", "Node,RBAC",
		"--service-account-issuer", "https://kubernetes.default.svc",
		"--service-account-signing-key-file", serviceAccountFile,
		"--service-account-key-file", serviceAccountFile,
		"--service-cluster-ip-range", serviceRange,
		"--allow-privileged",
		// No client reaches this server by the Service kubernetes.
		"--endpoint-reconciler-type", "none",
		"--profiling=" + strconv.FormatBool(c.options.Profile),
	}
	if !c.options.ControllerManager {
		// It would refuse every Pod, waiting for a ServiceAccount that only the
		// controller manager makes.
		args = append(args, "--disable-admission-plugins", "ServiceAccount")
	}
	if c.options.AuditLog {
		args = append(args, auditFlags(c.AuditLog())...)
	}
	return launch(c.dir, "kube-apiserver", binary, args...)
}

// serverReady waits until the server says so and the namespace exists whose
// UID names the cluster: the server makes it after it has become ready.
func (c *Cluster) serverReady(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return c.server.until(ctx, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(ctx).Error(); err != nil {
			return err
		}
		for _, name := range []string{"default", "kube-system"} {
			if _, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{}); err != nil {
				return fmt.Errorf("namespace %s: %w", name, err)
			}
		}
		return nil
	})
}
