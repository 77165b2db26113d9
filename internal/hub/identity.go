package hub

import (
	"os"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// identity names this process among all that want the lease. The first process of a container has a
// name that its successor in the same Pod has as well, which need not wait for the lease to run out:
// the kubelet starts it when the one before has ended.
func identity() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	if pod := os.Getenv("POD_UID"); pod != "" && os.Getpid() == 1 {
		return host + "_" + pod
	}
	return host + "_" + string(uuid.NewUUID())
}
