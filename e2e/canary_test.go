package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lookForCanary fails when a value, plain or as a Secret has it, is anywhere that people or other programs read
// of the hub: its log, metrics and storage, and the status, conditions and events on its API.
func lookForCanary(ctx context.Context, c call) error {
	if len(c.args) != 1 {
		return errors.New("wants TEXT")
	}
	kube, err := c.kube("hub")
	if err != nil {
		return err
	}
	canaries := [][]byte{[]byte(c.args[0]), []byte(base64.StdEncoding.EncodeToString([]byte(c.args[0])))}
	look := func(where string, text []byte) error {
		if slices.ContainsFunc(canaries, func(canary []byte) bool { return bytes.Contains(text, canary) }) {
			return fmt.Errorf("%s shows the value", where)
		}
		return nil
	}
	for _, kind := range []string{"gitrepo", "ks", "cluster", "assignment", "event", "configmap"} {
		client, err := kube.Resource(kind, "")
		if err != nil {
			return err
		}
		list, err := client.List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		text, err := json.Marshal(list)
		if err != nil {
			return err
		}
		if err := look(kind, text); err != nil {
			return err
		}
	}
	metrics, err := c.rig.Hub.Metrics(ctx)
	if err != nil {
		return err
	}
	if err := look("metrics", []byte(metrics)); err != nil {
		return err
	}
	files := []string{c.rig.Hub.LogFile()}
	err = filepath.WalkDir(c.rig.Hub.Storage(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		if errors.Is(err, fs.ErrNotExist) { // the hub works on
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		if err := look(file, text); err != nil {
			return err
		}
	}
	return nil
}
