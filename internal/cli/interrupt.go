package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

const (
	again     = "running the same command again goes on from here"
	hubGoesOn = "the hub goes on with it: 'skerry status' shows how it ends"
)

// goesOn is what becomes of what a command began when Ctrl-C ends it. Commands that only read are not here.
var goesOn = map[string]string{
	"bootstrap":      again,
	"install":        again,
	"uninstall":      again,
	"migrate":        again,
	"cluster join":   again,
	"cluster remove": again,
	"cluster rotate": again,
	"delete":         hubGoesOn,
	"reconcile":      hubGoesOn,
	"resume":         hubGoesOn,
	"rollout status": "the rollout goes on unwatched",
}

// interruptionOf is what goesOn has for a command, or for the command that it is part of.
func interruptionOf(cmd *cobra.Command) string {
	for ; cmd.HasParent(); cmd = cmd.Parent() {
		if text := goesOn[pathBelowRoot(cmd)]; text != "" {
			return text
		}
	}
	return ""
}

func pathBelowRoot(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()+" ")
}
