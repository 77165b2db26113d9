package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skerry-dev/skerry/internal/cli/factory"
	"github.com/skerry-dev/skerry/internal/render"
	"github.com/skerry-dev/skerry/internal/sopsclient"
	"github.com/skerry-dev/skerry/internal/targeting"
)

// sopsProgram opens encrypted files. It comes with the command line and lies beside it, or in PATH.
const sopsProgram = "skerry-sops"

// decryption is how encrypted files are read: opened when that is asked for, or when the result is for a
// cluster; else as they are, with *** for each value. It is nil, and such files are refused as the hub refuses
// them, where the Kustomization has no spec.decryption.
func (in *input) decryption(ctx context.Context, o *Options) (*render.Decryption, error) {
	spec := in.ks.Spec.Decryption
	switch {
	case spec == nil:
		return nil, nil //nolint:nilnil // files that are encrypted are refused
	case !o.Decrypt:
		return &render.Decryption{Keys: "none", Open: in.mask}, nil
	}
	command, err := sopsCommand(o.Factory)
	if err != nil {
		return nil, err
	}
	client := sopsclient.New(ctx, command, logr.Discard())
	open := client.Own().Open
	if spec.SecretRef != nil {
		found, err := in.lookup("Secret", in.ks.Namespace, spec.SecretRef.Name)
		if err != nil && !apierrors.IsForbidden(errors.Unwrap(err)) {
			return nil, err
		}
		if found != nil {
			data := make(map[string][]byte, len(found.Data))
			for name, value := range found.Data {
				data[name] = []byte(value)
			}
			open = client.Decryption("", spec.SecretRef.Name, data, false).Open
		}
	}
	return &render.Decryption{Keys: "given", Open: func(file []byte, from, to render.Format) ([]byte, *render.Error) {
		plain, failed := open(file, from, to)
		if failed == nil {
			in.hide(file, plain)
		}
		return plain, failed
	}}, nil
}

// hide keeps what was decrypted out of what is shown.
func (in *input) hide(file, plain []byte) {
	found := targeting.Content{Data: map[string]string{}, Secret: true}
	for _, value := range render.Values(plain) {
		if !bytes.Contains(file, []byte(value)) { // what is not encrypted is nothing to hide
			found.Data[value] = value
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.secrets = append(in.secrets, found)
}

// mask is a file with *** for each value that is encrypted.
func (in *input) mask(file []byte, from, to render.Format) ([]byte, *render.Error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.masked++
	return render.MaskEncrypted(file, from, to, hidden)
}

// sopsCommand finds the program that opens encrypted files.
func sopsCommand(f *factory.Factory) ([]string, error) {
	if f.SOPSCommand != nil {
		return f.SOPSCommand, nil
	}
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), sopsProgram)
		if info, err := os.Stat(beside); err == nil && info.Mode().IsRegular() {
			return []string{beside}, nil
		}
	}
	found, err := exec.LookPath(sopsProgram)
	if err != nil {
		return nil, factory.Next(fmt.Errorf("%s, which opens encrypted files, is neither beside skerry nor in PATH", sopsProgram),
			"put it there; it comes with each release and with 'make skerry'")
	}
	return []string{found}, nil
}

// tellMasked prints a note where a value is not shown as it is.
func (in *input) tellMasked(o *Options) {
	if in.masked > 0 {
		o.IO.Progressf("what SOPS encrypted is shown as %s; %s opens it with your keys", hidden, "--decrypt")
	}
}
