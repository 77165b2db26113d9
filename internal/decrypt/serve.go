package decrypt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/skerry-dev/skerry/internal/sopsclient"
)

// Serve answers requests, one a line, until there are no more.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	requests, answers := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var r sopsclient.Request
		switch err := requests.Decode(&r); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("cannot read a request: %w", err)
		}
		if err := answers.Encode(answer(ctx, r)); err != nil {
			return fmt.Errorf("cannot answer: %w", err)
		}
	}
}

func answer(ctx context.Context, r sopsclient.Request) sopsclient.Response {
	keys, err := Parse(r.Name, r.Data)
	switch {
	case err != nil:
		return sopsclient.Response{Error: err.Error()}
	case r.File == nil:
		return sopsclient.Response{}
	case r.Own:
		keys = &Keys{own: true}
	case r.Local:
		keys = keys.Local()
	}
	plain, failed := keys.open(ctx, r.File, r.From, r.To)
	if failed != nil {
		return sopsclient.Response{Error: failed.Message, Passing: failed.IsTransient()}
	}
	return sopsclient.Response{Plain: plain}
}
