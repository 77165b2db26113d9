package decrypt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/getsops/sops/v3"
	"github.com/getsops/sops/v3/aes"
	"github.com/getsops/sops/v3/config"
	"github.com/getsops/sops/v3/keyservice"
	"github.com/getsops/sops/v3/logging"
	"github.com/getsops/sops/v3/stores/dotenv"
	"github.com/getsops/sops/v3/stores/ini"
	"github.com/getsops/sops/v3/stores/json"
	"github.com/getsops/sops/v3/stores/yaml"
	"github.com/sirupsen/logrus"

	"github.com/skerry-dev/skerry/internal/render"
)

// SOPS logs to the standard error, comments of files among it.
func init() { logging.SetLevel(logrus.PanicLevel) }

// store reads and writes one format. It holds state while it reads, so that each use has its own.
func store(f render.Format) sops.Store {
	c := config.NewStoresConfig()
	switch f {
	case render.FormatYAML:
		return yaml.NewStore(&c.YAML)
	case render.FormatJSON:
		return json.NewStore(&c.JSON)
	case render.FormatDotenv:
		return dotenv.NewStore(&c.Dotenv)
	case render.FormatINI:
		return ini.NewStore(&c.INI)
	default: // render.FormatBinary
		return json.NewBinaryStore(&c.JSONBinary)
	}
}

// Decryption returns what opens files with the keys; id names them. Whatever a file makes it wait for ends
// with the context.
func (k *Keys) Decryption(ctx context.Context, id string) *render.Decryption {
	return &render.Decryption{Keys: id, Open: func(file []byte, from, to render.Format) ([]byte, *render.Error) {
		return k.open(ctx, file, from, to)
	}}
}

// open decrypts a file and verifies that nothing of it was changed.
func (k *Keys) open(ctx context.Context, file []byte, from, to render.Format) (plain []byte, failed *render.Error) {
	defer func() {
		if recover() != nil { // SOPS panics on some input
			plain, failed = nil, damaged("cannot be read")
		}
	}()
	tree, err := store(from).LoadEncryptedFile(file)
	if err != nil {
		return nil, damaged("cannot be read")
	}
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	s := &session{ctx: ctx, keys: k}
	key, err := tree.Metadata.GetDataKeyWithKeyServices([]keyservice.KeyServiceClient{keyservice.NewCustomLocalClient(s)}, sops.DefaultDecryptionOrder)
	if err != nil {
		return nil, s.explain()
	}
	cipher := aes.NewCipher()
	computed, err := tree.Decrypt(key, cipher)
	if err != nil {
		return nil, damaged("has a value that was changed, moved, or put in unencrypted")
	}
	recorded, err := cipher.Decrypt(tree.Metadata.MessageAuthenticationCode, key, tree.Metadata.LastModified.Format(time.RFC3339))
	if err != nil || recorded != computed || computed == "" {
		return nil, damaged("does not have the MAC that was recorded: something was changed since it was encrypted")
	}
	if plain, err = store(to).EmitPlainFile(tree.Branches); err != nil {
		return nil, render.Decrypting(fmt.Sprintf("is %s, and cannot be written as %s, which the key asks for", from, to), false)
	}
	return plain, nil
}

func damaged(what string) *render.Error {
	return render.Decrypting("is encrypted and "+what+"; restore it, or encrypt it again with sops", false)
}

// explain explains why the data key of a file could not be opened.
func (s *session) explain() *render.Error {
	if len(s.attempts) == 0 {
		return damaged("names no recipient")
	}
	transient := errors.Is(s.ctx.Err(), context.Canceled)
	var none, failed []string
	for _, a := range s.attempts {
		transient = transient || a.transient
		if a.why == "" {
			none = append(none, a.recipient)
		} else {
			failed = append(failed, a.recipient+": "+a.why)
		}
	}
	var parts []string
	if len(none) > 0 && s.keys.own {
		parts = append(parts, fmt.Sprintf("is encrypted for %s, of which your environment has no key (SOPS_AGE_KEY, SOPS_AGE_KEY_FILE, gpg)", list(none)))
	} else if len(none) > 0 {
		parts = append(parts, fmt.Sprintf("is encrypted for %s, of which the Secret %s has no key", list(none), s.keys.secret))
	}
	if len(failed) > 0 {
		parts = append(parts, "is encrypted and cannot be opened by "+list(failed))
	}
	if len(s.keys.ignored) > 0 {
		parts = append(parts, fmt.Sprintf("what is not known is ignored: %s", list(s.keys.ignored)))
	}
	return render.Decrypting(strings.Join(parts, "; "), transient)
}

// maxName bounds what is shown of a recipient, and of why it could not be opened.
const maxName = 200

// list names the first few.
func list(names []string) string {
	const most = 4
	rest := ""
	if len(names) > most {
		rest = fmt.Sprintf(" (and %d more)", len(names)-most)
		names = names[:most]
	}
	for i, name := range names {
		if len(name) > maxName { // a post-quantum recipient has 2,000 characters
			names[i] = strings.ToValidUTF8(name[:maxName], "") + "…"
		}
	}
	return strings.Join(names, ", ") + rest
}
