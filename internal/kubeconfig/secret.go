package kubeconfig

import (
	"errors"
	"fmt"
)

// defaultKeys are where a kubeconfig is looked for in a Secret when no key is named.
var defaultKeys = []string{"value", "value.yaml"}

// Pick returns the kubeconfig in the data of a Secret: that of the key, or without one of the first default
// key that is there. An error names the Secret and the key.
func Pick(secret string, data map[string][]byte, key string) ([]byte, error) {
	_, found, err := Find(secret, data, key)
	return found, err
}

// Find is Pick, and returns the key as well.
func Find(secret string, data map[string][]byte, key string) (string, []byte, error) {
	keys := defaultKeys
	if key != "" {
		keys = []string{key}
	}
	for _, k := range keys {
		if found, ok := data[k]; ok {
			return k, found, nil
		}
	}
	if key != "" {
		return "", nil, fmt.Errorf("the Secret %s has no key %s", secret, key)
	}
	return "", nil, errors.New("the Secret " + secret + " has neither the key value nor value.yaml")
}
