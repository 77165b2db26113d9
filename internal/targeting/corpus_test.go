package targeting_test

import (
	"bytes"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	kustomizev1 "github.com/fluxcd/kustomize-controller/api/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

var corpus = flag.String("corpus", "", "folder of checkouts of Flux repositories for TestCorpusRendersAsFlux")

// TestCorpusRendersAsFlux renders every Flux Kustomization of the repositories in a folder, one in each directory of
// it, with Flux's packages and with ours, and shows what differs:
//
//	go test ./internal/targeting -run TestCorpusRendersAsFlux -corpus ~/repositories -v
//
// Encrypted files stay encrypted in both, and a variable that is not in the repository is empty in both.
func TestCorpusRendersAsFlux(t *testing.T) {
	if *corpus == "" {
		t.Skip("no -corpus is given")
	}
	repositories, err := os.ReadDir(*corpus)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range repositories {
		t.Run(dir.Name(), func(t *testing.T) {
			files := filesOf(t, filepath.Join(*corpus, dir.Name()))
			kustomizations, settings := kindsOf(files)
			if len(kustomizations) == 0 {
				kustomizations = eachDirectory(files)
			}
			same := 0
			for name, ks := range kustomizations {
				t.Run(name, func(t *testing.T) {
					p := peered{files: files, substitutes: settings}
					p.ks.Spec = *specOf(t, ks)
					differences := p.differencesWithoutVariables(t)
					if differences != "" {
						t.Errorf("%s", differences)
						return
					}
					same++
				})
			}
			t.Logf("%d of %d Kustomizations render to the same", same, len(kustomizations))
		})
	}
}

// filesOf reads the regular files of a checkout.
func filesOf(t *testing.T, root string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == ".git" || !d.Type().IsRegular() {
			if err == nil && d.Name() == ".git" && d.IsDir() {
				return filepath.SkipDir
			}
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err == nil {
			files[filepath.ToSlash(rel)], err = os.ReadFile(file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

var separator = regexp.MustCompile(`(?m)^---.*$`)

// kindsOf returns the Kustomizations of Flux that the files hold, by file and name, and the ConfigMaps.
func kindsOf(files map[string][]byte) (map[string]*kustomizev1.Kustomization, []client.Object) {
	found, settings := map[string]*kustomizev1.Kustomization{}, map[string]client.Object{}
	for name, data := range files {
		if ext := filepath.Ext(name); ext != ".yaml" && ext != ".yml" {
			continue
		}
		for _, doc := range separator.Split(string(data), -1) {
			var head metav1.TypeMeta
			if yaml.Unmarshal([]byte(doc), &head) != nil {
				continue
			}
			ks, config := &kustomizev1.Kustomization{}, &corev1.ConfigMap{}
			switch {
			case strings.HasPrefix(head.APIVersion, "kustomize.toolkit.fluxcd.io/") && head.Kind == "Kustomization":
				if yaml.Unmarshal([]byte(doc), ks) == nil && ks.Spec.SourceRef.Kind == "GitRepository" {
					found[name+" "+ks.Name] = ks
				}
			case head.APIVersion == "v1" && head.Kind == "ConfigMap":
				if yaml.Unmarshal([]byte(doc), config) == nil && !bytes.Contains([]byte(doc), []byte("${")) {
					config.Namespace = namespace
					settings[config.Name] = config
				}
			}
		}
	}
	var list []client.Object
	for _, o := range settings {
		list = append(list, o)
	}
	return found, list
}

// eachDirectory returns a Kustomization for each directory with a kustomization.
func eachDirectory(files map[string][]byte) map[string]*kustomizev1.Kustomization {
	found := map[string]*kustomizev1.Kustomization{}
	for name, data := range files {
		if base := filepath.Base(name); (base == "kustomization.yaml" || base == "kustomization.yml") && !bytes.Contains(data, []byte("kind: Component")) {
			found[name] = &kustomizev1.Kustomization{Spec: kustomizev1.KustomizationSpec{Path: filepath.Dir(name)}}
		}
	}
	return found
}

// specOf is a spec of Flux as ours: the fields that decide what is rendered have the same names.
func specOf(t *testing.T, ks *kustomizev1.Kustomization) *v1alpha1.KustomizationSpec {
	t.Helper()
	data, err := yaml.Marshal(ks.Spec)
	if err != nil {
		t.Fatal(err)
	}
	spec := &v1alpha1.KustomizationSpec{}
	if err := yaml.Unmarshal(data, spec); err != nil {
		t.Fatal(err)
	}
	spec.Path = strings.TrimPrefix(spec.Path, "/")
	if post := spec.PostBuild; post != nil {
		for i := range post.SubstituteFrom {
			post.SubstituteFrom[i].Optional = true
		}
		if post.Substitute == nil {
			post.Substitute = map[string]string{}
		}
	}
	return spec
}

var missing = regexp.MustCompile(`"([A-Za-z0-9_]+)" \(in `)

// differencesWithoutVariables gives each variable that has no value an empty one.
func (p *peered) differencesWithoutVariables(t *testing.T) string {
	t.Helper()
	for range 50 {
		differences := p.differences(t)
		found := missing.FindAllStringSubmatch(differences, -1)
		if len(found) == 0 || p.ks.Spec.PostBuild == nil || !strings.Contains(differences, " no value") {
			return differences
		}
		for _, m := range found {
			p.ks.Spec.PostBuild.Substitute[m[1]] = ""
		}
	}
	return "more than 50 variables have no value"
}
