package build

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/schema"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// objects are what files hold.
type objects struct {
	namespace      string
	kustomizations []v1alpha1.Kustomization
	clusters       []v1alpha1.Cluster
	ignores        map[string]string            // of GitRepositories, by "namespace/name"
	contents       map[string]targeting.Content // by "Kind/namespace/name"
}

// newObjects returns none; of those that are read, the ones without a namespace are of the given one.
func newObjects(namespace string) *objects {
	return &objects{namespace: namespace, ignores: map[string]string{}, contents: map[string]targeting.Content{}}
}

// offline reads everything from files.
func offline(ctx context.Context, o *Options) (*input, error) {
	all := newObjects(o.Flags.Namespace)
	for _, name := range append([]string{o.KustomizationFile}, o.ClusterFiles...) {
		if err := all.read(ctx, o, name); err != nil {
			return nil, err
		}
	}
	ks, err := all.kustomization(o)
	if err != nil {
		return nil, err
	}
	in, err := (&fileOrigin{Options: o, all: all}).input(ctx, ks)
	if err != nil {
		return nil, err
	}
	if in.files = o.Files; in.files != nil {
		return in, nil
	}
	if in.files, err = Checkout(o.Path); err != nil {
		return nil, err
	}
	return in, nil
}

// fileOrigin is what the files of the command line hold.
type fileOrigin struct {
	*Options
	all *objects
}

func (f *fileOrigin) input(_ context.Context, ks *v1alpha1.Kustomization) (*input, error) {
	in := &input{remove: func() {}, ks: ks, clusters: slices.Clone(f.all.clusters), hubID: f.HubID, origin: f, ignore: f.all.ignores[targeting.SourceOf(ks).String()]}
	in.lookup = func(kind, namespace, name string) (*targeting.Content, error) {
		return f.all.content(kind, namespace, name), nil
	}
	return in, nil
}

func (f *fileOrigin) files(_ context.Context, in *input) error {
	source := targeting.SourceOf(in.ks)
	return factory.Next(fmt.Errorf("without a hub there are no files of GitRepository %s", source), "--local-sources %s/%s=PATH", v1alpha1.GitRepositoryKind, source)
}

// content returns a ConfigMap or Secret; nil when there is none.
func (all *objects) content(kind, namespace, name string) *targeting.Content {
	if found, ok := all.contents[kind+"/"+namespace+"/"+name]; ok {
		return &found
	}
	return nil
}

func (all *objects) kustomization(o *Options) (*v1alpha1.Kustomization, error) {
	var names []string
	for i := range all.kustomizations {
		ks := &all.kustomizations[i]
		if ks.Name == o.Name || o.Name == "" && len(all.kustomizations) == 1 {
			return ks, nil
		}
		names = append(names, ks.Name)
	}
	switch {
	case len(names) == 0:
		return nil, factory.Next(fmt.Errorf("there is no Kustomization of skerry.dev in %s", o.KustomizationFile), "name the file with the Kustomization of apiVersion %s; what kustomize reads is another kind", v1alpha1.GroupVersion)
	case o.Name == "":
		return nil, factory.Usagef("%s holds several Kustomizations: name one of %s", o.KustomizationFile, few(names))
	}
	return nil, factory.Next(fmt.Errorf("there is no Kustomization %s in %s", o.Name, o.KustomizationFile), "it holds %s", few(names))
}

// read takes in the documents of one file. Those of other kinds are passed over.
func (all *objects) read(ctx context.Context, o *Options, name string) error {
	data, err := o.ReadFile(name)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", name, err)
	}
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for n := 1; ; n++ {
		doc, err := docs.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = all.take(ctx, doc)
		}
		if err != nil {
			return fmt.Errorf("cannot read %s, document %d: %w", name, n, err)
		}
	}
}

func (all *objects) take(ctx context.Context, doc []byte) error {
	var what metav1.TypeMeta
	if err := yaml.Unmarshal(doc, &what); err != nil {
		return err
	}
	ours, core := v1alpha1.GroupVersion.String(), corev1.SchemeGroupVersion.String()
	switch what {
	case metav1.TypeMeta{APIVersion: ours, Kind: v1alpha1.KustomizationKind}:
		ks := v1alpha1.Kustomization{}
		if err := all.strict(ctx, doc, &ks); err != nil {
			return err
		}
		all.kustomizations = append(all.kustomizations, ks)
	case metav1.TypeMeta{APIVersion: ours, Kind: v1alpha1.ClusterKind}:
		c := v1alpha1.Cluster{}
		if err := all.strict(ctx, doc, &c); err != nil {
			return err
		}
		all.clusters = append(all.clusters, c)
	case metav1.TypeMeta{APIVersion: ours, Kind: v1alpha1.GitRepositoryKind}:
		source := v1alpha1.GitRepository{}
		if err := all.strict(ctx, doc, &source); err != nil {
			return err
		}
		if source.Spec.Ignore != nil {
			all.ignores[source.Namespace+"/"+source.Name] = *source.Spec.Ignore
		}
	case metav1.TypeMeta{APIVersion: core, Kind: "ConfigMap"}:
		config := corev1.ConfigMap{}
		if err := all.strict(ctx, doc, &config); err != nil {
			return err
		}
		all.contents["ConfigMap/"+config.Namespace+"/"+config.Name] = targeting.Content{Data: config.Data}
	case metav1.TypeMeta{APIVersion: core, Kind: "Secret"}:
		secret := corev1.Secret{}
		if err := all.strict(ctx, doc, &secret); errors.Is(err, factory.ErrUnknownField) {
			return err
		} else if err != nil {
			return errors.New("it is no valid Secret") // what is wrong might quote a value
		}
		all.contents["Secret/"+secret.Namespace+"/"+secret.Name] = contentOf(&secret)
	default:
		return schema.Validate(ctx, doc) // a kind of ours, or a version, that nothing is done with
	}
	return nil
}

// strict decodes a document that an API server would take; an object that names no namespace is of the given one.
func (all *objects) strict(ctx context.Context, doc []byte, into metav1.Object) error {
	if err := schema.Read(ctx, doc, into); err != nil {
		return err
	}
	if into.GetNamespace() == "" {
		into.SetNamespace(all.namespace)
	}
	return nil
}

// contentOf is the data of a Secret, as the API server would keep it.
func contentOf(secret *corev1.Secret) targeting.Content {
	data := make(map[string]string, len(secret.Data)+len(secret.StringData))
	for k, v := range secret.Data {
		data[k] = string(v)
	}
	maps.Copy(data, secret.StringData)
	return targeting.Content{Data: data, Secret: true}
}
