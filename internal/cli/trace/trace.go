// Package trace is the command that follows an object on a cluster back to the commit that it comes from.
package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/explain"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// Options of the command.
type Options struct {
	*factory.Factory
	Kind      string
	Name      string
	Namespace string // of the object
	Cluster   string
	Output    string
	// Commit asks the Git server for the author and the subject of the commit.
	Commit bool
}

// NewCmdTrace returns the command; runF replaces what it runs, for tests.
func NewCmdTrace(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f}
	if runF == nil {
		runF = runTrace
	}
	cmd := &cobra.Command{
		Use:   "trace KIND/NAME --cluster CLUSTER",
		Short: "Follow an object on a cluster back to its commit",
		Long: `Follow an object on a cluster back to where it comes from: the kustomization that applies it, its
source, the commit with its author, when it was applied, and what was changed about it last and by
whom.

Here -n is the namespace of the object, as in kubectl; a Cluster of another namespace than the
hub's is written "namespace/name". The cluster is asked with the credentials that the hub has for
it, and the Git server for the author of the commit with those of the source: both Secrets must be
readable. What cannot be asked is said to be unknown.`,
		Example: `  skerry trace deployment/web -n shop --cluster shop-1
  skerry trace ns/shop --cluster shop-1 --commit=false`,
		Args: factory.OneName,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, ok := strings.Cut(args[0], "/")
			if !ok || kind == "" || name == "" || strings.Contains(name, "/") {
				return factory.Usagef("%q names no object: it is KIND/NAME, for example deployment/web", args[0])
			}
			if o.Cluster == "" {
				return factory.Usagef("--cluster is needed: on which cluster is the object?")
			}
			o.Kind, o.Name, o.Namespace = kind, name, metav1.NamespaceDefault
			if cmd.Flags().Changed("namespace") {
				o.Namespace = o.Flags.Namespace
				// What is left is the namespace of the Cluster, which -n does not name here.
				o.Flags.Namespace = v1alpha1.SystemNamespace
				if err := o.DefaultNamespace(); err != nil {
					return err
				}
			}
			return runF(cmd.Context(), o)
		},
	}
	cmd.Flags().StringVar(&o.Cluster, "cluster", "", "the cluster that has the object")
	cmd.Flags().BoolVar(&o.Commit, "commit", true, "ask the Git server for the author of the commit")
	_ = cmd.RegisterFlagCompletionFunc("cluster", f.CompleteFlag(func() client.ObjectList { return &v1alpha1.ClusterList{} }))
	factory.AddOutputFlag(cmd, &o.Output)
	return cmd
}

// Trace is where an object comes from. Its texts are clean for a terminal.
type Trace struct {
	Object  string `json:"object"`
	Cluster string `json:"cluster"`
	// Managed means that a Kustomization of this hub applies the object; then the rest is set.
	Managed       bool   `json:"managed"`
	Kustomization string `json:"kustomization,omitempty"`
	Path          string `json:"path,omitempty"`
	Source        string `json:"source,omitempty"`
	URL           string `json:"url,omitempty"`
	// Revision is what the cluster has applied; Head what the source is at.
	Revision string  `json:"revision,omitempty"`
	Head     string  `json:"head,omitempty"`
	Commit   *Commit `json:"commit,omitempty"`
	// AppliedAt is when the Kustomization's field manager wrote the object last, AssignedAt when the hub
	// sent the revision to the cluster.
	AppliedAt  *time.Time `json:"appliedAt,omitempty"`
	AssignedAt *time.Time `json:"assignedAt,omitempty"`
	// Managers are the other field managers of the object, the last writer first.
	Managers []Manager `json:"managers,omitempty"`
	Drift    *Drift    `json:"drift,omitempty"`
	// Unknown is what could not be asked.
	Unknown []string `json:"unknown,omitempty"`
}

