package bootstrap

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/tree"
)

const (
	// fluxGroup is the group of the kind by which Flux applies, and fluxKind that kind.
	fluxGroup = "kustomize.toolkit.fluxcd.io"
	fluxKind  = "kustomizations." + fluxGroup
	// fluxSync is the file in which Flux names the folder that it keeps a cluster from.
	fluxSync = "gotk-sync.yaml"
	// fluxComponents is the file that Flux's controllers are in.
	fluxComponents = "gotk-components.yaml"
)

// besideFlux looks for Flux in the repository. Where Flux keeps the folder of the hub it is refused: each of the two
// would apply the other, and who deletes one of them deletes both. Elsewhere a warning is printed.
func (r *run) besideFlux(files *tree.Tree, s *factory.Step) error {
	here, elsewhere := fluxFolders(files.Files(), r.Path)
	for _, dir := range here {
		data, err := files.ReadFile(path.Join(dir, fluxSync))
		if err == nil && bytes.Contains(data, []byte(fluxGroup)) {
			return factory.Next(fmt.Errorf("the repository has Flux, which keeps a cluster from %s, by %s/%s: each of the two would apply the other", r.Path, dir, fluxSync),
				"'skerry migrate' brings the repository and the cluster over from Flux, and then this goes on; or give another --path")
		}
	}
	others := slices.DeleteFunc(slices.Concat(here, elsewhere), func(dir string) bool { return migrated(files, dir) })
	if len(others) > 0 {
		s.Notef("Flux is in this repository too, in %s: 'skerry migrate' brings it over", strings.Join(others[:min(len(others), 3)], ", "))
	}
	return nil
}

// migrated reports whether a folder that Flux wrote has nothing of Flux any more: 'skerry migrate' leaves the file that
// names what to sync, with Skerry's kinds in it, and takes Flux's components out.
func migrated(files *tree.Tree, dir string) bool {
	data, err := files.ReadFile(path.Join(dir, fluxSync))
	return err == nil && !files.IsFile(path.Join(dir, fluxComponents)) && !bytes.Contains(data, []byte(fluxGroup))
}

// fluxFolders returns the folders that a bootstrap of Flux has written, sorted: those of which a hub at the path would
// render what is in them, and the others.
func fluxFolders(files []string, at string) (here, elsewhere []string) {
	for _, file := range files {
		dir, name := path.Split(file)
		if name != fluxComponents && name != fluxSync {
			continue
		}
		dir = path.Clean(dir)
		list := &elsewhere
		if at == "." || strings.HasPrefix(dir+"/", at+"/") {
			list = &here
		}
		if !slices.Contains(*list, dir) {
			*list = append(*list, dir)
		}
	}
	slices.Sort(here)
	slices.Sort(elsewhere)
	return here, elsewhere
}

// noteFlux prints a note where Flux is on the cluster. A user who may not see Flux gets none.
func (r *run) noteFlux(ctx context.Context, s *factory.Step) {
	kind := &metav1.PartialObjectMetadata{}
	kind.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
	if err := r.hub.Get(ctx, client.ObjectKey{Name: fluxKind}, kind); err == nil {
		s.Notef("Flux is on this cluster too: what one of the two applies, the other must not; 'skerry migrate cluster' takes over what Flux keeps")
	}
}
