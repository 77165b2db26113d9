package edge

import (
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

const (
	// asAggregated asks for all groups with their resources in one document. API servers have it since
	// Kubernetes 1.26, as v2beta1, and 1.30, as v2; the fields that are read are the same in both. An
	// older one answers the last form, a list of the names of groups.
	asAggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList," +
		"application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"

	// aggregateFrom is the number of unknown groups and versions from which on the document of all groups
	// replaces one request for each. The document of a plain API server has 20 KiB, a single group 1 to 3.
	aggregateFrom = 3
)

// groupDiscovery is what is read of an APIGroupDiscovery.
type groupDiscovery struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Versions []versionDiscovery `json:"versions"`
}

// versionDiscovery is what is read of an APIVersionDiscovery.
type versionDiscovery struct {
	Version   string `json:"version"`
	Resources []struct {
		Resource     string `json:"resource"`
		ResponseKind *struct {
			Kind string `json:"kind"`
		} `json:"responseKind"`
		Scope string   `json:"scope"`
		Verbs []string `json:"verbs"`
	} `json:"resources"`
	// Freshness is "Stale" where the server behind the API server did not answer: the resources are those
	// of its last answer, or none.
	Freshness string `json:"freshness"`
}

// Discover looks up kinds ahead of Mapping: those of many groups in one request. What it does not find,
// Mapping asks for by itself: a version that is missing from the document may have been defined a moment
// ago, and of a stale one only its own server knows the resources. So Discover can save requests and
// cannot change an answer, and it reports no error: a server that does not offer the document, or answers
// something else, is not asked for it again by this client.
func (c *Client) Discover(ctx context.Context, kinds []schema.GroupVersionKind) {
	c.aggregating.Lock()
	defer c.aggregating.Unlock()
	wanted := c.mappings.unknown(kinds)
	if len(wanted) < aggregateFrom || c.noAggregated {
		return
	}
	var list struct {
		Kind  string           `json:"kind"`
		Items []groupDiscovery `json:"items"`
	}
	// A request that fails is not repeated: those for each group follow.
	err := c.discovery(ctx, c.rest.Get().MaxRetries(0).AbsPath("/apis").SetHeader("Accept", asAggregated), &list)
	if err != nil || list.Kind != "APIGroupDiscoveryList" {
		c.noAggregated = true
		return
	}
	c.mappings.aggregated(list.Items, wanted)
}

// unknown returns the groups and versions of kinds that were neither found nor looked for in a document
// of all groups. The core group is not in that document.
func (m *mappings) unknown(kinds []schema.GroupVersionKind) map[schema.GroupVersion]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := map[schema.GroupVersion]bool{}
	for _, gvk := range kinds {
		gv := gvk.GroupVersion()
		if _, known := m.known[gvk]; !known && gv.Group != "" && !m.aggregatedFor[gv] {
			wanted[gv] = true
		}
	}
	return wanted
}

// aggregated takes what a document of all groups has of the wanted ones. The rest would take memory for
// each cluster and is not used by most.
func (m *mappings) aggregated(groups []groupDiscovery, wanted map[schema.GroupVersion]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.aggregatedFor == nil {
		m.aggregatedFor, m.unconfirmed = map[schema.GroupVersion]bool{}, map[schema.GroupVersionKind]bool{}
	}
	for gv := range wanted {
		m.aggregatedFor[gv] = true
	}
	for _, group := range groups {
		for _, version := range group.Versions {
			gv := schema.GroupVersion{Group: group.Metadata.Name, Version: version.Version}
			if !wanted[gv] || version.Freshness == "Stale" {
				continue
			}
			for _, r := range version.Resources {
				if r.ResponseKind != nil && r.Resource != "" {
					m.add(gv, metav1.APIResource{Name: r.Resource, Kind: r.ResponseKind.Kind, Namespaced: r.Scope == "Namespaced", Verbs: r.Verbs})
					m.unconfirmed[gv.WithKind(r.ResponseKind.Kind)] = true
				}
			}
		}
	}
}

// ForgetUnconfirmed forgets a mapping that a document of all groups had and no other answer has confirmed,
// and returns whether there was one. The document is put together by the API server apart from what it
// serves, so it can be older: what it has and what is answered with "not found" is looked up anew.
func (c *Client) ForgetUnconfirmed(gvk schema.GroupVersionKind) bool {
	c.mappings.mu.Lock()
	defer c.mappings.mu.Unlock()
	if !c.mappings.unconfirmed[gvk] {
		return false
	}
	delete(c.mappings.unconfirmed, gvk)
	delete(c.mappings.known, gvk)
	return true
}

// discovery sends one request and decodes the answer. What it is decoded into can take twenty times the size
// of the answer: so the number of its elements is bounded first, and a large answer keeps its share of the budget until it is
// decoded.
func (c *Client) discovery(ctx context.Context, req *rest.Request, into any) error {
	ctx, done, err := c.slot(ctx)
	if err != nil {
		return err
	}
	defer done()
	raw, err := rawOf(req.Do(ctx))
	if err != nil {
		return err
	}
	if n := countElements(raw); n > maxElements {
		return fmt.Errorf("%w: it has %d elements", ErrTooLarge, n)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("the answer is not what was asked for: %w", err)
	}
	return nil
}