// Commit is what the Git server has of a commit.
type Commit struct {
	Hash    string    `json:"hash"`
	Author  string    `json:"author"`
	Subject string    `json:"subject"`
	Time    time.Time `json:"time"`
}

// Manager is a field manager.
type Manager struct {
	Name string     `json:"name"`
	Time *time.Time `json:"time,omitempty"`
}

// Drift is the last change beside Git that is recorded of the object.
type Drift struct {
	Change  string    `json:"change"`
	Paths   []string  `json:"paths,omitempty"`
	Manager string    `json:"manager,omitempty"`
	At      time.Time `json:"at"`
	Action  string    `json:"action"`
}

func runTrace(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, time.Minute)
	defer cancel()
	hub, err := o.Hub()
	if err != nil {
		return err
	}
	c := &v1alpha1.Cluster{}
	if err := o.GetCluster(ctx, hub, o.Cluster, c); err != nil {
		return err
	}
	busy := o.IO.Busy("asking cluster " + c.Name)
	defer busy.Stop()
	at, err := o.Edge(ctx, hub, c)
	if err != nil {
		return err
	}
	found, id, err := o.find(ctx, at, c)
	if err != nil {
		return err
	}
	trace := Trace{Object: iostreams.Line(id.String()), Cluster: o.Cluster}
	if err := o.follow(ctx, hub, at, c, found, id, &trace); err != nil {
		return err
	}
	busy.Stop()
	if o.Output != "" {
		return factory.Print(o.IO.Out, o.Output, trace)
	}
	if _, err := io.WriteString(o.IO.Out, Text(trace, o.Now(), o.IO)); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

// find reads the metadata of the object.
func (o *Options) find(ctx context.Context, at *factory.Edge, c *v1alpha1.Cluster) (*metav1.PartialObjectMetadata, object.ID, error) {
	mapping, err := at.Mapping(o.Kind)
	if err != nil {
		return nil, object.ID{}, fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	gvk := mapping.GroupVersionKind
	id := object.ID{Group: gvk.Group, Kind: gvk.Kind, Name: o.Name}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		id.Namespace = o.Namespace
	}
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(gvk)
	err = at.Get(ctx, client.ObjectKey{Namespace: id.Namespace, Name: id.Name}, found)
	switch {
	case apierrors.IsNotFound(err):
		missing := factory.OtherServer(fmt.Errorf("there is no %s on cluster %s", id, c.Name))
		return nil, id, factory.Next(missing, "-n names the namespace of the object; 'skerry drift --cluster %s' says what was deleted there", o.Cluster)
	case err != nil:
		return nil, id, factory.OtherServer(fmt.Errorf("cannot read %s on cluster %s: %w", id, c.Name, err))
	}
	return found, id, nil
}

// follow goes from the object to the commit. What cannot be asked on the way is noted, and the rest goes on.
func (o *Options) follow(ctx context.Context, hub *factory.Hub, at *factory.Edge, c *v1alpha1.Cluster, found *metav1.PartialObjectMetadata, id object.ID, t *Trace) error {
	label := found.Labels[v1alpha1.OwnerLabel]
	t.Managers = managers(found, label)
	if label == "" {
		return nil
	}
	assignment := &v1alpha1.Assignment{}
	if err := hub.Get(ctx, client.ObjectKeyFromObject(c), assignment); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("cannot read the Assignment of cluster %s: %w", c.Name, err)
	}
	_, hubID, err := at.Records(ctx)
	if err != nil {
		return err
	}
	key, entry := ownerOf(assignment, hubID, label)
	if entry == nil {
		t.Unknown = append(t.Unknown, "the Kustomization with the owner label "+iostreams.Line(label)+": this hub has none of it on the cluster")
		return nil
	}
	t.Managed, t.Kustomization = true, v1alpha1.RelativeName(v1alpha1.SystemNamespace, key)
	for _, m := range found.ManagedFields {
		if m.Manager == object.FieldManager(label) && m.Time != nil && (t.AppliedAt == nil || m.Time.After(*t.AppliedAt)) {
			t.AppliedAt = &m.Time.Time
		}
	}
	if entry.AssignedAt != nil {
		t.AssignedAt = &entry.AssignedAt.Time
	}
	ks := &v1alpha1.Kustomization{}
	if err := hub.Get(ctx, key, ks); err != nil {
		t.Unknown = append(t.Unknown, "the Kustomization "+t.Kustomization+": "+iostreams.Line(err.Error()))
		return nil
	}
	_, reported := explain.EntryOf(assignment, key)
	if reported != nil {
		t.Revision = iostreams.Line(report.RevisionOf(ks.Status.Rendered, reported.AppliedRevision, reported.AppliedDigest))
		t.Drift = lastDrift(reported, id)
	}
	t.Path = iostreams.Line(ks.Spec.Path)
	return o.source(ctx, hub, ks, t)
}

