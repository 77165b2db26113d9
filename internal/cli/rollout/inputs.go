package rollout

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/schema"
	"github.com/skerry-dev/skerry/internal/report"
	"github.com/skerry-dev/skerry/internal/rollout"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// inputs returns the Kustomization and the Clusters of a simulation, each from a file or from the hub.
func (o *Options) inputs(ctx context.Context) (*v1alpha1.Kustomization, []v1alpha1.Cluster, targeting.Access, error) {
	ctx, cancel := o.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	ks, err := o.kustomization(ctx)
	if err != nil {
		return nil, nil, targeting.Access{}, err
	}
	clusters, access, err := o.clusters(ctx, ks)
	return ks, clusters, access, err
}

func (o *Options) kustomization(ctx context.Context) (*v1alpha1.Kustomization, error) {
	if o.Simulate.File == "" {
		_, ks, err := load(ctx, o)
		return ks, err
	}
	docs, err := o.documents(o.Simulate.File, v1alpha1.KustomizationKind)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, doc := range docs {
		ks := &v1alpha1.Kustomization{}
		var head metav1.PartialObjectMetadata
		if err := yaml.Unmarshal(doc, &head); err != nil {
			return nil, fmt.Errorf("cannot read a Kustomization in %s: %w", o.Simulate.File, err)
		}
		if names = append(names, head.Name); head.Name != o.Name {
			continue
		}
		// A misspelt field would be simulated as if it were absent, and what the API server refuses as if it ran.
		if err := schema.Read(ctx, doc, ks); err != nil {
			return nil, fmt.Errorf("cannot read Kustomization %s in %s: %w", head.Name, o.Simulate.File, err)
		}
		if ks.Namespace == "" {
			ks.Namespace = o.Flags.Namespace
		}
		return ks, nil
	}
	err = fmt.Errorf("there is no Kustomization %q in %s", o.Name, o.Simulate.File)
	if len(names) > 0 {
		err = factory.Next(err, "there are %s", strings.Join(names, ", "))
	}
	return nil, err
}

func (o *Options) clusters(ctx context.Context, ks *v1alpha1.Kustomization) ([]v1alpha1.Cluster, targeting.Access, error) {
	if o.Simulate.ClustersFile == "" {
		hub, err := o.Hub()
		if err != nil {
			return nil, targeting.Access{}, err
		}
		return factory.Selectable(ctx, hub, ks)
	}
	list, err := o.clustersOfFile(ctx, ks.Namespace)
	return list, targeting.Access{}, err
}

// clustersOfFile reads Clusters; one that names no namespace is of the given one.
func (o *Options) clustersOfFile(ctx context.Context, namespace string) ([]v1alpha1.Cluster, error) {
	var list v1alpha1.ClusterList
	docs, err := o.documents(o.Simulate.ClustersFile, v1alpha1.ClusterKind)
	if err != nil {
		return nil, err
	}
	for _, doc := range docs {
		c := v1alpha1.Cluster{}
		if err := schema.Read(ctx, doc, &c); err != nil {
			return nil, fmt.Errorf("cannot read a Cluster in %s: %w", o.Simulate.ClustersFile, err)
		}
		if c.Namespace == "" {
			c.Namespace = namespace
		}
		list.Items = append(list.Items, c)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("there is no Cluster in %s", o.Simulate.ClustersFile)
	}
	return list.Items, nil
}

// documents returns the objects of ours of one kind in a file, those in a List too. Others are passed
// over.
func (o *Options) documents(file, kind string) ([][]byte, error) {
	data, err := o.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("cannot read the file: %w", err)
	}
	var out [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		doc, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
		asJSON, err := yaml.YAMLToJSON(doc)
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
		if out, err = appendKind(out, asJSON, kind); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", file, err)
		}
	}
}

func appendKind(out [][]byte, doc []byte, kind string) ([][]byte, error) {
	var head struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}
	if string(doc) == "null" {
		return out, nil
	}
	if err := json.Unmarshal(doc, &head); err != nil {
		return nil, err
	}
	if head.Kind == kind && strings.HasPrefix(head.APIVersion, v1alpha1.Group+"/") {
		return append(out, doc), nil
	}
	if head.Kind == "List" || head.Kind == kind+"List" {
		for _, item := range head.Items {
			var err error
			if out, err = appendKind(out, item, kind); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// members are the selected clusters as the planner sees them before the change: all at what was
// verified last. A Cluster that the hub has not connected to, as in a file, counts as reachable.
func members(selected targeting.Selection, namespace string, clusters []v1alpha1.Cluster, start time.Time) []rollout.Member {
	byName := map[string]*v1alpha1.Cluster{}
	for i := range clusters {
		byName[v1alpha1.RelativeName(namespace, client.ObjectKeyFromObject(&clusters[i]))] = &clusters[i]
	}
	all := make([]rollout.Member, 0, len(selected.Targets))
	for _, t := range selected.Targets {
		m := rollout.Member{Name: t.Name, Labels: t.Labels, Position: rollout.Other, Applied: true, Since: start.Add(-24 * time.Hour)}
		switch can := report.AvailabilityOf(byName[t.Name]); {
		case can.Suspended:
			m.Health, m.Message = rollout.Suspended, "the cluster is suspended"
		case can.Unreachable:
			m.Health, m.Message = rollout.Unreachable, can.Message
		}
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b rollout.Member) int { return strings.Compare(a.Name, b.Name) })
	return all
}
