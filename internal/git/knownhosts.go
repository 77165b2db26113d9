package git

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

const (
	markerAuthority = "@cert-authority"
	markerRevoked   = "@revoked"
)

// certificates are the host key algorithms that a host certified by an authority may use: the kind of
// the authority's own key does not determine the kind of the host's.
var certificates = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// KnownHosts is a known_hosts file, read as OpenSSH reads it.
type KnownHosts struct {
	db *knownhosts.HostKeyDB
	// ignored are the numbers of the lines that could not be read.
	ignored []int
}

// ReadKnownHosts reads a known_hosts file. A line that cannot be read, because its type of key is
// unknown or because it is no entry at all, is ignored, as OpenSSH ignores it: such a line can admit no
// host. A @revoked line that cannot be read is an error, since ignoring it would admit the key that it
// revokes. The content passes through a file in dir, because the library reads nothing else; no file
// is left.
func ReadKnownHosts(content []byte, dir string) (*KnownHosts, error) {
	kept, ignored, err := readableLines(content)
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(dir, "known_hosts-")
	if err != nil {
		return nil, disk("keep known_hosts", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(kept)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, disk("keep known_hosts", err)
	}
	db, err := knownhosts.NewDB(f.Name())
	if err != nil {
		return nil, fail(ErrInvalidSecret, "key known_hosts cannot be read")
	}
	return &KnownHosts{db: db, ignored: ignored}, nil
}

// Algorithms returns the host key algorithms to ask the server at addr, host:port, for. The server must
// be asked for a kind of key that known_hosts has, or it may show another of its keys, which would look
// like that of a stranger. The error is ErrHostKeyRefused where no line is about the host.
func (k *KnownHosts) Algorithms(addr string) ([]string, error) {
	algorithms := k.db.HostKeyAlgorithms(addr)
	if len(algorithms) == 0 {
		return nil, fail(ErrHostKeyRefused, "known_hosts has no key for %s%s", strings.TrimSuffix(addr, ":22"), k.remark())
	}
	if slices.ContainsFunc(algorithms, func(a string) bool { return strings.Contains(a, "-cert-") }) {
		algorithms = append(slices.Clone(certificates), algorithms...)
		slices.SortStableFunc(algorithms, func(a, b string) int { return rank(a) - rank(b) })
		algorithms = slices.Compact(algorithms)
	}
	return algorithms, nil
}

// rank puts equal certificate algorithms beside each other, and behind them what else there is.
func rank(algorithm string) int {
	if i := slices.Index(certificates, algorithm); i >= 0 {
		return i
	}
	return len(certificates)
}

// Callback checks the key of a host.
func (k *KnownHosts) Callback() ssh.HostKeyCallback { return k.db.HostKeyCallback() }

// remark names the lines that were ignored, since one of them may have been meant for the host.
func (k *KnownHosts) remark() string {
	switch len(k.ignored) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf(" (line %d cannot be read and is ignored)", k.ignored[0])
	case 2:
		return fmt.Sprintf(" (line %d and 1 other cannot be read and are ignored)", k.ignored[0])
	}
	return fmt.Sprintf(" (line %d and %d others cannot be read and are ignored)", k.ignored[0], len(k.ignored)-1)
}

// readableLines returns the entries that the library can read, one a line, and the numbers of the lines
// that it cannot.
func readableLines(content []byte) (kept []byte, ignored []int, err error) {
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	content = bytes.ReplaceAll(content, []byte("\r\n"), []byte("\n"))
	content = bytes.ReplaceAll(content, []byte("\r"), []byte("\n"))
	number := 0
	for line := range bytes.SplitSeq(content, []byte("\n")) {
		number++
		line := string(bytes.TrimSpace(line))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		switch entry, ok := knownHost(line); {
		case ok:
			kept = append(append(kept, entry...), '\n')
		case strings.HasPrefix(line, markerRevoked) && !unknownType(line):
			return nil, nil, fail(ErrInvalidSecret, "key known_hosts cannot be read at line %d: which key does it revoke?", number)
		default:
			ignored = append(ignored, number)
		}
	}
	if len(kept) == 0 {
		return nil, nil, fail(ErrInvalidSecret, "key known_hosts has no line with a host and its key")
	}
	return kept, ignored, nil
}

// knownHost returns a line in the form in which the library reads it, and false if it cannot.
func knownHost(line string) (string, bool) {
	marker, fields := markerAndFields(line)
	if len(fields) < 3 || strings.HasPrefix(fields[0], "@") || !readablePattern(fields[0]) {
		return "", false
	}
	blob, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		return "", false
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil || key.Type() != fields[1] {
		return "", false
	}
	return strings.TrimSpace(marker + " " + strings.Join(fields[:3], " ")), true
}

func markerAndFields(line string) (marker string, fields []string) {
	fields = strings.Fields(line)
	if fields[0] == markerAuthority || fields[0] == markerRevoked {
		return fields[0], fields[1:]
	}
	return "", fields
}

// unknownType means that a line has a key of a type that this program cannot use at all. A host cannot
// be let in by such a key, whether it is revoked or not.
func unknownType(line string) bool {
	_, fields := markerAndFields(line)
	if len(fields) < 3 {
		return false
	}
	blob, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		return false
	}
	var head struct {
		Type string
		Rest []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(blob, &head); err != nil || head.Type != fields[1] {
		return false
	}
	_, err = ssh.ParsePublicKey(blob)
	return err != nil
}

// readablePattern reports whether the library can read the hosts of a line.
func readablePattern(hosts string) bool {
	if rest, hashed := strings.CutPrefix(hosts, "|"); hashed {
		parts := strings.Split(rest, "|")
		if len(parts) != 3 || parts[0] != "1" {
			return false
		}
		salt, err := base64.StdEncoding.DecodeString(parts[1])
		sum, err2 := base64.StdEncoding.DecodeString(parts[2])
		return err == nil && err2 == nil && len(salt) > 0 && len(sum) > 0
	}
	for pattern := range strings.SplitSeq(hosts, ",") {
		bare := strings.TrimPrefix(pattern, "!")
		if bare == "" && pattern != "" {
			return false
		}
		if strings.HasPrefix(bare, "[") {
			if _, _, err := net.SplitHostPort(bare); err != nil {
				return false
			}
		}
	}
	return true
}