// source adds the GitRepository and the commit.
func (o *Options) source(ctx context.Context, hub *factory.Hub, ks *v1alpha1.Kustomization, t *Trace) error {
	key := targeting.SourceOf(ks)
	t.Source = v1alpha1.RelativeName(v1alpha1.SystemNamespace, key)
	source := &v1alpha1.GitRepository{}
	if err := hub.Get(ctx, key, source); err != nil {
		t.Unknown = append(t.Unknown, "the GitRepository "+t.Source+": "+iostreams.Line(err.Error()))
		return nil
	}
	t.URL = iostreams.Line(source.Spec.URL)
	if source.Status.Artifact != nil {
		t.Head = iostreams.Line(source.Status.Artifact.Revision)
	}
	if !o.Commit || t.Revision == "" {
		return nil
	}
	commit, err := o.commitOf(ctx, hub, source, t.Revision)
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err != nil {
		t.Unknown = append(t.Unknown, "the author of the commit: "+iostreams.Line(err.Error()))
		return nil
	}
	t.Commit = commit
	return nil
}

// ownerOf returns the Kustomization that has an owner label, and its entry in the Assignment.
func ownerOf(a *v1alpha1.Assignment, hubID, label string) (types.NamespacedName, *v1alpha1.AssignmentEntry) {
	for i := range a.Spec.Entries {
		key := v1alpha1.ResolveName(a.Namespace, a.Spec.Entries[i].Name)
		if (object.Owner{Hub: hubID, Namespace: key.Namespace, Name: key.Name}).Label() == label {
			return key, &a.Spec.Entries[i]
		}
	}
	return types.NamespacedName{}, nil
}

// managers are the field managers beside the owner's, the last writer first, each once.
func managers(found *metav1.PartialObjectMetadata, label string) []Manager {
	var out []Manager
	seen := map[string]int{}
	for _, m := range found.ManagedFields {
		if label != "" && m.Manager == object.FieldManager(label) {
			continue
		}
		one := Manager{Name: iostreams.Line(m.Manager)}
		if m.Time != nil {
			one.Time = &m.Time.Time
		}
		if at, known := seen[one.Name]; known {
			if one.Time != nil && (out[at].Time == nil || one.Time.After(*out[at].Time)) {
				out[at] = one
			}
			continue
		}
		seen[one.Name] = len(out)
		out = append(out, one)
	}
	sortManagers(out)
	return out
}

// lastDrift returns the youngest drift that is recorded of an object.
func lastDrift(s *v1alpha1.AssignmentEntryStatus, id object.ID) *Drift {
	var last *Drift
	for _, d := range s.Drifts {
		if d.Object != id.String() || last != nil && !d.At.After(last.At) {
			continue
		}
		last = &Drift{Change: string(d.Change), Manager: iostreams.Line(d.Manager), At: d.At.UTC(), Action: string(d.Action)}
		for _, path := range d.Paths {
			last.Paths = append(last.Paths, iostreams.Line(path))
		}
	}
	return last
}
