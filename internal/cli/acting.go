package cli

import (
	"github.com/spf13/cobra"

	"github.com/skerry-dev/skerry/internal/cli/check"
	"github.com/skerry-dev/skerry/internal/cli/create"
	"github.com/skerry-dev/skerry/internal/cli/deleting"
	"github.com/skerry-dev/skerry/internal/cli/diff"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/migrating"
	"github.com/skerry-dev/skerry/internal/cli/settings"
	"github.com/skerry-dev/skerry/internal/cli/uninstall"
)

// addActing adds the commands that review, make and delete.
func addActing(root *cobra.Command, f *factory.Factory) {
	root.AddCommand(
		check.NewCmdCheck(f, nil),
		create.NewCmdCreate(f),
		deleting.NewCmdDelete(f, nil),
		diff.NewCmdDiff(f, nil),
		migrating.NewCmdMigrate(f, nil),
		settings.NewCmdConfig(f, nil),
		uninstall.NewCmdUninstall(f, nil),
	)
}
