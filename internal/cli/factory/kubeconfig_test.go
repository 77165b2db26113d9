package factory

import (
	"errors"
	"strings"
	"testing"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func TestContextsAreFound(t *testing.T) {
	file := clientcmdapi.NewConfig()
	file.Contexts["production"] = &clientcmdapi.Context{}
	var advised *NextError
	if err := noContext("f", "prodution", file); !errors.As(err, &advised) || advised.Next != "did you mean --from-context production?" {
		t.Errorf("a typing mistake: %v", err)
	}
	if err := noContext("f", "", file); err == nil || !strings.Contains(err.Error(), "choose one with --from-context") {
		t.Errorf("no current context: %v", err)
	}
}
