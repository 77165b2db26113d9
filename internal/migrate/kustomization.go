package migrate

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/kustomize/kyaml/yaml"
)

// v1alpha1 is the version of Skerry's kinds.
const v1alpha1 = "skerry.dev/v1alpha1"

// hubNamespace is that of the hub, whose Kustomizations may bring Skerry's kinds of other namespaces.
const hubNamespace = "skerry-system"

// conversion is what becomes of one object.
type conversion struct {
	*document
	text  *text
	files map[string][]byte
	reach func(dir string) []string
	// appliers are the Kustomizations that bring the object.
	appliers   []*document
	artifactOf func(of *document, namespace, name string) (artifact, error)
	// installsFlux says of a reference whether it leads to what installs Flux.
	installsFlux func(reference) bool
}

// change notes that a field means something else.
func (c *conversion) change(n *yaml.Node, field, format string, args ...any) {
	c.changes = append(c.changes, c.noteAt(n, Changed, field, fmt.Sprintf(format, args...)))
}

// do takes an edit. What cannot be edited cannot move.
func (c *conversion) do(n *yaml.Node, field string, e edit, err error) {
	if errors.Is(err, errNotPlain) {
		c.cannot(n, field, "%v", err)
		return
	}
	c.edits = append(c.edits, e)
}

// field returns a field of the object by its path, as "spec.wait".
func (c *conversion) field(name string) *yaml.Node {
	_, v := child(c.node, strings.Split(name, ".")...)
	return v
}

// set replaces the value of a field that is there.
func (c *conversion) set(field, value string) {
	if n := c.field(field); n != nil {
		c.setNode(n, field, value)
	}
}

func (c *conversion) setNode(n *yaml.Node, field, value string) {
	e, err := c.text.set(n, value)
	c.do(n, field, e, err)
}

// add puts a field into the spec, unless it is there or the object is a patch.
func (c *conversion) add(name, value string) {
	_, spec := child(c.node, "spec")
	if spec == nil || c.patch || c.field("spec."+name) != nil {
		return
	}
	e, err := c.text.add(spec, name, value)
	c.do(spec, "spec."+name, e, err)
}

// drop takes a field out, by its path.
func (c *conversion) drop(field string) {
	names := strings.Split(field, ".")
	_, parent := child(c.node, names[:len(names)-1]...)
	if key, _ := child(parent, names[len(names)-1]); key != nil {
		e, err := c.text.remove(parent, key)
		c.do(key, field, e, err)
	}
}

// bound keeps a duration within the limits of Skerry. One that is a variable is left alone.
func (c *conversion) bound(field string, least, most time.Duration) {
	n := c.field(field)
	if n == nil {
		return
	}
	d, err := time.ParseDuration(n.Value)
	if err != nil || d >= least && d <= most {
		return
	}
	limit := least
	if d > most {
		limit = most
	}
	c.setNode(n, field, short(limit))
	c.change(n, field, "%s is outside of what Skerry takes, from %s to %s: %s is written", n.Value, short(least), short(most), short(limit))
}

// short is 24h, and not 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

const day = 24 * time.Hour

// kustomization applies what COMPATIBILITY.md says of the fields of a Kustomization.
func (c *conversion) kustomization() {
	c.sourceRef()
	c.bound("spec.interval", 5*time.Second, day)
	c.bound("spec.retryInterval", time.Second, day)
	c.bound("spec.timeout", time.Second, day)
	c.path()
	c.health()
	c.remote()
	c.decryption()
	c.substitution()
	c.older()
	c.patches(c.node, "spec.patches", "spec", "patches")
	c.dependencies()
	if n := c.field("spec.ignore"); n != nil {
		c.change(n, "spec.ignore", "Git's value stands until another manager writes the field; Flux adopts what is on the cluster")
	}
}

// dependencies takes out what waits for Flux itself.
func (c *conversion) dependencies() {
	_, list := child(c.node, "spec", "dependsOn")
	for _, r := range c.references() {
		if r.field == "spec.dependsOn" && c.installsFlux(r) {
			c.dropped = append(c.dropped, r.node)
			c.change(r.node, r.field, "%s installs Flux, for which Skerry does not wait: it is taken out", r.name)
		}
	}
	switch {
	case len(c.dropped) == 0:
	case len(c.dropped) == len(list.Content):
		c.drop("spec.dependsOn")
	default:
		for _, n := range c.dropped {
			e, err := c.text.removeItem(list, n)
			c.do(n, "spec.dependsOn", e, err)
		}
	}
	for _, n := range items(c.node, "spec", "dependsOn") {
		if e, expr := child(n, "readyExpr"); expr != nil && !slices.Contains(c.dropped, n) {
			c.change(e, "spec.dependsOn.readyExpr", "evaluated for each cluster, with what that cluster reports as dep.status")
		}
	}
}

func (c *conversion) sourceRef() {
	switch kind := scalar(c.node, "spec", "sourceRef", "kind"); kind {
	case "GitRepository", "":
	case "ExternalArtifact":
		c.externalArtifact()
	default:
		c.cannot(c.field("spec.sourceRef.kind"), "spec.sourceRef.kind", "%s is no source of Skerry: keep what is rendered in a Git repository and name its GitRepository", kind)
	}
	c.set("spec.sourceRef.apiVersion", v1alpha1)
}

