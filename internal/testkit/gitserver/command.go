package gitserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// command runs one of the two commands that Git knows on the channel and returns its exit status.
func (s *SSH) command(ctx context.Context, channel ssh.Channel, line string) uint32 {
	name, arg, _ := strings.Cut(line, " ")
	if name != "git-upload-pack" && name != "git-receive-pack" {
		fmt.Fprintf(channel.Stderr(), "%s: command not found\n", name)
		return 127
	}
	s.requests.add(name)
	// Rooting the path before it is joined keeps ".." inside the host's folder.
	dir := filepath.Join(s.host.dir, filepath.FromSlash(filepath.Clean("/"+unquote(arg))))
	if _, err := os.Stat(dir); err != nil {
		fmt.Fprintf(channel.Stderr(), "fatal: '%s' does not appear to be a git repository\n", unquote(arg))
		return 128
	}
	cmd := exec.CommandContext(ctx, "git", strings.TrimPrefix(name, "git-"), dir)
	cmd.Env = Env()
	cmd.Stdout, cmd.Stderr = channel, channel.Stderr()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 1
	}
	if err := cmd.Start(); err != nil {
		return 1
	}
	// Not cmd.Stdin: Wait would then wait for the client to end its input, which it need not do.
	go func() {
		_, _ = io.Copy(stdin, channel)
		_ = stdin.Close()
	}()
	var exit *exec.ExitError
	switch err := cmd.Wait(); {
	case errors.As(err, &exit):
		return uint32(max(exit.ExitCode(), 1))
	case err != nil:
		return 1
	}
	return 0
}
