package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/preflight"
	"github.com/skerry-dev/skerry/internal/kubeconfig"
)

// tokenKubeconfig is the least that reaches the edge: its address, its authority and a token.
//
// The authority is the kubeconfig's own, which is known to fit the address. A kubeconfig without one
// relies on the authorities of this machine, which the hub need not have: then it is the one that
// the edge hands out beside the token, if the address has a certificate of it.
func (e *edge) tokenKubeconfig(ctx context.Context, token, handedOut []byte) ([]byte, error) {
	user := &clientcmdapi.AuthInfo{Token: string(token)}
	if len(e.config.CAData) > 0 || len(handedOut) == 0 {
		return e.kubeconfig(user, e.config.CAData)
	}
	data, err := e.kubeconfig(user, handedOut)
	if err != nil {
		return nil, err
	}
	if cfg, _, err := kubeconfig.Parse(data); err == nil {
		if _, err := preflight.Version(ctx, cfg); err == nil {
			return data, nil
		}
	}
	return e.kubeconfig(user, nil)
}

// ownCredentials copies the token, certificate or password of the kubeconfig. What is run or asked
// for at each use, it cannot copy.
func (e *edge) ownCredentials() ([]byte, error) {
	switch {
	case e.user.Exec != nil:
		return nil, notStorable("come from the command " + e.user.Exec.Command)
	case e.user.AuthProvider != nil:
		return nil, notStorable("come from the auth-provider " + e.user.AuthProvider.Name)
	case e.user.Impersonate != "" || len(e.user.ImpersonateGroups) > 0 || e.user.ImpersonateUID != "" || len(e.user.ImpersonateUserExtra) > 0:
		return nil, notStorable("impersonate somebody, which the hub does not do")
	}
	user := &clientcmdapi.AuthInfo{
		Token:                 strings.TrimSpace(e.config.BearerToken), // a file has a newline at its end
		Username:              e.user.Username,
		Password:              e.user.Password,
		ClientCertificateData: e.config.CertData,
		ClientKeyData:         e.config.KeyData,
	}
	return e.kubeconfig(user, e.config.CAData)
}

func notStorable(why string) error {
	return factory.Next(errors.New("the kubeconfig's own credentials "+why+", so they cannot be stored"),
		"leave --use-credentials away: the hub then gets a ServiceAccount of its own")
}

// kubeconfig writes a kubeconfig with everything inline and lets the hub's own reader check it.
func (e *edge) kubeconfig(user *clientcmdapi.AuthInfo, authority []byte) ([]byte, error) {
	if e.cluster.InsecureSkipTLSVerify {
		return nil, factory.Next(errors.New("the kubeconfig turns the check of the edge's certificate off, which would hand the hub's token to anybody"),
			"put the edge's authority into certificate-authority-data instead of insecure-skip-tls-verify")
	}
	if e.cluster.ProxyURL != "" {
		return nil, factory.Next(errors.New("the kubeconfig reaches the edge through proxy-url, which the hub does not follow"), "join the cluster with --agent, which dials the hub, or name an address that the hub reaches with --server")
	}
	const name = "edge"
	file := clientcmdapi.NewConfig()
	file.CurrentContext = name
	file.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	file.AuthInfos[name] = user
	file.Clusters[name] = &clientcmdapi.Cluster{
		Server: e.server, TLSServerName: e.cluster.TLSServerName, CertificateAuthorityData: authority,
	}
	data, err := clientcmd.Write(*file)
	if err != nil {
		return nil, fmt.Errorf("cannot write the hub's kubeconfig: %w", err)
	}
	if _, _, err := kubeconfig.Parse(data); err != nil {
		return nil, fmt.Errorf("the hub would not accept this cluster: %w", err)
	}
	return data, nil
}
