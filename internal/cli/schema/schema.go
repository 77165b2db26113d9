// Package schema validates objects of files by the CustomResourceDefinitions, with the code by which an API server
// validates them when they are created, and with its messages.
//
// A command that reads files would otherwise show what becomes of an object that no API server takes.
package schema

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/config"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

// Read decodes a document into an object, strictly: a field that the kind does not have is an error, and so is an object
// of ours that an API server would not create.
func Read(ctx context.Context, doc []byte, into any) error {
	decoded := factory.UnmarshalStrict(doc, into)
	if errors.Is(decoded, factory.ErrUnknownField) {
		return decoded
	}
	if err := Validate(ctx, doc); err != nil {
		return err // it names the field of what cannot be decoded
	}
	return decoded
}

// Validate returns why an API server would not create the object of a document of YAML or JSON, nil when it would.
// Objects of other groups are passed over. An object that names no namespace is taken to be of "default".
//
// Fields that the kind does not have are not looked for: Read does that.
func Validate(ctx context.Context, doc []byte) error {
	data, err := yaml.YAMLToJSON(doc)
	if err != nil {
		return err
	}
	var content map[string]any
	if err := utiljson.Unmarshal(data, &content); err != nil {
		return err
	}
	o := &unstructured.Unstructured{Object: content}
	gvk := o.GroupVersionKind()
	if gvk.Group != v1alpha1.Group {
		return nil
	}
	all, err := definitions()
	if err != nil {
		return err
	}
	d := all[gvk.Kind]
	if d == nil || gvk.Version != v1alpha1.GroupVersion.Version {
		return fmt.Errorf("no matches for kind %q in version %q", gvk.Kind, gvk.GroupVersion())
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	if errs := d.validate(ctx, o); len(errs) > 0 {
		return apierrors.NewInvalid(gvk.GroupKind(), o.GetName(), errs)
	}
	return nil
}

// definition is a kind, ready to validate with. Its rules are compiled when the first object of the kind is validated.
type definition struct {
	structural *structuralschema.Structural
	openAPI    validation.SchemaValidator
	rules      func() *cel.Validator
}

// blocking are the errors after which an API server does not evaluate rules: their input may not be what they expect.
var blocking = []field.ErrorType{field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid}

// validate does what an API server does with an object that is created, in that order.
func (d *definition) validate(ctx context.Context, o *unstructured.Unstructured) field.ErrorList {
	delete(o.Object, "status") // it is a subresource
	defaulting.PruneNonNullableNullsWithoutDefaults(o.Object, d.structural)
	defaulting.Default(o.Object, d.structural)
	errs := metavalidation.ValidateObjectMetaAccessor(o, true, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	errs = append(errs, validation.ValidateCustomResource(nil, o.Object, d.openAPI)...)
	errs = append(errs, listtype.ValidateListSetsAndMaps(nil, d.structural, o.Object)...)
	if slices.ContainsFunc(errs, func(err *field.Error) bool { return slices.Contains(blocking, err.Type) }) {
		return append(errs, field.Invalid(nil, nil, "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation"))
	}
	if rules := d.rules(); rules != nil {
		found, _ := rules.Validate(ctx, nil, d.structural, o.Object, nil, celconfig.RuntimeCELCostBudget)
		errs = append(errs, found...)
	}
	return errs
}

// definitions returns the kinds that the manifests of this program define, by name.
var definitions = sync.OnceValues(func() (map[string]*definition, error) {
	entries, err := fs.ReadDir(config.FS, "crd")
	if err != nil {
		return nil, fmt.Errorf("cannot list the definitions of the kinds: %w", err)
	}
	all := make(map[string]*definition, len(entries))
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), v1alpha1.Group+"_") {
			continue
		}
		data, err := fs.ReadFile(config.FS, path.Join("crd", entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("cannot read the definition of a kind: %w", err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(data, &crd); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", entry.Name(), err)
		}
		if all[crd.Spec.Names.Kind], err = newDefinition(&crd); err != nil {
			return nil, fmt.Errorf("cannot use the schema of %s: %w", crd.Name, err)
		}
	}
	return all, nil
})

func newDefinition(crd *apiextensionsv1.CustomResourceDefinition) (*definition, error) {
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &internal, nil); err != nil {
		return nil, err
	}
	structural, err := structuralschema.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	openAPI, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, err
	}
	return &definition{structural: structural, openAPI: openAPI, rules: sync.OnceValue(func() *cel.Validator {
		return cel.NewValidator(structural, true, celconfig.PerCallLimit)
	})}, nil
}
