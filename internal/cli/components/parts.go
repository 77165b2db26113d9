package components

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Parts of an installation, beside the hub itself.
const (
	Gateway       = "gateway"        // where agents of edge clusters dial
	Receiver      = "receiver"       // where Git servers post webhooks
	NetworkPolicy = "network-policy" // what may reach the hub, and what it may reach
	Monitoring    = "monitoring"     // for the Prometheus operator, whose kinds must be there
)

// Default are the parts that are installed unless fewer are asked for, and Extras those that are not.
var (
	Default = []string{Gateway, Receiver, NetworkPolicy}
	Extras  = []string{Monitoring}
)

// MonitoringKind is the kind that a cluster has where the Prometheus operator is.
const MonitoringKind = "ServiceMonitor"

// MonitoringGroup is the group of the kinds of the Prometheus operator.
const MonitoringGroup = "monitoring.coreos.com"

// part is what belongs to one of Default: an object, and a port that the hub listens at.
type part struct{ kind, name, flag, port string }

var parts = map[string]part{
	Gateway:       {"Service", "skerry-gateway", "--gateway-bind-address=", "gateway"},
	Receiver:      {"Service", "skerry-receiver", "--receiver-bind-address=", "webhooks"},
	NetworkPolicy: {kind: "NetworkPolicy", name: "skerry-hub"},
}

func (p part) is(m *unstructured.Unstructured) bool {
	return m.GetKind() == p.kind && m.GetName() == p.name
}

// UnknownPartError names a part that there is not.
type UnknownPartError struct {
	Name  string
	Known []string
}

func (e *UnknownPartError) Error() string {
	return fmt.Sprintf("there is no component %q, but %s", e.Name, strings.Join(e.Known, ", "))
}

// CheckParts returns an *UnknownPartError if the options ask for a part that there is not.
func (o Options) CheckParts() error {
	for _, list := range []struct{ names, known []string }{{o.Components, Default}, {o.Extra, Extras}} {
		for _, name := range list.names {
			if !slices.Contains(list.known, name) {
				return &UnknownPartError{name, list.known}
			}
		}
	}
	return nil
}

// build renders the bases that the options ask for.
func (o Options) build() ([]*unstructured.Unstructured, error) {
	all, err := build("/")
	if err != nil || !slices.Contains(o.Extra, Monitoring) || o.CRDsOnly {
		return all, err
	}
	monitoring, err := build("/monitoring")
	return append(all, monitoring...), err
}

// without are the parts of Default that are not asked for.
func (o Options) without() []part {
	var out []part
	for _, name := range Default {
		if o.Components != nil && !slices.Contains(o.Components, name) {
			out = append(out, parts[name])
		}
	}
	return out
}

// LeftOut are the kinds and names, in the hub's namespace, of the objects of parts that are not asked for: an
// installation from before may have them.
func (o Options) LeftOut() [][2]string {
	var out [][2]string
	for _, p := range o.without() {
		out = append(out, [2]string{p.kind, p.name})
	}
	return out
}

// takeOut takes the ports of parts that are left out off the hub's Deployment, and off the policy that opens them.
func takeOut(m *unstructured.Unstructured, without []part) error {
	for _, p := range without {
		if p.flag == "" {
			continue
		}
		var err error
		switch m.GetKind() {
		case "Deployment":
			err = closePort(m, p)
		case "NetworkPolicy":
			err = forbidPort(m, portNumbers[p.port])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// portNumbers are those that config/ gives the ports.
var portNumbers = map[string]int64{"gateway": 9443, "webhooks": 9292}

// closePort lets the hub of a Deployment not listen.
func closePort(deployment *unstructured.Unstructured, p part) error {
	containers, _, err := unstructured.NestedSlice(deployment.Object, "spec", "template", "spec", "containers")
	if err != nil {
		return fmt.Errorf("cannot read the hub's containers: %w", err)
	}
	for _, c := range containers {
		container, ok := c.(map[string]any)
		if !ok {
			return fmt.Errorf("the hub's container is a %T", c)
		}
		if args, ok := container["args"].([]any); ok {
			container["args"] = slices.DeleteFunc(args, func(arg any) bool {
				text, _ := arg.(string)
				return strings.HasPrefix(text, p.flag)
			})
		}
		if ports, ok := container["ports"].([]any); ok {
			container["ports"] = slices.DeleteFunc(ports, func(port any) bool {
				m, _ := port.(map[string]any)
				return m["name"] == p.port
			})
		}
	}
	return unstructured.SetNestedSlice(deployment.Object, containers, "spec", "template", "spec", "containers")
}

// forbidPort takes a port out of what a policy lets in.
func forbidPort(policy *unstructured.Unstructured, number int64) error {
	ingress, _, err := unstructured.NestedSlice(policy.Object, "spec", "ingress")
	if err != nil {
		return fmt.Errorf("cannot read the hub's network policy: %w", err)
	}
	for _, r := range ingress {
		rule, _ := r.(map[string]any)
		if ports, ok := rule["ports"].([]any); ok {
			rule["ports"] = slices.DeleteFunc(ports, func(port any) bool {
				m, _ := port.(map[string]any)
				return m["port"] == number
			})
		}
	}
	return unstructured.SetNestedSlice(policy.Object, ingress, "spec", "ingress")
}
