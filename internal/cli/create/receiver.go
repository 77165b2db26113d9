package create

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/fluxcd/pkg/apis/meta"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// ReceiverOptions of `create receiver`.
type ReceiverOptions struct {
	Common
	Type, SecretRef   string
	Events, Resources []string
	ResourceFilter    string
	Wait              bool
}

// NewCmdReceiver returns the command; runF replaces what it runs, for tests.
func NewCmdReceiver(f *factory.Factory, runF func(context.Context, *ReceiverOptions) error) *cobra.Command {
	o := &ReceiverOptions{Common: Common{Factory: f}}
	if runF == nil {
		runF = runReceiver
	}
	cmd := &cobra.Command{
		Use:   "receiver NAME",
		Short: "Create a Receiver, which fetches sources when a webhook arrives",
		Example: `  skerry create secret receiver github-token
  skerry create receiver github --type github --event ping --event push \
    --secret-ref github-token --resource GitRepository/fleet`,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Name = args[0]
			return runF(cmd.Context(), o)
		},
	}
	addCommon(cmd, &o.Common)
	flags := cmd.Flags()
	flags.StringVar(&o.Type, "type", "", "sender of the webhooks: github, gitlab, bitbucket, gitea, generic-hmac and others")
	flags.StringVar(&o.SecretRef, "secret-ref", "", "Secret with the token, see 'skerry create secret receiver'")
	flags.StringSliceVar(&o.Events, "event", nil, "type of event that causes a fetch (default: all)")
	flags.StringSliceVar(&o.Resources, "resource", nil, "source to fetch, as GitRepository/NAME or GitRepository/NAME.NAMESPACE")
	flags.StringVar(&o.ResourceFilter, "resource-filter", "", "CEL expression over res and req that must be true for a source to be fetched")
	flags.BoolVar(&o.Wait, "wait", true, "wait until it accepts webhooks")
	return cmd
}

func runReceiver(ctx context.Context, o *ReceiverOptions) error {
	object, err := receiver(o)
	if err != nil {
		return err
	}
	if err := o.put(ctx, object, "receiver"); err != nil || !o.Wait {
		return err
	}
	return o.waitReady(ctx, object, func() int64 { return object.Status.ObservedGeneration }, "receiver")
}

// receiver returns the object that the flags describe.
func receiver(o *ReceiverOptions) (*v1alpha1.Receiver, error) {
	in, err := o.meta()
	if err != nil {
		return nil, err
	}
	switch {
	case o.Type == "":
		return nil, factory.Usagef("--type is missing: the sender of the webhooks")
	case o.SecretRef == "":
		return nil, factory.Usagef("--secret-ref is missing: the Secret with the token")
	case len(o.Resources) == 0:
		return nil, factory.Usagef("--resource is missing: a source to fetch, as GitRepository/NAME")
	}
	object := &v1alpha1.Receiver{ObjectMeta: in, Spec: v1alpha1.ReceiverSpec{
		Type: o.Type, Events: o.Events, ResourceFilter: o.ResourceFilter, SecretRef: meta.LocalObjectReference{Name: o.SecretRef},
	}}
	for _, text := range o.Resources {
		kind, name, ok := strings.Cut(text, "/")
		name, namespace, _ := strings.Cut(name, ".")
		if !ok || name == "" || !strings.EqualFold(kind, v1alpha1.GitRepositoryKind) {
			return nil, factory.Usagef("--resource %q must be GitRepository/NAME or GitRepository/NAME.NAMESPACE", text)
		}
		object.Spec.Resources = append(object.Spec.Resources, v1alpha1.ReceiverResource{Kind: v1alpha1.GitRepositoryKind, Name: name, Namespace: namespace})
	}
	return object, nil
}

// NewCmdSecretReceiver returns the command; runF replaces what it runs, for tests.
func NewCmdSecretReceiver(f *factory.Factory, runF func(context.Context, *SecretOptions) error) *cobra.Command {
	cmd, o := newCmdSecret(f, runF, "receiver NAME", "Create the token by which a Receiver authenticates webhooks",
		"  skerry create secret receiver github-token\n  skerry create secret receiver github-token --token-file token.txt")
	var file string
	cmd.Flags().StringVar(&file, "token-file", "", "file with the token, of which a newline at the end is left out (default: a new one)")
	_ = cmd.MarkFlagFilename("token-file")
	o.generates = unlessGiven(&file, "token-file")
	o.data = func(context.Context) (map[string][]byte, corev1.SecretType, error) {
		if file != "" {
			data, err := o.file("token-file", file)
			return map[string][]byte{"token": bytes.TrimRight(data, "\r\n")}, corev1.SecretTypeOpaque, err
		}
		raw := make([]byte, 32)
		if _, err := rand.Read(raw); err != nil {
			return nil, "", fmt.Errorf("cannot make a token: %w", err)
		}
		return map[string][]byte{"token": []byte(hex.EncodeToString(raw))}, corev1.SecretTypeOpaque, nil
	}
	return cmd
}
