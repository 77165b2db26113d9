package install

import (
	"fmt"
	"regexp"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skerry-dev/skerry/internal/cli/apply"
	"github.com/skerry-dev/skerry/internal/cli/factory"
)

func export(o *Options, manifests []*unstructured.Unstructured) error {
	doc, err := apply.YAML(manifests)
	if err != nil {
		return err
	}
	if _, err := o.IO.Out.Write(doc); err != nil {
		return fmt.Errorf("cannot write: %w", err)
	}
	return nil
}

var hubID = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?$`)

// ValidHubID refuses an identity that would not fit where it has to be written; "" is none.
func ValidHubID(id string) error {
	if id != "" && !hubID.MatchString(id) {
		return factory.Usagef("--hub-id %q must be at most 63 letters, digits, '-', '_' and '.', with a letter or digit at either end", id)
	}
	return nil
}
