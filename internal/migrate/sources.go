package migrate

import (
	"strings"
	"time"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// gitRepository applies what COMPATIBILITY.md says of the fields of a GitRepository.
func (c *conversion) gitRepository() {
	c.bound("spec.interval", time.Second, day)
	c.bound("spec.timeout", time.Second, time.Hour)
	url := c.field("spec.url")
	if url != nil {
		scheme, rest, _ := strings.Cut(url.Value, "://")
		host, _, _ := strings.Cut(rest, "/")
		switch {
		case strings.HasPrefix(scheme, "http") && strings.Contains(host, "@"):
			c.cannot(url, "spec.url", "it holds a user name: put the credentials into the Secret of spec.secretRef")
		case scheme == "http" && c.field("spec.secretRef") != nil:
			c.change(url, "spec.url", "credentials are not sent over plain http: use https")
		}
	}
	switch provider := scalar(c.node, "spec", "provider"); provider {
	case "", "generic", "github":
	default:
		c.cannot(c.field("spec.provider"), "spec.provider", "the identity of %s is not used: put a token, key or GitHub App into the Secret of spec.secretRef", provider)
	}
	if n := c.field("spec.serviceAccountName"); n != nil && n.Value != "" {
		c.cannot(n, "spec.serviceAccountName", "the identities of the clouds are not used: put a token, key or GitHub App into the Secret of spec.secretRef")
	}
	c.reference()
	if n := c.field("spec.recurseSubmodules"); n != nil && n.Value == "true" {
		c.change(n, "spec.recurseSubmodules", "submodules are fetched of the repository's own host only, at most 64 and 5 deep")
	}
	if n := c.field("spec.gitImplementation"); n != nil {
		c.change(n, "spec.gitImplementation", "it is of an older version, does nothing, and is taken out")
		c.drop("spec.gitImplementation")
	}
}

// reference writes the default of ref that Flux has.
func (c *conversion) reference() {
	ref := c.field("spec.ref")
	if ref == nil || ref.Kind == yaml.MappingNode && len(ref.Content) == 0 {
		if ref != nil {
			c.drop("spec.ref")
		}
		if !c.patch {
			_, spec := child(c.node, "spec")
			if spec != nil {
				e, err := c.text.add(spec, "ref", "{branch: master}")
				c.do(spec, "spec.ref", e, err)
				c.change(spec, "spec.ref", "it is absent, which is master in Flux, and the server's HEAD here: branch: master is written")
			}
		}
		return
	}
	if n := c.field("spec.ref.semver"); n != nil {
		c.change(n, "spec.ref.semver", "of versions that differ in their build alone the highest build is taken; Flux takes the youngest commit")
	}
}

// receiver applies what COMPATIBILITY.md says of the fields of a Receiver.
func (c *conversion) receiver() {
	_, list := child(c.node, "spec", "resources")
	kept := 0
	for _, n := range items(c.node, "spec", "resources") {
		switch kind := scalar(n, "kind"); kind {
		case "GitRepository":
			kept++
			if _, version := child(n, "apiVersion"); version != nil {
				c.setNode(version, "spec.resources.apiVersion", v1alpha1)
			}
		case "Kustomization":
			c.change(n, "spec.resources", "a Kustomization follows its source at once and needs no webhook: %s is taken out", scalar(n, "name"))
			e, err := c.text.removeItem(list, n)
			c.do(n, "spec.resources", e, err)
		default:
			c.cannot(n, "spec.resources", "%s is no source of Skerry: put it into a Receiver of its own, which stays with Flux", kind)
		}
	}
	if kept == 0 && !c.patch {
		c.cannot(list, "spec.resources", "none of them is a GitRepository")
	}
	if !c.patch {
		c.change(nil, "", "the path of its URL stays; let the Ingress lead to the Service skerry-receiver in place of webhook-receiver (config/ingress)")
	}
}
