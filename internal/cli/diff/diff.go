// Package diff is the command that shows what a change would do before it is merged: on real clusters, by
// dry runs of their API servers, or between two revisions, by what is rendered.
//
// Reading clusters and Git is apart from comparing, folding and writing, which are pure.
package diff

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/apierror"
	"github.com/skerry-dev/skerry/internal/cli/build"
	"github.com/skerry-dev/skerry/internal/cli/edges"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
	"github.com/skerry-dev/skerry/internal/object"
	"github.com/skerry-dev/skerry/internal/text"
)

// clustersSideBySide bounds how many clusters are asked at once.
const clustersSideBySide = 32

// Options of the command.
type Options struct {
	*factory.Factory
	// Build is what is rendered, and for which clusters.
	Build build.Options
	// Revision is "A..B"; empty where clusters are asked.
	Revision          string
	IgnoreUnreachable bool
	Output            string
}

// NewCmdDiff returns the command; runF replaces what its subcommand runs, for tests.
func NewCmdDiff(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "diff",
		Short:   "Show what a change would do, before it is merged",
		Example: `  skerry diff kustomization web --path . --all`,
	}
	factory.Group(cmd)
	cmd.AddCommand(newCmdKustomization(f, runF))
	return cmd
}

func newCmdKustomization(f *factory.Factory, runF func(context.Context, *Options) error) *cobra.Command {
	o := &Options{Factory: f, Build: build.Options{Factory: f}}
	if runF == nil {
		runF = runDiff
	}
	cmd := &cobra.Command{
		Use:     "kustomization [NAME]",
		Aliases: []string{"ks"},
		Short:   "Show what the files of a checkout would change on the clusters of a kustomization",
		Long: `Show what the files of a checkout would change on the clusters of a kustomization. They are
rendered for each cluster by the code that the hub runs, and the API server of each cluster is
asked by a server-side dry run what would come of it. Clusters on which the same would happen are
shown together. Nothing is written.

Clusters are reached with the kubeconfigs that the hub has, as far as your credentials may read
them; without --path the hub's own commit is compared, which shows what is not applied yet.

With --revision two commits of the Git repository at --path are compared by what is rendered of
them, and no cluster is asked; without a second one, the files as they are.

The data of Secrets, and what was taken from them, is shown as ***.

Exit codes: 0 nothing would change; 1 something would; 2 the command line is wrong; 3 the hub's API
server could not be asked; 4 it could not be told for all clusters, or some would refuse it.`,
		Example: `  # What the working tree would change on one cluster
  skerry diff kustomization web --path . --cluster shop-1

  # On all of them; those that do not answer do not count
  skerry diff kustomization web --path . --all --ignore-unreachable

  # Of a pull request, as JSON
  skerry diff kustomization web --path . --revision origin/main..HEAD --all -o json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && o.Build.KustomizationFile != "" {
				return nil
			}
			return factory.OneName(cmd, args)
		},
		ValidArgsFunction: f.CompleteName(func() client.ObjectList { return &v1alpha1.KustomizationList{} }),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.Build.Name = args[0]
			}
			return failed(runF(cmd.Context(), o))
		},
	}
	build.AddTargetFlags(cmd, &o.Build, "all")
	flags := cmd.Flags()
	flags.StringVar(&o.Build.Path, "path", "", "local checkout with the change (default: the commit that the hub has)")
	flags.StringVar(&o.Revision, "revision", "", "compare two revisions of the repository at --path, as A..B, and ask no cluster")
	flags.StringVar(&o.Build.KustomizationFile, "kustomization-file", "", "read the Kustomization from a file instead of the hub")
	flags.StringArrayVar(&o.Build.ClusterFiles, "cluster-file", nil, "with --revision, read Clusters from a file instead of the hub; can be given again")
	flags.StringVar(&o.Build.HubID, "hub-id", "", "identity of the hub in the owner label (default: the hub's)")
	flags.BoolVar(&o.IgnoreUnreachable, "ignore-unreachable", false, "clusters that cannot be asked are named and count for nothing")
	factory.AddOutputFlag(cmd, &o.Output)
	_ = cmd.MarkFlagDirname("path")
	_ = cmd.MarkFlagFilename("kustomization-file", "yaml", "yml")
	_ = cmd.MarkFlagFilename("cluster-file", "yaml", "yml")
	return cmd
}

// failed gives an error that would end with the code for changes another one.
func failed(err error) error {
	if err == nil || errors.Is(err, factory.ErrSilent) || errors.Is(err, errRefused) {
		return err
	}
	return factory.WithCode(err, factory.ExitDiffFailed)
}

// errRefused ends with ExitDiffFailed; what there was to say has been said.
var errRefused = factory.WithCode(factory.ErrSilent, factory.ExitDiffFailed)

func runDiff(ctx context.Context, o *Options) error {
	ctx, cancel := o.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var r Report
	var err error
	switch {
	case o.Revision != "":
		r, err = o.revisions(ctx)
	case o.Build.KustomizationFile != "":
		r, err = o.fromFile(ctx)
	default:
		r, err = o.clusters(ctx)
	}
	if err != nil {
		return err
	}
	return o.show(r)
}

// fromFile compares a Kustomization that is read from a file with the clusters.
func (o *Options) fromFile(ctx context.Context) (Report, error) {
	if o.Build.Path == "" || len(o.Build.ClusterFiles) > 0 {
		return Report{}, factory.Usagef("--kustomization-file goes with --path, or with --revision; --cluster-file with --revision only, as no cluster is asked then")
	}
	return o.clusters(ctx)
}

func (o *Options) show(r Report) error {
	if o.Output != "" {
		if err := factory.Print(o.IO.Out, o.Output, r); err != nil {
			return err
		}
	} else if _, err := o.IO.Out.Write([]byte(Text(o.IO, r))); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	o.IO.Progressf("%s", Summary(r))
	return o.exitError(r)
}

// exitError is how the command ends: what would be refused, or is not known, comes before what would change.
func (o *Options) exitError(r Report) error {
	switch {
	case len(r.Refused) > 0, len(r.Unknown) > 0 && !o.IgnoreUnreachable:
		return errRefused
	case len(r.Changes) > 0:
		return factory.ErrSilent
	}
	return nil
}

// clusters compares what is rendered with what the clusters have.
func (o *Options) clusters(ctx context.Context) (Report, error) {
	made, err := build.Make(ctx, &o.Build)
	if err != nil {
		return Report{}, err
	}
	hub, err := o.Hub()
	if err != nil {
		return Report{}, err
	}
	ks := made.Kustomization
	owner := object.Owner{Hub: made.HubID, Namespace: ks.Namespace, Name: ks.Name}
	var jobs []*clusterJob
	secrets := made.Secrets()
	for _, f := range made.For {
		for _, name := range f.Clusters {
			jobs = append(jobs, &clusterJob{name: name, rendered: f, cluster: made.Cluster(name)})
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(clustersSideBySide)
	asked := atomic.Int64{}
	busy := o.IO.Busy("asking " + text.Count(len(jobs), "cluster"))
	defer busy.Stop()
	for _, j := range jobs {
		g.Go(func() error {
			defer func() { busy.Set(fmt.Sprintf("%d of %s asked", asked.Add(1), text.Count(len(jobs), "cluster"))) }()
			j.result = o.review(ctx, hub, j, &review{
				spec: &ks.Spec, owner: owner.Label(), manager: owner.FieldManager(), hubID: made.HubID,
				bundle: j.rendered.Bundle, desired: j.rendered.Objects, secrets: secrets,
			})
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return Report{}, err
	}
	results := make([]Result, len(jobs))
	for i, j := range jobs {
		results[i] = j.result
	}
	return Fold(Report{Kustomization: ks.Name, Namespace: ks.Namespace}, results), nil
}

type clusterJob struct {
	name     string
	rendered build.Rendered
	cluster  *v1alpha1.Cluster
	result   Result
}

func (o *Options) review(ctx context.Context, hub *factory.Hub, j *clusterJob, r *review) Result {
	if err := j.rendered.Err; err != nil {
		return Result{Cluster: j.name, Refused: []Problem{{Reason: build.Reason(err), Message: err.Error()}}}
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout(time.Minute))
	defer cancel()
	c, err := edges.Connect(ctx, o.Factory, hub, j.cluster)
	if err == nil {
		defer c.Close()
		r.client = c
		err = r.run(ctx)
	}
	r.result.Cluster = j.name
	if err != nil {
		r.result = Result{Cluster: j.name, Unknown: []Problem{unknown(err)}}
	}
	// What was found side by side is put in order, so that equal results are equal.
	slices.SortStableFunc(r.result.Changes, func(a, b Change) int { return object.Order(a.Object.id, b.Object.id) })
	return r.result
}

// unknown returns why a cluster could not be asked, in words that are the same for clusters alike.
func unknown(err error) Problem {
	var no *edges.UnknownError
	switch {
	case errors.As(err, &no):
		return Problem{Reason: no.Reason, Message: no.Message}
	case apierror.Unauthorized(err):
		return Problem{Reason: v1alpha1.UnauthorizedReason, Message: "the cluster does not accept the hub's credentials"}
	case errors.Is(err, context.DeadlineExceeded):
		return Problem{Reason: v1alpha1.UnreachableReason, Message: "the cluster did not answer in time"}
	}
	return Problem{Reason: v1alpha1.UnreachableReason, Message: iostreams.Line(err.Error())}
}

// decode returns the body of an object.
func decode(o object.Object) (map[string]any, error) {
	var body map[string]any
	d := json.NewDecoder(bytes.NewReader(o.Body))
	d.UseNumber()
	if err := d.Decode(&body); err != nil {
		return nil, fmt.Errorf("cannot decode what was rendered: %w", err)
	}
	return body, nil
}

// revisions compares what is rendered of two revisions.
func (o *Options) revisions(ctx context.Context) (Report, error) {
	from, to, ok := strings.Cut(o.Revision, "..")
	if !ok || from == "" || strings.HasPrefix(to, ".") {
		return Report{}, factory.Usagef("--revision must be A..B, two revisions of the repository at --path, or A.. for the files as they are")
	}
	if o.Build.Path == "" {
		o.Build.Path = "."
	}
	before, after := o.Build, o.Build
	var err error
	if before.Files, err = revisionTree(o.Build.Path, from); err != nil {
		return Report{}, err
	}
	if to != "" {
		if after.Files, err = revisionTree(o.Build.Path, to); err != nil {
			return Report{}, err
		}
	}
	was, err := build.Make(ctx, &before)
	if err != nil {
		return Report{}, err
	}
	is, err := build.Make(ctx, &after)
	if err != nil {
		return Report{}, err
	}
	if to == "" {
		to = "the files at " + o.Build.Path
	}
	r := Report{Kustomization: is.Kustomization.Name, Namespace: is.Kustomization.Namespace, From: from, To: to}
	return Fold(r, Rendered(was, is)), nil
}