func (c *conversion) path() {
	n := c.field("spec.path")
	if n == nil || c.source != nil { // that of an artifact is written already
		return
	}
	if strings.Contains(n.Value, "${") {
		if slices.ContainsFunc(c.appliers, func(by *document) bool { return field(by.node, "spec", "postBuild") != nil }) {
			return // it is filled in before the object is applied, here as there
		}
		c.change(n, "spec.path", "variables in it are those of the Cluster; Flux takes the path as it is")
		return
	}
	if strings.HasPrefix(n.Value, "/") || slices.Contains(strings.Split(n.Value, "/"), "..") {
		clean := "." + path.Clean("/"+n.Value)
		c.setNode(n, "spec.path", clean)
		c.change(n, "spec.path", "must be relative and without ..: %s is written, which is where Flux looks", clean)
	}
}

// health writes the default of wait that Flux has.
func (c *conversion) health() {
	wait, checks := scalar(c.node, "spec", "wait"), c.field("spec.healthChecks")
	c.add("wait", "false")
	if wait == "true" && checks != nil && len(checks.Content) > 0 {
		c.change(checks, "spec.healthChecks", "waited for beside all other objects; Flux ignores them with wait: true")
	}
	if checks != nil && len(checks.Content) > 32 {
		c.cannot(checks, "spec.healthChecks", "has more than 32 items: name fewer, or set wait: true")
	}
	for _, n := range items(c.node, "spec", "healthChecks") {
		group, _, _ := strings.Cut(scalar(n, "apiVersion"), "/")
		if ours(group, scalar(n, "kind")) {
			_, version := child(n, "apiVersion")
			c.setNode(version, "spec.healthChecks.apiVersion", v1alpha1)
		}
	}
	for _, n := range items(c.node, "spec", "healthCheckExprs") {
		if scalar(n, "kind") == "" {
			c.cannot(n, "spec.healthCheckExprs", "kind is required here: name it")
		}
	}
}

// clusterKey is a Cluster by the Secret of its kubeconfig.
type clusterKey struct{ namespace, secret, key string }

var notInName = regexp.MustCompile(`[^a-z0-9-]+`)

// ClusterName is the name of the Cluster that is made of a Secret with a kubeconfig.
func ClusterName(secret string) string {
	return strings.TrimSuffix(strings.Trim(notInName.ReplaceAllString(secret, "-"), "-"), "-kubeconfig")
}

// remote makes a Cluster of spec.kubeConfig.
func (c *conversion) remote() {
	n := c.field("spec.kubeConfig")
	if n == nil {
		return
	}
	secret := scalar(n, "secretRef", "name")
	if secret == "" {
		c.cannot(n, "spec.kubeConfig", "the identities of the clouds are not lent to Kustomizations: join the cluster with 'skerry cluster join', and name it in spec.clusters")
		return
	}
	key := clusterKey{c.namespace, secret, scalar(n, "secretRef", "key")}
	name := ClusterName(secret)
	if len(name) > 63 || name == "hub" {
		c.cannot(n, "spec.kubeConfig", "no Cluster can be named after the Secret %s: make one for it, and name it in spec.clusters", secret)
		return
	}
	doc := "apiVersion: " + v1alpha1 + "\nkind: Cluster\nmetadata:\n  name: " + name + "\n"
	if c.namespace != "" {
		doc += "  namespace: " + c.namespace + "\n"
	}
	doc += "spec:\n  kubeConfig:\n    secretRef:\n      name: " + secret + "\n"
	if key.key != "" {
		doc += "      key: " + key.key + "\n"
	}
	c.added, c.clusters = append(c.added, doc), append(c.clusters, key)
	c.change(n, "spec.kubeConfig", "the Cluster %s has the kubeconfig, and spec.clusters names it; it must hold certificates and tokens inline, without exec", name)
	c.drop("spec.kubeConfig")
	c.add("clusters", "{names: ["+name+"]}")
}

func (c *conversion) decryption() {
	n := c.field("spec.decryption")
	if n == nil {
		return
	}
	if account := c.field("spec.decryption.serviceAccountName"); account != nil {
		c.cannot(account, "spec.decryption.serviceAccountName", "the hub lends its identity at a cloud to no one: put credentials into the Secret of spec.decryption.secretRef")
	}
	if c.field("spec.decryption.secretRef") == nil {
		c.change(n, "spec.decryption", "without secretRef the keys are those of the hub's --decryption-secret, which lies in its namespace; Flux takes its own identity, or --sops-age-secret")
	}
	for _, name := range c.below() {
		if at := strings.Index(string(c.files[name]), "hc_vault:"); at >= 0 && strings.Contains(string(c.files[name]), "vault_address:") {
			c.change(n, "spec.decryption", "%s has keys at a Vault: its token is sent only to the addresses in the key sops.vault-address of the Secret", name)
			break
		}
	}
}

// below are the files that the Kustomization renders, sorted.
func (c *conversion) below() []string { return c.reach(c.dir()) }

// folder is a path of a Kustomization as a folder of the repository; "." for its root.
func folder(p string) string { return path.Clean("./" + path.Clean("/"+p)) }

// older are fields of versions before v1.
func (c *conversion) older() {
	for _, field := range []string{"spec.patchesStrategicMerge", "spec.patchesJson6902"} {
		if n := c.field(field); n != nil {
			c.cannot(n, field, "it is of an older version: write it as spec.patches, which Flux reads as well")
		}
	}
	if n := c.field("spec.validation"); n != nil {
		c.change(n, "spec.validation", "it is of an older version, does nothing, and is taken out")
		c.drop("spec.validation")
	}
}
