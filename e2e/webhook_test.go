package e2e

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-dev/skerry/internal/testkit/rig"
)

// sendWebhook sends a push as GitHub does, signed with a token, to the path of a Receiver at $WEBHOOKS.
func sendWebhook(ctx context.Context, c call) error {
	code, err := http.StatusOK, error(nil)
	if text, given := c.option("code"); given {
		if code, err = strconv.Atoi(text); err != nil {
			return err
		}
	}
	kube, ref, err := c.object()
	if err != nil {
		return err
	}
	if len(c.args) != 2 {
		return errors.New("wants CLUSTER RECEIVER TOKEN BODY")
	}
	ready, err := rig.Expect("Ready=True")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	object, err := kube.Await(ctx, ref, ready)
	if err != nil {
		return err
	}
	token, body := c.args[0], c.args[1]
	url := "http://" + c.ts.Getenv("WEBHOOKS") + rig.Value(object, "status", "webhookPath")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err
	}
	mac := hmac.New(sha256.New, []byte(token))
	mac.Write([]byte(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-GitHub-Event", "push")
	req.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	client := &http.Client{Timeout: 5 * time.Second}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != code {
		return fmt.Errorf("answered %s", answer.Status)
	}
	return nil
}
