package fleetsim

import (
	"fmt"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsapply "k8s.io/apiextensions-apiserver/pkg/client/applyconfiguration"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	coreapply "k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
)

// fields keeps the record of who owns which field of the objects of a kind, with the code that API
// servers use for it.
type fields struct {
	object *managedfields.FieldManager
	status *managedfields.FieldManager
}

func newFields(k *kind, types managedfields.TypeConverter) (*fields, error) {
	var err error
	f := &fields{}
	var resetObject, resetStatus map[fieldpath.APIVersion]fieldpath.Filter
	if k.status {
		version := fieldpath.APIVersion(k.gvk.GroupVersion().String())
		resetObject = map[fieldpath.APIVersion]fieldpath.Filter{version: fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("status")))}
		resetStatus = map[fieldpath.APIVersion]fieldpath.Filter{version: fieldpath.NewExcludeSetFilter(fieldpath.NewSet(fieldpath.MakePathOrDie("spec")))}
	}
	none := untyped{}
	manager := managedfields.NewDefaultFieldManager
	if k.custom {
		manager = managedfields.NewDefaultCRDFieldManager
	}
	if f.object, err = manager(types, none, none, none, k.gvk, k.gvk.GroupVersion(), "", resetObject); err != nil {
		return nil, fmt.Errorf("cannot keep fields of %s: %w", k.gvk, err)
	}
	if !k.status {
		return f, nil
	}
	if f.status, err = manager(types, none, none, none, k.gvk, k.gvk.GroupVersion(), "status", resetStatus); err != nil {
		return nil, fmt.Errorf("cannot keep fields of %s: %w", k.gvk, err)
	}
	return f, nil
}

// untyped stands where an API server converts between versions, fills in defaults and makes new
// objects of Go types. Here each kind has one version and objects are what they were written as.
type untyped struct{}

func (untyped) Convert(_, _, _ any) error { return fmt.Errorf("there is nothing to convert to") }

func (untyped) ConvertToVersion(in runtime.Object, _ runtime.GroupVersioner) (runtime.Object, error) {
	return in, nil
}

func (untyped) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

func (untyped) Default(runtime.Object) {}

func (untyped) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(gvk)
	return u, nil
}

// builtinTypes says which lists are sets, maps or one value, for the kinds of Kubernetes.
var builtinTypes = sync.OnceValue(func() managedfields.TypeConverter {
	definitions := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(definitions); err != nil {
		panic(err) // two kinds of one name: not at run time
	}
	return &eitherTypes{
		core:        coreapply.NewTypeConverter(scheme.Scheme),
		definitions: apiextensionsapply.NewTypeConverter(definitions),
	}
})

type eitherTypes struct{ core, definitions managedfields.TypeConverter }

func (t *eitherTypes) ObjectToTyped(o runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	if o.GetObjectKind().GroupVersionKind().Group == apiextensionsv1.GroupName {
		return t.definitions.ObjectToTyped(o, opts...)
	}
	return t.core.ObjectToTyped(o, opts...)
}

func (t *eitherTypes) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	return t.core.TypedToObject(v)
}
