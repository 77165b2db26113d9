package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/cli/iostreams"
)

// uncompleted are commands whose argument cannot be the name of what there is.
var uncompleted = []string{
	"skerry trace",        // an object on a cluster
	"skerry cluster join", // a new Cluster
}

// TestNamesAreCompleted: an argument or flag that names an object of the hub is completed with the names that there
// are.
func TestNamesAreCompleted(t *testing.T) {
	eachCommand(Root(factory.New("", func(string) string { return "" })), func(cmd *cobra.Command) {
		path := cmd.CommandPath()
		_, args, _ := strings.Cut(cmd.Use, " ")
		names := slices.ContainsFunc([]string{"NAME", "CLUSTER", "KUSTOMIZATION"}, func(word string) bool {
			return slices.Contains(strings.FieldsFunc(args, func(r rune) bool { return strings.ContainsRune("[] .", r) }), word)
		})
		creates := strings.HasPrefix(path, "skerry create ") || slices.Contains(uncompleted, path)
		if names && !creates && cmd.ValidArgsFunction == nil && len(cmd.ValidArgs) == 0 {
			t.Errorf("%s %s completes nothing", path, args)
		}
		if flag := cmd.Flags().Lookup("cluster"); flag != nil {
			if _, is := cmd.GetFlagCompletionFunc("cluster"); !is {
				t.Errorf("%s --cluster completes nothing", path)
			}
		}
	})
}

// TestCommandsExplainThemselves: every command that runs has a line about itself, an example, and its flags a usage.
func TestCommandsExplainThemselves(t *testing.T) {
	eachCommand(Root(factory.New("", func(string) string { return "" })), func(cmd *cobra.Command) {
		if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s has no line about itself, or one that ends with a full stop: %q", cmd.CommandPath(), cmd.Short)
		}
		if cmd.Example == "" && !cmd.IsAdditionalHelpTopicCommand() {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
	})
}

func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		eachCommand(sub, do)
	}
}

// TestAFlagIsCompletedBehindAnArgument: names for a flag do not depend on the arguments before it.
func TestAFlagIsCompletedBehindAnArgument(t *testing.T) {
	scheme, err := factory.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.Cluster{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "shop-1"}},
		&v1alpha1.Kustomization{ObjectMeta: metav1.ObjectMeta{Namespace: v1alpha1.SystemNamespace, Name: "apps"}},
	).Build()
	for args, want := range map[string]string{
		"tree apps --cluster ": "shop-1\n", "drift --cluster ": "shop-1\n", "why shop-1 ": "apps\n", "why ": "shop-1\n",
		"events --for cluster/": "cluster/shop-1\n", "get ks ": "apps\n", "export cluster shop-1 ": "", "history ": "apps\n",
	} {
		streams, _, out, _ := iostreams.Test()
		f := factory.New("v0.0.0-test", func(string) string { return "" })
		f.IO, f.Hub = streams, func() (*factory.Hub, error) { return &factory.Hub{WithWatch: c}, nil }
		line := strings.Split("__complete "+args, " ")
		if code := Run(t.Context(), f, line); code != factory.ExitOK {
			t.Errorf("%q: exit code %d", args, code)
		}
		names, _, _ := strings.Cut(out.String(), ":")
		if names != want {
			t.Errorf("%q completes %q, want %q", args, names, want)
		}
	}
}
