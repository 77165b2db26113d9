// Package create is the command that makes the kinds of Skerry, and the Secrets that they read, from flags that
// people know from Flux; or prints them for Git.
//
// What is made of the flags is pure, and apart from what asks servers and the hub.
package create

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/schema"
	"github.com/skerry-dev/skerry/internal/cli/wait"
)

// Common are the options of every subcommand.
type Common struct {
	*factory.Factory
	Name   string
	Labels []string
	Export bool
}

// NewCmdCreate returns the command.
func NewCmdCreate(f *factory.Factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Create sources, receivers, kustomizations, clusters and Secrets, or print them for Git",
		Example: `  # A repository and what is applied from it, for Git
  skerry create source git fleet --url https://git.example.com/team/fleet.git --branch main --export
  skerry create kustomization web --source fleet --path ./web --cluster-selector tier=shop --export

  # A deploy key, with the host key of the server
  skerry create secret git fleet --url ssh://git@git.example.com/team/fleet.git`,
	}
	factory.Group(cmd)
	source := &cobra.Command{Use: "source", Short: "Create a source", Example: "  skerry create source git fleet --url https://git.example.com/team/fleet.git --branch main"}
	factory.Group(source)
	source.AddCommand(NewCmdGit(f, nil))
	secret := &cobra.Command{Use: "secret", Short: "Create a Secret that a source, a receiver, a kustomization or a cluster reads", Example: "  skerry create secret git fleet --url ssh://git@git.example.com/team/fleet.git"}
	factory.Group(secret)
	secret.AddCommand(NewCmdSecretGit(f, nil), NewCmdSecretTLS(f, nil), NewCmdSecretGitHubApp(f, nil), NewCmdSecretAge(f, nil), NewCmdSecretReceiver(f, nil))
	cmd.AddCommand(source, NewCmdReceiver(f, nil), NewCmdKustomization(f, nil), NewCmdCluster(f, nil), secret)
	return cmd
}

// addCommon adds the flags of every subcommand.
func addCommon(cmd *cobra.Command, c *Common) {
	cmd.Args = factory.OneName
	flags := cmd.Flags()
	flags.StringArrayVar(&c.Labels, "label", nil, "label of the object, as key=value; can be given again")
	flags.BoolVar(&c.Export, "export", false, "print the object as YAML and change nothing")
}

// meta is the metadata that the flags give.
func (c *Common) meta() (metav1.ObjectMeta, error) {
	m := metav1.ObjectMeta{Namespace: c.Flags.Namespace, Name: c.Name}
	if problems := validation.IsDNS1123Subdomain(c.Name); len(problems) > 0 {
		return m, factory.Usagef("%q cannot be a name: %s", c.Name, problems[0])
	}
	for _, label := range c.Labels {
		key, value, ok := strings.Cut(label, "=")
		problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
		if !ok {
			problems = []string{"it must be key=value"}
		}
		if len(problems) > 0 {
			return m, factory.Usagef("--label %q: %s", label, problems[0])
		}
		if m.Labels == nil {
			m.Labels = map[string]string{}
		}
		m.Labels[key] = value
	}
	return m, nil
}

// put prints the object, or applies it. One that Git keeps is refused: the hub would put it back.
func (c *Common) put(ctx context.Context, object client.Object, kind string) error {
	scheme, err := factory.Scheme()
	if err != nil {
		return err
	}
	manifest, err := apply.FromTyped(scheme, object)
	if err != nil {
		return err
	}
	if c.Export {
		doc, err := apply.YAML([]*unstructured.Unstructured{manifest})
		if err != nil {
			return err
		}
		if err := schema.Validate(ctx, doc); err != nil {
			return err // it would be refused once it is in Git
		}
		if _, err := c.IO.Out.Write(doc); err != nil {
			return fmt.Errorf("cannot write: %w", err)
		}
		return nil
	}
	hub, err := c.Hub()
	if err != nil {
		return err
	}
	live := &metav1.PartialObjectMetadata{}
	live.SetGroupVersionKind(manifest.GroupVersionKind())
	if err := hub.Get(ctx, client.ObjectKeyFromObject(object), live); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot read %s %s: %w", kind, c.Name, err)
	}
	if owner := live.Labels[v1alpha1.OwnerLabel]; owner != "" {
		return factory.Next(fmt.Errorf("the %s %s is kept from Git by %s, which would undo this", kind, c.Name, owner), "change it in Git; --export prints it")
	}
	return c.Steps().Do(kind+" "+c.Name, func(s *factory.Step) error {
		result, err := apply.Object(ctx, hub, manifest)
		if err != nil {
			return err
		}
		s.Donef("%s", result)
		return nil
	})
}

// conditioned is an object with conditions.
type conditioned interface {
	client.Object
	v1alpha1.Conditioned
}

// waitReady waits until the hub has taken the object up and it is ready, or cannot be.
func (c *Common) waitReady(ctx context.Context, object conditioned, observed func() int64, kind string) error {
	if c.Export {
		return nil
	}
	hub, err := c.Hub()
	if err != nil {
		return err
	}
	ctx, cancel := c.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return c.Steps().Do("wait for "+kind+" "+c.Name, func(s *factory.Step) error {
		stand := "the hub has not looked at it"
		err := wait.Until(ctx, hub, []client.Object{object}, func() (bool, error) {
			ready := apimeta.FindStatusCondition(object.GetConditions(), v1alpha1.ReadyCondition)
			switch {
			case object.GetUID() == "":
				return false, errors.New("it was deleted")
			case ready == nil || observed() < object.GetGeneration():
				return false, nil
			case ready.Status == metav1.ConditionTrue:
				s.Donef("%s", ready.Message)
				return true, nil
			}
			stand = ready.Reason + ": " + ready.Message
			if ready.Status == metav1.ConditionFalse && apimeta.IsStatusConditionTrue(object.GetConditions(), v1alpha1.StalledCondition) {
				return false, factory.Next(fmt.Errorf("not ready: %s", stand), "correct it and create it again, which changes what is there; 'skerry events --for %s/%s' tells more", strings.ToLower(kind), c.Name)
			}
			s.Notef("%s", stand)
			return false, nil
		})
		if errors.Is(err, context.DeadlineExceeded) {
			return factory.Next(fmt.Errorf("not ready: %s", stand), "the hub goes on; 'skerry status' tells more")
		}
		return err
	})
}
