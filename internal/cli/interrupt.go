package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

const (
	rerunHint    = "running the same command again goes on from here"
	hubContinues = "the hub goes on with it: 'skerry status' shows how it ends"
)

// onInterrupt is what becomes of what a command began when Ctrl-C ends it. Commands that only read are not here.
var onInterrupt = map[string]string{
	"bootstrap":      rerunHint,
	"install":        rerunHint,
	"uninstall":      rerunHint,
	"migrate":        rerunHint,
	"cluster join":   rerunHint,
	"cluster remove": rerunHint,
	"cluster rotate": rerunHint,
	"delete":         hubContinues,
	"reconcile":      hubContinues,
	"resume":         hubContinues,
	"rollout status": "the rollout goes on unwatched",
}

// interruptionOf is what onInterrupt has for a command, or for the command that it is part of.
func interruptionOf(cmd *cobra.Command) string {
	for ; cmd.HasParent(); cmd = cmd.Parent() {
		if text := onInterrupt[pathBelowRoot(cmd)]; text != "" {
			return text
		}
	}
	return ""
}

func pathBelowRoot(cmd *cobra.Command) string {
	return strings.TrimPrefix(cmd.CommandPath(), cmd.Root().CommandPath()+" ")
}
