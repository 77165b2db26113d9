package main

import (
	"context"
	"fmt"
)

// measure is one line of the list of figures that the project holds itself to; its number is the
// place there.
type measure struct {
	number int
	name   string
	take   func(*world, context.Context) error
}

// group is what is measured one after the other on one fleet.
type group struct {
	measures []measure
	edges    func(options) int
	title    func(options) string
}

// groups are all measures in the order in which they are taken: memory and idleness first, while the
// hub has done nothing else.
var groups = []group{
	{
		edges: func(o options) int { return o.grid },
		title: func(o options) string {
			return fmt.Sprintf("%d Kustomizations of 4 objects on %d clusters; medians of %d", o.grid, o.grid, o.repetitions)
		},
		measures: []measure{
			{1, "creation of many Kustomizations", (*world).grid},
			{9, "a commit that touches one of many Kustomizations", (*world).one},
		},
	},
	{
		edges: func(o options) int { return o.clusters },
		title: func(o options) string {
			return fmt.Sprintf("%d clusters; medians of %d", o.clusters, o.repetitions)
		},
		measures: []measure{
			{5, "memory per cluster", (*world).memory},
			{8, "requests to an idle fleet", (*world).idle},
			{3, "a commit to all clusters", (*world).all},
			{2, "a commit to some clusters", (*world).some},
			{10, "a commit that changes nothing", (*world).nothing},
			{7, "healthy clusters beside black holes", (*world).holes},
			{4, "restart", (*world).restarts},
			{6, "state per pair", (*world).state},
		},
	},
}
